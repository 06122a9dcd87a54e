"""Where attention went: as a matrix, over the picture that it looked at, and as a figure to click through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Real
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy import ndarray

from .fields import explained
from .style import COLUMN, CYCLE, STYLE, VERMILLION, canvas, legend_above, millimetres


def attention_matrix(
    weights: Real[Any, "q k"],
    rows: Sequence[str],
    columns: Sequence[str],
    ax: Axes | None = None,
    truth: Bool[Any, "q k"] | None = None,
    label: str = "attention",
) -> Axes:
    """Draw who looked at whom: queries from top to bottom, keys from left to right; what is `truth` is outlined.

    weights (q, k), rows and columns their names. White is 0, the darkest is the largest weight; at most some twenty
    names are written along an axis.

    >>> ax = attention_matrix(np.eye(2), ["early", "late"], ["left", "right"], truth=np.eye(2, dtype=bool))
    >>> len(ax.patches), [text.get_text() for text in ax.get_yticklabels()]
    (2, ['early', 'late'])
    """
    w = np.asarray(weights, float)
    if w.shape != (len(rows), len(columns)):
        raise ValueError(f"{len(rows)} rows and {len(columns)} columns are named, but the weights are {w.shape}")
    with canvas(ax, min(30 + 4 * len(rows), 90), COLUMN) as ax:
        image = ax.imshow(w, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
        for place in np.argwhere(np.asarray(truth, bool)) if truth is not None else ():
            _outline(ax, place[1] - 0.5, place[0] - 0.5)
        for axis, names in ((ax.xaxis, columns), (ax.yaxis, rows)):
            shown = np.arange(0, len(names), -(-len(names) // 20))
            axis.set_ticks(shown, [str(names[int(i)]) for i in shown])
        if max(len(str(name)) for name in columns) > 3:
            plt.setp(ax.get_xticklabels(), rotation=50, ha="right", rotation_mode="anchor")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(image, ax=ax, label=label, aspect=25, pad=0.02).outline.set_visible(False)
    return ax


def _outline(ax: Axes, x: float, y: float, width: float = 1.0, height: float = 1.0) -> None:
    """A line that shows on light and dark cells, in print too."""
    edge = [Stroke(linewidth=2, foreground="white"), Normal()]
    look: dict[str, Any] = {"fill": False, "edgecolor": VERMILLION, "linewidth": 0.9, "path_effects": edge}
    ax.add_patch(Rectangle((x, y), width, height, **look))


def attention_overlay(
    image: Real[Any, "*colours h w"],
    weights: Real[Any, "h2 w2"],
    ax: Axes | None = None,
    truth: Bool[Any, "h2 w2"] | None = None,
    limit: float | int | None = None,
) -> Axes:
    """Draw a picture in grey, and over it, in orange, how much attention each of its cells got.

    image (h, w), or (1, h, w); of a volume, (1, d, h, w), the brightest along its depth. weights (h2, w2): one a cell
    of a grid over the picture. Cells of the `truth` are outlined. limit, the weight of full colour.

    >>> ax = attention_overlay(np.zeros((16, 16)), np.eye(4), truth=np.eye(4, dtype=bool))
    >>> len(ax.images), len(ax.patches)
    (2, 4)
    """
    x, w = np.asarray(image, float), np.asarray(weights, float)
    x = x.max(tuple(range(x.ndim - 2)))
    tall, wide = x.shape[0] / w.shape[0], x.shape[1] / w.shape[1]
    with canvas(ax, 40, 40) as ax:
        extent = (-0.5, x.shape[1] - 0.5, x.shape[0] - 0.5, -0.5)
        # never so light that orange is lost on it where a page is printed in grey
        light = float(np.nanmin(x) + 2 * np.ptp(x)) or 1.0
        ax.imshow(x, cmap="gray", vmax=light, extent=extent, interpolation="nearest")
        alpha = np.clip(w / float(limit or np.nanmax(w, initial=0) or 1), 0, 1)
        ax.imshow(np.broadcast_to(ORANGE, (*w.shape, 3)), alpha=0.75 * alpha, extent=extent, interpolation="nearest")
        for i, j in np.argwhere(np.asarray(truth, bool)) if truth is not None else ():
            _outline(ax, j * wide - 0.5, i * tall - 0.5, wide, tall)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return ax


def attention_evidence(
    title: str,
    maps: Mapping[str, Real[Any, "c"]],
    topo: Any,
    courses: Mapping[str, Real[Any, "t"]] | None = None,
    times: Real[Any, "t"] | None = None,
    film: Real[Any, "colours frames h w"] | None = None,
    patches: Mapping[str, Real[Any, "t2 h2 w2"]] | None = None,
) -> list[Axes]:
    """Draw attention beside an attribution and the truth: over sensors, over time and over a film's patches.

    title : what its check allows it to be called (`ivekit.explain.map_title`). maps : what is drawn -> sizes at the
    sensors of `topo`, such as attention, attribution and truth, each on its own scale from 0. courses, times : the same
    over time (s), each over its largest. film : one that was attended to; patches : what -> weights of its cells, the
    first step in time, the middle and the last. Returns the axes: heads, the courses, then the films' rows.

    >>> from types import SimpleNamespace
    >>> from ivekit.topomap import Topomap
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> maps = {"attention": np.ones(15), "truth": np.abs(pos[:, 0])}
    >>> axes = attention_evidence("weights, not evidence", maps, Topomap(sensors, size=16))
    >>> plt.gcf().get_suptitle(), [ax.get_title() for ax in axes]
    ('weights, not evidence', ['attention', 'truth'])
    """
    courses, patches = courses or {}, patches or {}
    if (courses and times is None) or (patches and film is None):
        raise ValueError("courses are drawn over times, and patches over a film: give both")
    rows = [48.0] + [34.0] * bool(courses) + [30.0] * len(patches)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=millimetres(2 * COLUMN, sum(rows) + 8), layout="constrained")
        parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
        figure.suptitle(title, fontsize=9)
        heads = parts[0].subplots(1, len(maps), squeeze=False)[0]
        for ax, (name, x) in zip(heads, maps.items()):
            explained(np.abs(np.asarray(x, float)), topo, "|attribution|", ax=ax).set_title(name)
        axes = list(heads)
        if courses:
            axes.append(_courses(courses, np.asarray(times, float), parts[1].subplots()))
        for part, (name, w) in zip(parts[len(parts) - len(patches) :], patches.items()):
            axes += _on_film(np.asarray(film, float), np.asarray(w, float), name, part)
    return axes


def _courses(courses: Mapping[str, Any], times: Float[ndarray, "t"], ax: Axes) -> Axes:
    for i, (name, x) in enumerate(courses.items()):
        size = np.abs(np.asarray(x, float))
        dashes = ["-", "--", ":", "-."][i % 4]
        ax.plot(times, size / (size.max() or 1.0), dashes, color=CYCLE[i % len(CYCLE)], label=name)
    ax.set(xlabel="time (s)", ylabel="over its largest", ylim=(0, 1.05))
    legend_above(ax)
    return ax


def _on_film(film: Float[ndarray, "colours t h w"], w: Float[ndarray, "t2 h2 w2"], name: str, part: Any) -> list[Axes]:
    """The first step in time, the middle and the last, each over the frame in its middle."""
    steps = sorted({0, len(w) // 2, len(w) - 1})
    axes = part.subplots(1, len(steps), squeeze=False)[0]
    for ax, i in zip(axes, steps):
        frame = min(int((i + 0.5) * film.shape[1] / len(w)), film.shape[1] - 1)
        attention_overlay(film[:, frame], w[i], ax, limit=float(w.max()) or 1.0).set_title(f"{name}, frame {frame}")
    return list(axes)


ORANGE = np.array([0.902, 0.624, 0.0])  # of Okabe and Ito (2008), as the rest of the figures


def attention_browser(
    heads: Float[Any, "heads q k"],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str = "",
) -> Any:
    """A plotly figure of every head's matrix, with a button a head; hovering tells both names and the weight.

    heads (h, q, k), the weights of each head; the first button shows their mean.

    >>> figure = attention_browser(np.ones((2, 3, 4)) / 4, list("abc"), list("wxyz"))
    >>> [button.label for button in figure.layout.updatemenus[0].buttons]
    ['mean', 'head 0', 'head 1']
    """
    import plotly.graph_objects as go

    w = np.asarray(heads, float)
    maps = {"mean": w.mean(0), **{f"head {i}": one for i, one in enumerate(w)}}
    hover = "%{y}<br>looks at %{x}<br>%{z:.3f}<extra></extra>"
    traces = [
        go.Heatmap(
            z=_rounded(one),
            x=list(columns),
            y=list(rows),
            visible=name == "mean",
            zmin=0,
            zmax=float(w.max()),
            colorscale="Blues",
            colorbar={"title": "attention"},
            hovertemplate=hover,
        )  # fmt: skip
        for name, one in maps.items()
    ]
    buttons = [
        {"label": name, "method": "update", "args": [{"visible": [other == name for other in maps]}]} for name in maps
    ]
    figure = go.Figure(traces)
    figure.update_layout(
        title=title, template="plotly_white", height=420, margin={"l": 80, "r": 20, "t": 60, "b": 90},
        updatemenus=[{"buttons": buttons, "x": 1.0, "y": 1.15, "xanchor": "right"}],
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure


def _rounded(x: Float[ndarray, "q k"]) -> list[list[float]]:
    """Four decimals: a saved figure need not hold more."""
    return np.round(x, 4).tolist()
