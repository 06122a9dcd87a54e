"""Small panels that answer: where attention went, what drives a quantity, which latent tells of which factor."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import nn

from .. import viz
from ..explain import Attribution, Card, attribute
from ..explain import attention as attention_of
from ..metrics import relation
from ..nn import Tokens
from ..training import latents
from ..training.evaluation import still
from ..views import Views
from .looks import Buffers, look

STATIC = Path(__file__).parent / "static"
MOST = 8_000_000  # bytes of numbers in a panel: what a notebook sends to the browser in an instant
STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of a small traversal, in standard deviations of the prior
MIDDLE = 2


class Panel(anywidget.AnyWidget):
    """A small figure that answers when it is pointed at, in a notebook or on a page of its own.

    What it draws travels once, when it is shown, so that it goes on answering without a kernel and a stored notebook
    stays small; where no widget runs there is a picture.

    scene : what is drawn, as JSON. buffers : its arrays, by name. draw : the picture, as matplotlib axes. said : what
    it is, in words.

    >>> Panel({"kind": "matrix"}, {}, lambda: viz.bars([1.0], ["a"]), "Panel of nothing")
    Panel of nothing
    """

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"

    def __init__(self, scene: Mapping[str, Any], buffers: Buffers, draw: Callable[[], Any], said: str):
        self.scene = {**scene, "title": scene.get("title", said), "said": said}
        self.buffers = {name: np.ascontiguousarray(x) for name, x in (buffers | _colours()).items()}
        self._draw, self._said = draw, said
        super().__init__()
        self.on_msg(self._answer)

    def _answer(self, _: Any, question: Mapping[str, Any], __: Any) -> None:
        if question.get("ask") == "scene":
            told = {"id": question.get("id"), "scene": self.scene, "buffers": list(self.buffers)}
            self.send(told, [x.tobytes() for x in self.buffers.values()])

    def __repr__(self) -> str:
        return self._said

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data, about = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": repr(self), "image/png": self.picture}, about

    @cached_property
    def picture(self) -> str:
        """What is shown where no widget runs: a PNG, in base64."""
        import matplotlib.pyplot as plt

        figure, file = self._draw().figure, io.BytesIO()
        figure.savefig(file, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)
        return base64.b64encode(file.getvalue()).decode()

    def export(self, path: str | Path) -> Path:
        """Writes the panel as one HTML file that needs neither Python nor a network."""
        packed = {
            name: base64.b64encode(gzip.compress(x.tobytes(), mtime=0)).decode() for name, x in self.buffers.items()
        }
        told = json.dumps({"scene": self.scene, "packed": packed}).replace("<", "\\u003c")  # nothing ends the script
        script, style = ((STATIC / f"panel.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
        Path(path).write_text(
            f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{html.escape(self._said)}</title>\n"
            f"<style>body {{ margin: 16px; }}\n{style}</style></head><body><main id='panel'></main>\n"
            f"<script type='module'>\n{script}\nunpack({told}).then((all) => "
            "mount(document.getElementById('panel'), all.scene, all.buffers));\n</script></body></html>\n",
            encoding="utf-8",
        )
        return Path(path)


def _colours() -> dict[str, ndarray]:
    """Colour tables (256, 4) of bytes."""
    import matplotlib

    maps = {"diverging": "RdBu_r", "sequential": "Blues", "grey": "gray"}
    return {
        f"colours:{name}": (255 * matplotlib.colormaps[cmap](np.arange(256))).astype(np.uint8)
        for name, cmap in maps.items()
    }


# attention ----------------------------------------------------------------------------------------------------


def attention(model: nn.Module, views: Views) -> Panel:
    """Where every attention of a model looked: a matrix for each, by row and head; point at a cell to read it.

    Of many rows the first are taken that fit into 8 MB; the panel says how many.

    Raises
    ------
    ValueError : when the model has no attention.

    >>> from ivekit import models, nn
    >>> net = nn.TokenDecoder(0, (2, 8), [nn.CrossAttention(8, heads=2)], 8, heads=2)
    >>> model = models.Conditional({"a": nn.ColumnEncoder(3, 8)}, {"b": nn.Gaussian(net)})
    >>> attention(model, Views({"a": torch.zeros(5, 3)}))
    Attention of 2 layers, 5 rows
    """
    one = attention_of(model, views[:1])
    if not one:
        raise ValueError(f"a {type(model).__name__} of {', '.join(views)} has no attention to look at")
    rows = _fitting(len(views), sum(attended.weights.nbytes for attended in one.values()))
    found = attention_of(model, views[:rows])
    maps = [
        {"name": name, "heads": a.weights.shape[1], "rows": a.row_names(), "columns": a.column_names()}
        for name, a in found.items()
    ]
    weights = {f"map:{i}": a.weights.float().cpu().numpy() for i, a in enumerate(found.values())}
    scene = {"kind": "attention", "rows": _labels(rows), "maps": maps, "note": _kept(rows, len(views))}

    def draw() -> Any:
        name, a = next(iter(found.items()))
        ax = viz.attention_matrix(a.weights.mean((0, 1)).cpu().numpy(), a.row_names(), a.column_names())
        ax.set_title(name, fontsize=7)
        return ax

    return Panel(scene, weights, draw, f"Attention of {_many(len(maps), 'layer')}, {_many(rows, 'row')}")


# attribution --------------------------------------------------------------------------------------------------


def attribution(
    explained: Attribution | Card | nn.Module, views: Views, target: Any = None, what: str = "the target", **kwargs: Any
) -> Panel:
    """What drives a quantity, row by row: over the head and time, over a film's frames, as bars of numbers.

    explained : an `explain.Attribution` of these views; an `explain.Card`, whose title and verdict are then said; or a
        model, whose `target` is attributed by ``explain.attribute(model, views, target, **kwargs)``.
    what : the quantity in words. Of many rows the first are taken that fit into 8 MB.

    >>> said = Attribution({"a": torch.tensor([[1.0, -2.0, 0.0]])}, "InputXGradient", "none")
    >>> attribution(said, Views({"a": torch.ones(1, 3)}), what="speed")
    Attribution of speed to a, 1 row
    """
    title, notes = f"what drives {what}? (no check was made)", []
    if isinstance(explained, Card):
        title, notes, what = explained.title, [explained.verdict], explained.what
        explained = explained.explanation  # type: ignore[assignment]
    elif isinstance(explained, nn.Module):
        if target is None:
            raise ValueError("the attribution of a model needs a target, such as lambda out: out.z['shared'][:, 3]")
        explained = attribute(explained, views, target, **kwargs)
    parts = {name: x.detach().float().cpu() for name, x in explained.items()}  # type: ignore[union-attr]
    names = [f"{block} {i}" for block, i in getattr(explained, "latents", ())]
    rows = _fitting(len(views), sum(2 * x[:1].nbytes for x in parts.values()))
    if isinstance(explained, Attribution):
        notes.append(repr(explained).split("\n")[0])
    scene: dict[str, Any] = {
        "kind": "attribution",
        "title": title,
        "rows": _labels(rows),
        "latents": names,
        "views": [],
    }
    buffers: Buffers = {}
    for name, x in parts.items():
        told, arrays = _told(name, (x[:, 0] if names else x).numpy(), views)
        limit = float(x.abs().flatten().quantile(0.999)) if x.numel() < 1e7 else float(x.abs().max())
        scene["views"].append({**told, "limit": limit or float(x.abs().max()) or 1.0})
        buffers |= arrays | {
            f"attribution:{name}": x[:rows].numpy(),
            f"data:{name}": views[name][:rows].float().numpy(),
        }
    scene["note"] = [*notes, *_kept(rows, len(views))]
    sizes = {name: (x[:, 0] if names else x).abs().mean(0).numpy() for name, x in parts.items()}
    said = f"Attribution of {what} to {', '.join(parts)}, {_many(rows, 'row')}"
    return Panel(scene, buffers, lambda: _sizes_drawn(sizes, scene, title), said)


def _sizes_drawn(sizes: Mapping[str, ndarray], scene: Mapping[str, Any], title: str) -> Any:
    """How much of the mean size of an attribution each view has, or of a single view its parts."""
    name, x = next(iter(sizes.items()))
    columns = scene["views"][0].get("columns")
    if len(sizes) == 1 and x.ndim == 1 and columns:
        ax = viz.bars(x, columns, unit="mean |attribution|")
    else:
        ax = viz.bars([float(part.sum()) for part in sizes.values()], list(sizes), unit="mean |attribution|, summed")
    ax.set_title(title, fontsize=7)
    return ax


def _told(name: str, x: Shaped[ndarray, "b *shape"], views: Views) -> tuple[dict[str, Any], Buffers]:
    """How rows of a view are drawn, with the arrays that this needs; a picture is a film of one frame."""
    data = views[name].cpu().numpy() if name in views else x
    told, arrays = look(name, x, views.about.get(name), None, data)
    if told["kind"] == "picture":
        colours, h, w = told["shape"]
        told |= {"kind": "film", "shape": [colours, 1, h, w]}
    return told, arrays


# disentanglement ----------------------------------------------------------------------------------------------


def disentanglement(
    told: nn.Module | Mapping[str, Any], views: Views | None = None, factors: pd.DataFrame | None = None
) -> Panel:
    """How much each latent tells of each factor; choose a latent, by a click or Enter, to see its traversal.

    told : a model, with its `views`; or codes by block, {block: (n, k)}, which have no traversal.
    factors : a column each, a row for every row of the codes; without, the numeric columns of the views' metadata.

    The matrix is `metrics.relation`. A traversal starts from the mean code; maps and frames are those where the latent
    changes most.

    >>> z = np.random.default_rng(0).standard_normal((400, 2))
    >>> disentanglement({"shared": z}, factors=pd.DataFrame({"size": z[:, 1]}))
    Disentanglement: 2 latents, 1 factor
    """
    model = told if isinstance(told, nn.Module) else None
    if model is not None and views is None:
        raise ValueError("a model's codes are those of some views: disentanglement(model, views, factors)")
    codes = latents(model, views) if model is not None and views is not None else told
    codes = {block: np.asarray(z, float) for block, z in codes.items()}  # type: ignore[union-attr]
    known = views.metadata if factors is None and views is not None else factors
    known = pd.DataFrame() if known is None else known.select_dtypes(["number", "bool"])
    if not len(known.columns):
        raise ValueError("there are no factors: give a DataFrame with a numeric column each")
    names = [f"{block} {i}" for block, z in codes.items() for i in range(z.shape[1])]
    r = relation(np.concatenate(list(codes.values()), 1), known.to_numpy(float)).astype(np.float32)
    columns = [str(c) for c in known.columns]
    scene: dict[str, Any] = {"kind": "disentanglement", "latents": names, "factors": columns, "views": []}
    scene |= {"title": "what each latent tells of each factor", "steps": list(STEPS), "note": []}
    buffers = {"relation": r}
    if model is not None and views is not None:
        walked, arrays = _walks(model, views, codes)
        scene["views"], buffers = walked, buffers | arrays
    said = f"Disentanglement: {_many(len(names), 'latent')}, {_many(len(columns), 'factor')}"
    return Panel(scene, buffers, lambda: viz.relation(r, names, columns), said)


def _walks(model: Any, views: Views, codes: Mapping[str, ndarray]) -> tuple[list[dict[str, Any]], dict[str, ndarray]]:
    """What each view is while each latent moves: of fields and films the sample that the latent changes most."""
    scenes: list[dict[str, Any]] = []
    buffers: Buffers = {}
    for name, x in _decoded(model, views, codes).items():
        told, arrays = _told(name, rearrange(x, "l v ... -> (l v) ..."), views)
        if told["kind"] in ("field", "film"):
            x, places = _where_most(x, -1 if told["kind"] == "field" else 3)
            told["at"] = [_when(told, place) for place in places]
        told |= {"limit": float(np.abs(x).max()) or 1.0, "limit_change": float(np.abs(x - x[:, [MIDDLE]]).max()) or 1.0}
        if told["kind"] == "film":
            told |= {"low": float(x.min()), "limit": float(x.max())}
        elif x.ndim == 3:
            told |= {"low": x.min((0, 1)).tolist(), "high": x.max((0, 1)).tolist()}
        scenes.append(told)
        buffers |= arrays | {f"walk:{name}": x.astype(np.float32)}
    return scenes, buffers


def _decoded(model: Any, views: Views, codes: Mapping[str, ndarray]) -> dict[str, Float[ndarray, "l v *shape"]]:
    """The means of all views while each latent takes each step and the others are at their mean over rows."""
    n, z, latent = sum(x.shape[1] for x in codes.values()), {}, 0
    for block, x in codes.items():
        z[block] = repeat(torch.as_tensor(x.mean(0), dtype=torch.float32), "k -> l v k", l=n, v=len(STEPS)).clone()
        for i in range(x.shape[1]):
            z[block][latent, :, i] = torch.tensor(STEPS)
            latent += 1
    with still(model) as device, torch.no_grad():
        context = None
        if model.condition:  # of the first row
            row = views[torch.zeros(n * len(STEPS), dtype=torch.long)].to(device)
            context = Tokens.cat(list(model.tokens(row, model.condition).values()))
        p = model.decode({block: rearrange(x, "l v k -> (l v) k").to(device) for block, x in z.items()}, context)
        means = {name: likelihood.mean.float().cpu().numpy() for name, likelihood in p.items()}
    return {name: rearrange(x, "(l v) ... -> l v ...", l=n) for name, x in means.items()}


def _where_most(x: Float[ndarray, "l v *shape"], axis: int) -> tuple[Float[ndarray, "l v *one"], list[int]]:
    """Of each latent the sample along an axis at which its steps differ most, and which that is."""
    spread = np.moveaxis(np.ptp(x, 1), axis if axis < 0 else axis - 1, 1)  # (l, places, ...)
    places = [int(place) for place in np.square(spread).sum(tuple(range(2, spread.ndim))).argmax(1)]
    return np.stack([one.take(place, axis if axis < 0 else axis - 1) for one, place in zip(x, places)]), places


def _when(told: Mapping[str, Any], place: int) -> str:
    """A sample in words: seconds where they are known."""
    if told.get("times"):
        return f"{told['times'][place]:.3f} s"
    return f"{place / told['fps']:.3f} s" if told.get("fps") else f"frame {place}"


# words ----------------------------------------------------------------------------------------------------------


def _fitting(rows: int, size: int) -> int:
    """How many rows of a size in bytes are sent."""
    return max(1, min(rows, MOST // max(size, 1)))


def _kept(rows: int, of: int) -> list[str]:
    return [] if rows == of else [f"the first {rows} of {of} rows"]


def _labels(rows: int) -> list[str]:
    return [f"row {i}" for i in range(rows)]


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
