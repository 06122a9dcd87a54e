"""The explorer at its start as a picture: what stands in a notebook where widgets do not run."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy import ndarray

from .. import viz
from ..viz.style import BLUE, GREY, VERMILLION
from .scene import Scene

SHOWN = 12  # latents in the picture, the most informative ones
SIZE = (180, 84)  # mm
DPI = 130


def snapshot(scene: Scene, start: int) -> bytes:
    """A PNG of the most informative latents, where they stand, and of every view as it is decoded there.

    The same scene and start give the same bytes.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> from ivekit.views import Views
    >>> from ivekit.widgets.scene import describe
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> scene = describe(model, Views({"a": torch.randn(20, 3)}))
    >>> snapshot(scene, -1)[:4], snapshot(scene, -1) == snapshot(scene, -1)
    (b'\\x89PNG', True)
    """
    k = scene.decode.size
    at = scene.buffers["codes"][start] if start >= 0 else np.array(scene.said["mean"]) * (start == -1)
    row = scene.rows[max(start, 0) : max(start, 0) + 1]
    told = scene.decode.told(torch.from_numpy(np.asarray(at, np.float32)[None]) if k else None, row)
    x = {name: part[0].numpy() for name, part in zip(scene.decode.outputs, told)}
    views = scene.said["views"][:4]
    look: dict[Any, Any] = {**viz.STYLE, "text.color": "black", "font.size": 7}
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(SIZE[0] / 25.4, SIZE[1] / 25.4), facecolor="white")
        if k:
            _latents(figure.add_axes((0.205, 0.13, 0.17, 0.78)), scene, at)
        grid = figure.add_gridspec(
            len(views), 1, left=0.475 if k else 0.12, right=0.85, bottom=0.13, top=0.9, hspace=0.75
        )
        for i, view in enumerate(views):
            _view(figure.add_subplot(grid[i]), view, x[view["name"]], scene)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def _latents(ax: Axes, scene: Scene, at: Float[ndarray, "k"]) -> None:
    """Where each latent stands, on the distribution of the data."""
    place = {one["id"]: i for i, one in enumerate(scene.said["latents"])}
    shown = [
        scene.said["latents"][place[id]] for id in scene.said["order"] if scene.said["latents"][place[id]]["active"]
    ]
    for i, one in enumerate(shown[:SHOWN]):
        edges = np.linspace(one["low"], one["high"], len(one["hist"]) + 1)
        ax.stairs(-i + 0.75 * np.array(one["hist"]), edges, baseline=-i, fill=True, color=BLUE, alpha=0.35, linewidth=0)
        ax.plot(float(at[place[one["id"]]]), -i, "o", color=VERMILLION, markersize=3.5, zorder=3)
    names = [f"{one['name']}{_goes_with(one)}" for one in shown[:SHOWN]]
    ax.set_yticks(-np.arange(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel="code (prior standard deviations)", ylim=(0.4 - max(len(names), 4), 1))
    left = len(scene.said["latents"]) - len(names)
    ax.set_title(f"Latents{f' ({left} more not shown)' if left else ''}", loc="center")


def _goes_with(one: Mapping[str, Any]) -> str:
    match = one["match"]
    return f", {match['name']} {match['r']:+.2f}".replace("-", "−") if match and match["passed"] else ""


def _view(ax: Axes, view: Mapping[str, Any], x: ndarray, scene: Scene) -> None:
    draw: dict[str, Callable[..., None]] = {"field": _field, "film": _film, "picture": _film, "numbers": _numbers}
    unit = f" ({view['unit']})" if view["unit"] else ""
    ax.set_title(f"{view['name'].replace('_', ' ')}{unit}", loc="left")
    draw.get(view["kind"], _lines)(ax, view, x, scene)


def _field(ax: Axes, view: Mapping[str, Any], x: Float[ndarray, "c t"], scene: Scene) -> None:
    """The waveforms, and beside them the map where it is strongest."""
    topo, t = view["topo"], np.array(view["times"])
    picks = np.unique(np.array(topo.get("picks") or topo["pairs"]))
    for line, colour in zip(x[picks], np.array(view["colours"])[picks]):
        ax.plot(t, line, color=colour, linewidth=0.4)
    high = max(view["limit"], 1.05 * float(np.abs(x[picks]).max()))
    ax.axvline(float(t[view["peak"]]), color=GREY, linewidth=0.6, linestyle="--")
    ax.set(xlim=(t[0], t[-1]), ylim=(-high, high), xlabel="time (s)")
    moment = x[:, view["peak"]]
    drawn = moment[topo["picks"]] if "picks" in topo else np.sqrt(np.square(moment[np.array(topo["pairs"])]).mean(1))
    image = rearrange(scene.buffers[f"topo:{view['name']}"] @ drawn, "(h w) -> h w", h=topo["size"])
    inset = ax.inset_axes((1.02, -0.25, 0.38, 1.5))
    ends = dict(vmin=-view["limit"], vmax=view["limit"], cmap="RdBu_r")
    shown = inset.imshow(image, origin="lower", extent=tuple(topo["extent"]), interpolation="bilinear", **ends)
    shown.set_clip_path(Polygon(np.array(topo["border"]).T, transform=inset.transData))
    for line in topo["outlines"].values():
        inset.plot(*line, color="black", linewidth=0.6)
    inset.set_axis_off()
    inset.set_aspect("equal")


def _film(ax: Axes, view: Mapping[str, Any], x: ndarray, scene: Scene) -> None:
    frames = x if x.ndim == 4 else x[:, None]
    chosen = np.unique(np.linspace(0, frames.shape[1] - 1, 8).round().astype(int))
    pixels = np.pad(frames[:, chosen], ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    strip = (rearrange(pixels, "c t h w -> h (t w) c") - view["low"]) / (view["high"] - view["low"])
    ax.imshow(np.clip(strip if strip.shape[2] == 3 else strip[..., 0], 0, 1), cmap="gray", vmin=0, vmax=1)
    ax.set_axis_off()


def _numbers(ax: Axes, view: Mapping[str, Any], x: ndarray, scene: Scene) -> None:
    low, high = np.array(view["low"]), np.array(view["high"])
    part = np.clip((x.reshape(-1) - low) / (high - low), 0, 1)
    place = np.arange(len(part))
    ax.barh(place, np.ones(len(part)), color=GREY, alpha=0.18, height=0.75)
    ax.barh(place, part, color=BLUE, height=0.75)
    few = len(part) <= 8
    ax.set_yticks(place if few else [], [c.replace("_", " ") for c in view["columns"]] if few else [], fontsize=6)
    for i, value in enumerate(x.reshape(-1)[: 8 if few else 0]):
        ax.text(1.02, i, f"{value:.3g} {view['units'][i]}", va="center", fontsize=6)
    ax.set(xlim=(0, 1), ylim=(len(part) - 0.5, -0.5), xticks=[])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _lines(ax: Axes, view: Mapping[str, Any], x: ndarray, scene: Scene) -> None:
    """Traces against time, class probabilities as bars, a text as words, anything else by its place."""
    if view["kind"] == "text":
        said = bytes(x.astype(np.uint8)).split(b"\0")[0].decode(errors="replace")
        ax.text(0, 0.5, "".join(c if c.isascii() and c.isprintable() else "." for c in said), va="center", wrap=True)
        ax.set_axis_off()
    elif view["kind"] == "classes":
        ax.bar(view["classes"], x, color=BLUE)
        ax.set(ylim=(0, 1), ylabel="probability")
    elif view["kind"] == "traces":
        for line, name in zip(x, view["names"]):
            ax.plot(view["times"], line, linewidth=0.7, label=name)
        ax.set(xlabel=view.get("axis", "time (s)"))
    else:
        ax.plot(x.reshape(-1), linewidth=0.5)
        ax.set(xlabel="number")
