"""What moves from window to window, beside what it should follow."""

from __future__ import annotations

from jaxtyping import Float
from matplotlib.axes import Axes
from numpy import ndarray

from .style import canvas, ink


def trajectory(
    times: Float[ndarray, "t"],
    mean: Float[ndarray, "t"],
    sd: Float[ndarray, "t"] | None = None,
    truth: Float[ndarray, "t"] | None = None,
    ax: Axes | None = None,
    label: str = "model",
) -> Axes:
    """A latent over the windows of a trial, with the band in which it believes itself to be, and the truth if known.

    times : s. sd : half the width of the band is twice this, 95 % of a normal belief. truth : a dashed line.

    >>> import numpy as np
    >>> ax = trajectory(np.arange(3.0), np.zeros(3), np.ones(3), np.ones(3))
    >>> len(ax.lines), len(ax.collections)
    (2, 1)
    """
    with canvas(ax, 40) as ax:
        (line,) = ax.plot(times, mean, label=label)
        if sd is not None:
            ax.fill_between(times, mean - 2 * sd, mean + 2 * sd, color=line.get_color(), alpha=0.2, linewidth=0)
        if truth is not None:
            ax.plot(times, truth, color=ink(), linestyle="--", linewidth=1, label="truth")
        ax.set(xlabel="time (s)", xlim=(times[0], times[-1]))
    return ax
