"""Signals made ready: frequencies that matter kept, amplitude set, and time cut into windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float

from .sampling import Number


def band_pass(
    x: Float[np.ndarray, "*b t"], sfreq: Number, low: Number | None = None, high: Number | None = None, order: int = 2
) -> Float[np.ndarray, "*b t"]:
    """A signal without what is slower than `low` and faster than `high`, nothing moved in time.

    sfreq : samples a second. low, high : Hz, where half the power is left; None leaves that side open.
    order : of the Butterworth filter, which is run forward and then backward (Gustafsson, 1996): the delays cancel, so
        that a peak stays where it is, and the slopes are those of twice the order.

    Within about one period of `low` from either end the answer is a guess: there it sees the signal's reflection.

    Raises
    ------
    ValueError : when a frequency cannot be in such a signal, `low` is not below `high`, or a NaN is left.

    >>> t = np.arange(1000) / 100
    >>> slow, fast = np.sin(2 * np.pi * 0.5 * t), np.sin(2 * np.pi * 20 * t)
    >>> print(f"{np.abs(band_pass(slow + fast, 100, high=4) - slow)[200:-200].max():.1f}")
    0.0
    """
    edges = [f for f in (low, high) if f is not None]
    if any(not 0 < f < sfreq / 2 for f in edges) or edges != sorted(set(edges)):
        raise ValueError(
            f"a band must be 0 < low < high < {sfreq / 2:g} Hz (half of {sfreq:g} a second), got {low} to {high}"
        )
    if not np.isfinite(x).all():
        raise ValueError("the signal holds NaN, which a filter spreads over all of it: fill(x) draws a line over gaps")
    if not edges:
        return np.asarray(x, float)
    kind = "bandpass" if len(edges) == 2 else "highpass" if high is None else "lowpass"
    from scipy.signal import butter, sosfiltfilt  # half a second, which `import ivekit` need not take

    sections = butter(order, _for_two_passes(edges, float(sfreq), kind, order), kind, fs=float(sfreq), output="sos")
    return sosfiltfilt(sections, x, axis=-1, padlen=min(x.shape[-1] - 1, round(3 * sfreq / edges[0])))


def _for_two_passes(edges: list[Number], sfreq: float, kind: str, order: int) -> Any:
    """The edges of one pass, so that half the power is left at `edges` after two.

    Two passes leave ``(1 + r^(2 order))^-2`` of the power, one half where ``r^(2 order) = sqrt(2) - 1``. Frequencies
    are those of the analogue filter (the bilinear transform's tangent).
    """
    w, r = np.tan(np.pi * np.array(edges) / sfreq), (2**0.5 - 1) ** (1 / (2 * order))
    if kind == "bandpass":
        width = (w[1] - w[0]) / r
        w = (np.sqrt(width**2 + 4 * w[0] * w[1]) + np.array([-width, width])) / 2
    else:
        w = w * r if kind == "highpass" else w / r
    moved = np.arctan(w) * sfreq / np.pi
    return moved if kind == "bandpass" else float(moved[0])


def z_score(x: Float[np.ndarray, "*b t"], holes: Bool[np.ndarray, "*b t"] | None = None) -> Float[np.ndarray, "*b t"]:
    """Each signal at mean 0 and standard deviation 1 over its time: a recording before it is cut, or each window after.

    holes : True where nothing was recorded; what stands there does not count. A constant signal becomes 0.

    A z-score by window deletes amplitude and level: what is left is shape. By recording, the level of a person goes and
    changes within the recording stay; with `ZScore`, fitted on training rows, people too remain comparable.

    >>> z_score(np.array([[1.0, 3.0], [10.0, 30.0]]))
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    x = np.asarray(x, float)
    here = np.ones(x.shape, bool) if holes is None else ~holes
    n = np.maximum(here.sum(-1, keepdims=True), 1)
    apart = x - np.where(here, x, 0).sum(-1, keepdims=True) / n
    sd = np.sqrt(np.where(here, np.square(apart), 0).sum(-1, keepdims=True) / n)
    return np.where(sd > 1e-12 * np.abs(x).max(initial=1e-30), apart / np.where(sd > 0, sd, 1), 0.0)


def windows(x: Float[np.ndarray, "*b t"], length: int, stride: int) -> Float[np.ndarray, "w *b n"]:
    """A recording cut into windows, which may overlap; what does not fill the last one is left out.

    length, stride : samples. Window k starts at sample ``k stride``.

    Raises
    ------
    ValueError : when no window fits, or the stride is no step forward.

    >>> windows(np.arange(7.0), 3, 2)
    array([[0., 1., 2.],
           [2., 3., 4.],
           [4., 5., 6.]])
    """
    if not 1 <= length <= x.shape[-1] or stride < 1:
        raise ValueError(f"windows of {length} samples every {stride} do not fit into {x.shape[-1]} samples")
    cut = np.lib.stride_tricks.sliding_window_view(x, length, axis=-1)[..., ::stride, :]
    return rearrange(cut, "... w n -> w ... n").copy()
