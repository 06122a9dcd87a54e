"""The scene: all that an explorer must know of a model and its data, as one dictionary and named arrays.

It is what Python tells JavaScript once; after it, only latents and what is decoded of them go to and fro.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from .. import explain
from ..explain.patterns import pattern_of
from ..training import collapse
from ..training.evaluation import still
from ..views import Views
from .looks import Buffers, look
from .net import Decode, side_by_side

AT_MOST = 2048  # rows whose codes are looked at
DECODED = 192  # of them, those that are decoded for the scales
STARTS = 512  # rows that one can start from
CARRIED = 4e6  # bytes of what is given in them, at most
BINS = 24  # of the data's distribution under a slider


@dataclass(frozen=True)
class Scene:
    """What an explorer shows: `said` goes as JSON, `buffers` as bytes; `rows` are those that one can start from."""

    said: dict[str, Any]
    buffers: Buffers
    decode: Decode
    rows: Views

    def packed(self) -> tuple[dict[str, Any], list[bytes]]:
        """As a message: the scene with the name, type and shape of each array, and their bytes in that order.

        >>> from ivekit.distributions import Normal
        >>> from ivekit.models import Outputs
        >>> class Same(nn.Module):
        ...     def forward(self, views):
        ...         return Outputs({}, {}, {"a": Normal(views["a"], 1.0)})
        >>> describe(Same(), Views({"a": torch.zeros(5, 2)})).packed()[0]["buffers"][-1]
        {'name': 'sds', 'dtype': 'f4', 'shape': [5, 0]}
        """
        kinds = {name: x.dtype.str[1:] for name, x in self.buffers.items()}
        told = [{"name": n, "dtype": kinds[n], "shape": list(x.shape)} for n, x in self.buffers.items()]
        return {"scene": self.said, "buffers": told}, [np.ascontiguousarray(x).tobytes() for x in self.buffers.values()]


@dataclass(frozen=True)
class Codes:
    """The codes of rows, blocks side by side, and how unsure each is."""

    mean: Float[ndarray, "n k"]
    sd: Float[ndarray, "n k"]


def describe(
    model: nn.Module,
    views: Views,
    factors: pd.DataFrame | None = None,
    verdicts: Mapping[tuple[str, int], Any] | None = None,
    title: str = "",
    about: Mapping[str, Any] | None = None,
) -> Scene:
    """The scene of a model and rows.

    factors : of a simulated world, a row a row. verdicts : {(block, index): a `Check`, several, or a `Card`}.
    about : what else a reader should know of where it comes from (data, recipe, seed), by name.

    Raises
    ------
    ValueError : when there are no rows, they hold an unmasked NaN, factors are of another length, or a verdict names
        a latent that is not there.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> scene = describe(model, Views({"a": torch.randn(20, 3)}))
    >>> [latent["name"] for latent in scene.said["latents"]], scene.buffers["codes"].shape
    (['shared 0', 'shared 1'], (20, 2))
    """
    _check(views, factors)
    chosen = _spread(len(views), AT_MOST)
    rows, truth = views[chosen], None if factors is None else factors.iloc[chosen.numpy()].reset_index(drop=True)
    decode = Decode(model, rows)
    unknown = [key for key in verdicts or {} if key not in latent_names(decode.blocks)]
    if unknown:
        raise ValueError(f"verdicts are of {unknown}, and the latents are in {decode.blocks}")
    starts = _starts(rows, decode)
    codes = encoded(decode, rows)
    told, buffers = _views(decode, rows, codes)
    given, of_given = _given(decode, rows, starts)
    latents, patterns = _latents(decode, rows, codes, truth, verdicts or {}, told)
    support, precision = _support(codes)
    said = {
        "title": title,
        "about": _about(views, decode, about),
        "warnings": _warnings(decode, codes),
        "blocks": _blocks(decode),
        "latents": latents,
        "order": [one["id"] for one in sorted(latents, key=lambda one: -one["rank"])],
        "rows": {"labels": _labels(rows[starts], chosen[starts]), "index": chosen[starts].tolist()},
        "mean": codes.mean.mean(0).tolist(),
        "support": support,
        "given": given,
        "views": told,
        "net": {"how": "kernel", "inputs": decode.inputs, "outputs": decode.outputs},
    }
    every = buffers | of_given | patterns | {"precision": precision} | _tables()
    every |= {"codes": codes.mean[starts].astype("f4"), "sds": codes.sd[starts].astype("f4")}
    return Scene(said, every, decode, rows[starts])


def _check(views: Views, factors: pd.DataFrame | None) -> None:
    if not len(views):
        raise ValueError("there are no rows to explore: views is empty")
    if factors is not None and len(factors) != len(views):
        raise ValueError(f"factors has {len(factors)} rows, the views {len(views)}")
    views.require_finite()


def _spread(n: int, most: int) -> Int[Tensor, "m"]:
    """Rows evenly spread over all."""
    return torch.arange(n) if n <= most else torch.linspace(0, n - 1, most).round().long()


def latent_names(blocks: Mapping[str, int]) -> list[tuple[str, int]]:
    """Block and number of each latent, in order.

    >>> latent_names({"shared": 2, "meg": 1})
    [('shared', 0), ('shared', 1), ('meg', 0)]
    """
    return [(block, i) for block, k in blocks.items() for i in range(k)]


def encoded(decode: Decode, rows: Views, batch_rows: int = 256) -> Codes:
    """The posteriors' means and standard deviations of rows; of a model without latents, numbers of no column."""
    if not decode.latent:
        return Codes(np.zeros((len(rows), 0)), np.zeros((len(rows), 0)))
    means, sds = [], []
    with still(decode.model) as device:
        for batch in rows.loader(batch_rows):
            q = decode.model.encode(batch.to(device))
            means.append(side_by_side({b: d.mean for b, d in q.items()}, list(decode.blocks)).cpu())
            sds.append(side_by_side({b: d.stddev.expand_as(d.mean) for b, d in q.items()}, list(decode.blocks)).cpu())
    return Codes(torch.cat(means).double().numpy(), torch.cat(sds).double().numpy())


# views -----------------------------------------------------------------------------------------------------------


def _views(decode: Decode, rows: Views, codes: Codes) -> tuple[list[dict], Buffers]:
    """How each view is drawn, on scales of what is decoded at the data's own codes."""
    few = _spread(len(rows), DECODED)
    z = torch.from_numpy(codes.mean).float()[few] if decode.latent else None
    parts = [decode.told(None if z is None else z[at], rows[few[at]]) for at in torch.arange(len(few)).split(32)]
    x = {name: torch.cat([part[i] for part in parts]).numpy() for i, name in enumerate(decode.outputs)}
    told, buffers = [], {}
    with still(decode.model) as device:
        p = decode.likelihoods(None if z is None else z[:1].to(device), rows[few[:1]].to(device))
    for name in decode.names:
        said, more = look(name, x[name], rows.about.get(name), p[name], _recorded(rows, name))
        told.append(said)
        buffers |= more
    return told, buffers


def _recorded(rows: Views, name: str) -> Float[ndarray, "n *shape"]:
    """A view's numbers, NaN where nothing was recorded; without the rows that lack all of it."""
    mask = rows.present[name]
    x = rows[name].cpu().float()
    here = mask.cpu() if mask.ndim == x.ndim else mask.cpu().reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
    return torch.where(here, x, torch.nan)[rows.rows_present(name).cpu()].numpy()


def _given(decode: Decode, rows: Views, starts: Int[Tensor, "s"]) -> tuple[list[dict], Buffers]:
    """What stands beside z: how it is drawn, and its numbers in the rows that one can start from."""
    told, buffers = [], {}
    for name in decode.given:
        x = rows[name].cpu()
        data = _recorded(rows, name)
        said, more = look(name, x.numpy(), rows.about.get(name), None, data if len(data) else x.numpy())
        told.append(said)
        buffers |= {key: value for key, value in more.items() if key not in buffers}
        buffers[f"given:{name}"] = x[starts].float().nan_to_num().numpy()
    return told, buffers


# latents ---------------------------------------------------------------------------------------------------------


def _blocks(decode: Decode) -> list[dict]:
    own = set(getattr(decode.model, "private", None) or {})
    return [{"name": name, "touches": [name] if name in own else decode.names} for name in decode.blocks]


def _latents(
    decode: Decode, rows: Views, codes: Codes, factors: pd.DataFrame | None, verdicts: Mapping, told: list[dict]
) -> tuple[list[dict], Buffers]:
    if not decode.size:
        return [], {}
    found = explain.identify(decode.model, rows, factors)
    used = collapse(decode.model, rows)
    patterns, buffers = _patterns(decode, rows, codes, used["active"].tolist(), told)
    latents = []
    for i, (block, index) in enumerate(latent_names(decode.blocks)):
        low, high = _reach(codes.mean[:, i], codes.sd[:, i])
        count = np.histogram(codes.mean[:, i], BINS, (low, high))[0]
        kl, variance = float(used["kl"][i]), float(used["variance"][i])
        latents.append({
            "id": f"{block}:{index}", "block": block, "index": index, "name": f"{block} {index}",
            "kl": kl if np.isfinite(kl) else None, "active": bool(used["active"][i]),
            "rank": kl if np.isfinite(kl) else variance,
            "sd": float(np.sqrt(np.square(codes.sd[:, i]).mean()) or max(codes.mean[:, i].std(), 1e-6)),
            "low": low, "high": high, "hist": (count / max(count.max(), 1)).round(4).tolist(),
            "match": _match(found.iloc[i].to_dict()), "said": str(found["said"][i]),
            "verdict": verdict_of(verdicts.get((block, index))), "pattern": patterns[i],
        })  # fmt: skip
    return latents, buffers


def _reach(mean: Float[ndarray, "n"], sd: Float[ndarray, "n"]) -> tuple[float, float]:
    """The ends of a slider: what a belief about any row may hold, and for beliefs at least what the prior may."""
    ends = np.quantile(np.concatenate([mean - 2 * sd, mean + 2 * sd]), [0.005, 0.995])
    if not sd.any():  # points: there is no prior to stand for what else may be
        margin = 0.25 * max(np.ptp(ends), 1e-3)
        return float(ends[0] - margin), float(ends[1] + margin)
    return float(min(-3.0, ends[0])), float(max(3.0, ends[1]))


def _match(found: Mapping[str, Any]) -> dict | None:
    if not found.get("match"):
        return None
    numbers = {name: float(found[name]) for name in ("r", "low", "high", "floor")}
    return {"name": str(found["match"]), "passed": bool(found["passed"])} | numbers


def verdict_of(said: Any) -> dict | None:
    """What a check, several or a card say of a latent: passed or not, and a sentence.

    >>> verdict_of(explain.Check("weights", 0.1))
    {'passed': False, 'text': 'Not to be believed: it failed weights (1 of 1 check).'}
    """
    if said is None:
        return None
    checks: Sequence[Any] = getattr(said, "checks", [said] if isinstance(said, explain.Check) else said)
    return {"passed": all(check.passed for check in checks), "text": explain.verdict(checks)}


def _patterns(
    decode: Decode, rows: Views, codes: Codes, active: list[bool], told: list[dict]
) -> tuple[list[dict | None], Buffers]:
    """The field that comes with each latent, at the time when it is strongest, for the sensors of the map."""
    found: list[dict | None] = [None] * decode.size
    field = next((view for view in told if view["kind"] == "field" and view["name"] in rows), None)
    if field is None:
        return found, {}
    name, topo = field["name"], field["topo"]
    touches = {block["name"]: block["touches"] for block in _blocks(decode)}
    each = pattern_of(rows[name], torch.from_numpy(codes.mean), rows.present[name]).numpy()
    buffers: Buffers = {}
    for i, (block, _) in enumerate(latent_names(decode.blocks)):
        if not active[i] or name not in touches[block]:
            continue
        x = each[i]
        drawn = x[topo["picks"]] if "picks" in topo else np.sqrt(np.square(x[np.array(topo["pairs"])]).mean(1))
        best = int(np.square(drawn).mean(0).argmax())
        buffers[f"pattern:{i}"] = drawn[:, best].astype(np.float32)
        found[i] = {"view": name, "buffer": f"pattern:{i}", "time": field["times"][best]}
    return found, buffers


# what the data occupy, and where it all comes from -------------------------------------------------------------------


def _support(codes: Codes, seed: int = 0) -> tuple[dict, Float[ndarray, "k k"]]:
    """The region that beliefs about the data occupy: centre and precision of draws of them, and what holds 99 %.

    One draw a row, so that along a collapsed latent the region is as wide as the prior (its means all but coincide).
    The covariance is shrunk (Ledoit & Wolf, 2004, J. Multivar. Anal. 88); far is Mahalanobis' squared distance. Among
    many latents it alone would let a single one go very far, so `ends` (k, 2) says where each latent's own 99 % lie.
    """
    from sklearn.covariance import LedoitWolf

    n, k = codes.mean.shape
    if not k or n < 2:
        return {"centre": codes.mean.mean(0).tolist(), "limit": None, "ends": []}, np.eye(k, dtype=np.float32)
    drawn = codes.mean + codes.sd * np.random.default_rng(seed).standard_normal((n, k))
    fitted = LedoitWolf().fit(drawn)
    limit = float(np.quantile(fitted.mahalanobis(drawn), 0.99))
    ends = np.quantile(drawn, [0.005, 0.995], axis=0).T.tolist()
    return {"centre": fitted.location_.tolist(), "limit": limit, "ends": ends}, fitted.precision_.astype(np.float32)


def _starts(rows: Views, decode: Decode) -> Int[Tensor, "s"]:
    """Rows to start from: held-out ones where the split is known, evenly spread; fewer where much is given in each."""
    frame, of = rows.metadata, torch.arange(len(rows))
    if frame is not None and "split" in frame and (frame["split"] == "test").any():
        of = torch.from_numpy(np.flatnonzero((frame["split"] == "test").to_numpy()))
    a_row = 4 * sum(rows[name].shape[1:].numel() for name in decode.given)
    return of[_spread(len(of), min(STARTS, max(8, int(CARRIED // max(a_row, 1)))))]


def _labels(rows: Views, numbers: Int[Tensor, "s"]) -> list[str]:
    """A row's number, and the first words of its metadata."""
    frame = rows.metadata
    if frame is None:
        return [f"row {i}" for i in numbers.tolist()]
    words = frame[list(frame.columns[:4])].to_dict("records")
    return [f"row {i}: {', '.join(f'{k} {v}' for k, v in of.items())}" for i, of in zip(numbers.tolist(), words)]


def _about(views: Views, decode: Decode, about: Mapping[str, Any] | None) -> list[list[str]]:
    weights = sum(w.numel() for w in decode.model.parameters())
    made = {
        "rows": f"{len(views)} of {', '.join(f'{n} {tuple(x.shape[1:])}' for n, x in views.items())}",
        "model": f"{type(decode.model).__name__}, {weights} weights",
        "made with": f"ivekit {version('ivekit')}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    return [[str(key), str(value)] for key, value in ({**(about or {})} | made).items()]


def _warnings(decode: Decode, codes: Codes) -> list[str]:
    warnings = []
    if not decode.latent:
        warnings.append("This model has no latents to turn: choose another row, or change what it is given.")
    elif not codes.sd.any():
        warnings.append("The code of a row is a point: there is no belief to draw from, and no prior.")
    return warnings


def _tables() -> Buffers:
    import matplotlib

    maps = {"diverging": "RdBu_r", "grey": "gray"}
    return {
        name: (matplotlib.colormaps[of](np.arange(256)) * 255).round().astype(np.uint8) for name, of in maps.items()
    }
