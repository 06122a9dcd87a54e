"""How each view is drawn: by the shape of its rows, by what `about` says of them, and on scales that all rows share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from ..distributions import Autoregressive, Bernoulli, Categorical, Columns, LogNormal
from ..signal import Sensors

UNITS = {"mag": "fT", "grad": "fT/cm", "eeg": "µV"}
MANY = 64  # more numbers, or more traces, than can be told apart by name
SIZE = 64  # pixels a side of a field map
Buffers = dict[str, ndarray]


def look(
    name: str, x: Shaped[ndarray, "b *shape"], about: Any, p: Any, data: Shaped[ndarray, "n *any"]
) -> tuple[dict, Buffers]:
    """What JavaScript must know to draw a view that a model tells, and the numbers for it.

    x : what is decoded of some rows, (b, *shape). about : what the view's numbers are. p : a likelihood of the view.
    data : recorded rows of it, NaN where nothing was.

    >>> told, recorded = np.array([[0.3], [0.5]]), np.array([[0.2], [0.6]])
    >>> said, _ = look("rt", told, {"columns": ["rt"], "units": ["s"]}, None, recorded)
    >>> said["kind"], said["columns"], said["units"], said["kinds"]
    ('numbers', ['rt'], ['s'], ['normal'])
    """
    kind, topo = kind_of(x.shape[1:], about, p, x.dtype)
    shape = x.shape[1:] or (1,)
    said = {"name": name, "kind": kind, "shape": list(shape), "unit": _unit(about, topo)}
    buffers: Buffers = {}
    if kind == "field":
        said |= _field(name, x, about, topo, buffers)
    elif kind != "text":
        x = x.astype(np.float32)
        said |= {"limit": _limit(x), "limit_change": _limit(x - x.mean(0))}
    if kind == "film":
        said["fps"] = _dict(about).get("fps")
    if kind in ("film", "picture"):
        said["low"], said["high"] = _ends(data if data.shape[1:] == shape else x)
    if kind == "numbers":
        said |= _numbers(x.reshape(len(x), -1), about, p, data)
    if kind == "traces":
        said |= _traces(shape, about)
    if kind == "classes":
        said["classes"] = classes(about, shape[-1])
    return said, buffers


def kind_of(shape: tuple[int, ...], about: Any, p: Any = None, dtype: Any = np.float32) -> tuple[str, Any]:
    """The kind of a view's picture, and the `Topomap` of its sensors where it is a field.

    >>> [kind_of(shape, None)[0] for shape in ((1, 16, 32, 32), (3, 32, 32), (2, 250), (9,), (500,))]
    ['film', 'picture', 'traces', 'numbers', 'list']
    """
    if isinstance(p, Autoregressive) or p is None and _dict(about).get("text") or _is_text(shape, p, dtype):
        return "text", None
    if isinstance(p, Categorical) and len(shape) == 1:
        return "classes", None
    if len(shape) == 2 and isinstance(about, Sensors) and (topo := topomap(about)) is not None:
        return "field", topo
    if len(shape) == 4 and shape[0] in (1, 3):
        return "film", None
    if len(shape) == 3 and shape[0] in (1, 3):
        return "picture", None
    if len(shape) == 2 and (isinstance(about, Sensors) or shape[0] <= MANY):
        return "traces", None
    return ("numbers" if len(shape) < 2 and (shape or (1,))[0] <= MANY else "list"), None


def _is_text(shape: tuple[int, ...], p: Any, dtype: Any) -> bool:
    """Rows of bytes: whole numbers side by side that no likelihood calls something else."""
    return p is None and len(shape) == 1 and np.issubdtype(dtype, np.integer)


def topomap(sensors: Sensors) -> Any:
    """The map of the first kind of sensors that can be drawn; None when no places are known.

    >>> topomap(Sensors(["a"], np.full((1, 2), np.nan), ["mag"], 100.0))
    """
    from ..topomap import KINDS, Topomap

    for kind in (kind for kind in KINDS if kind in sensors.kinds):
        picks = [i for i, k in enumerate(sensors.kinds) if k == kind]
        if len(picks) >= 4 and np.isfinite(np.asarray(sensors.pos, float)[picks]).all():
            try:
                return Topomap(sensors, kind, SIZE)
            except ValueError:  # on one line or circle, or two in one place: no triangles
                continue
    return None


def _field(name: str, x: Float[ndarray, "b c t"], about: Sensors, topo: Any, buffers: Buffers) -> dict:
    from matplotlib.colors import to_hex

    from ..viz.fields import place_colours

    drawn = x[:, np.unique(topo.picks)]
    power = np.square(topo.merge(np.moveaxis(x, 1, 2))).mean((0, 2))
    buffers[f"topo:{name}"] = np.nan_to_num(topo.full).astype(np.float32)  # beyond the last triangles: no number
    buffers[f"inside:{name}"] = topo.inside.reshape(-1).astype(np.uint8)
    shown = {"pairs": topo.picks.tolist()} if topo.pairs is not None else {"picks": topo.picks.tolist()}
    return {
        "limit": _limit(drawn),
        "limit_change": _limit(drawn - drawn.mean(0)),
        "times": about.times(x.shape[-1]).tolist(),
        "names": [str(n) for n in about.names],
        "colours": [to_hex(c) for c in place_colours(np.asarray(about.pos, float))],
        "peak": int(power.argmax()),
        "topo": {
            "kind": topo.kind,
            "size": topo.size,
            "outlines": {part: [np.asarray(a).tolist() for a in line] for part, line in topo.outlines.items()},
            "pos": topo.pos.tolist(),
            "border": np.asarray(topo.border).T.tolist(),
            "extent": [float(e) for e in topo.extent],
            "names": topo.names,
            **shown,
        },
    }


def _numbers(x: Float[ndarray, "b f"], about: Any, p: Any, data: ndarray) -> dict:
    known, n = _dict(about), x.shape[1]
    rows = data.reshape(len(data), -1) if data.reshape(len(data), -1).shape[1] == n else x
    low, high = np.nanquantile(rows, [0.005, 0.995], axis=0)
    wide = np.where(high > low, high - low, 1.0)
    units = known.get("units") or [known.get("unit", "")] * n
    change = np.quantile(np.abs(x - x.mean(0)), 0.95, axis=0)
    return {
        "limit_change": np.where(change > 0, change, wide / 2).tolist(),
        "columns": [str(c) for c in known.get("columns") or range(n)],
        "units": [str(u) for u in units],
        "low": low.tolist(),
        "high": (low + wide).tolist(),
        "kinds": _column_kinds(p, n),
    }


def _column_kinds(p: Any, n: int) -> list[str]:
    """How the numbers of each column spread around what is told: evenly, above 0 alone, or yes and no."""
    parts = p.parts if isinstance(p, Columns) else [p]
    kinds: list[str] = []
    for part in parts:
        word = {LogNormal: "positive", Bernoulli: "probability"}.get(type(part), "normal")
        kinds += [word] * (part.event_shape.numel() if isinstance(p, Columns) else n)
    return kinds


def _traces(shape: tuple[int, ...], about: Any) -> dict:
    c, t = shape
    if isinstance(about, Sensors):
        return {"times": about.times(t).tolist(), "names": [str(n) for n in about.names]}
    known = _dict(about)
    names = known.get("names") or known.get("columns") or ([""] if c == 1 else range(c))
    sfreq = known.get("sfreq")
    times = known.get("tmin", 0.0) + np.arange(t) / sfreq if sfreq else np.arange(t)
    return {"times": times.tolist(), "names": [str(n) for n in names][:c], "axis": "time (s)" if sfreq else "sample"}


def classes(about: Any, n: int) -> list[str]:
    """The names of classes, or their numbers.

    >>> classes({"classes": ["left", "right"]}, 2), classes(None, 2)
    (['left', 'right'], ['0', '1'])
    """
    known = _dict(about)
    names = known.get("classes") or known.get("names")
    if isinstance(names, Mapping):
        names = [names.get(i, names.get(str(i), i)) for i in range(n)]
    return [str(c) for c in names] if names and len(names) == n else [str(i) for i in range(n)]


def _unit(about: Any, topo: Any) -> str:
    if topo is not None:
        return UNITS[topo.kind]
    if isinstance(about, Sensors):
        return UNITS.get(next(iter(about.kinds), ""), "")
    known = _dict(about)
    return str(known.get("unit") or (known.get("units") if isinstance(known.get("units"), str) else "") or "")


def _dict(about: Any) -> Mapping[str, Any]:
    return about if isinstance(about, Mapping) else {}


def _limit(x: Float[ndarray, "b *shape"]) -> float:
    """How far rows go: nine in ten stay within it with all but their largest hundredth."""
    flat = np.abs(x.reshape(len(x), -1))
    largest = np.quantile(flat, 0.995, axis=1) if flat.shape[1] > 1 else flat[:, 0]
    return max(float(np.quantile(largest, 0.9)), 1e-12)


def _ends(x: Shaped[ndarray, "b *shape"]) -> tuple[float, float]:
    low, high = (float(v) for v in np.nanquantile(np.asarray(x[:64], np.float32), [0.001, 0.999]))
    return (low, high) if high > low else (low, low + 1.0)
