"""What a series' own past tells of its future without a network: persistence and autoregression. Arrays in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Float
from numpy import ndarray

ORDERS = (1, 2, 4, 8, 12, 16, 24, 32)


def persistence(past: Float[ndarray, "n c t"], steps: int) -> Float[ndarray, "n c steps"]:
    """All remains as it was at the last sample.

    >>> persistence(np.array([[[1.0, 2.0]]]), 3)
    array([[[2., 2., 2.]]])
    """
    return repeat(past[..., -1], "n c -> n c t", t=steps)


def autoregression(
    past: Float[ndarray, "n c t"],
    future: Float[ndarray, "n c u"],
    past_new: Float[ndarray, "m c t"],
    orders: Sequence[int] = ORDERS,
    ridge: float = 1e-3,
) -> Float[ndarray, "m c u"]:
    """The future of new rows by a linear autoregression a channel, its own forecasts fed back (Yule, 1927).

    past, future : training rows, from all of which the coefficients are fitted by least squares, with a constant and
        a `ridge` (in mean variances of a lag). orders : how many samples back; for each channel the one is taken that
        forecasts a quarter of the training rows best, fitted on the others.

    >>> t = np.arange(40)
    >>> x = np.sin(0.7 * t + np.arange(20)[:, None])[:, None]
    >>> told = autoregression(x[:15, :, :24], x[:15, :, 24:], x[15:, :, :24], ridge=0.0)
    >>> bool(np.allclose(told, x[15:, :, 24:], atol=1e-3))
    True
    """
    n_past, steps, quarter = past.shape[-1], future.shape[-1], max(1, len(past) // 4)
    possible = [p for p in orders if 0 < p <= n_past]
    if not possible or len(past) < 2:
        raise ValueError(f"with {len(past)} rows of {n_past} samples no order of {tuple(orders)} can be fitted")
    whole, told = np.concatenate([past, future], -1).astype(float), []
    for x, new in zip(rearrange(whole, "n c t -> c n t"), rearrange(past_new.astype(float), "m c t -> c m t")):
        kept, rest = x[:quarter], x[quarter:]
        guesses = (_forecast(_fit(rest, p, ridge), kept[:, :n_past], steps) for p in possible)
        errors = [np.square(guess - kept[:, n_past:]).mean() for guess in guesses]
        order = possible[int(np.argmin(np.nan_to_num(errors, nan=np.inf)))]
        told.append(_forecast(_fit(x, order, ridge), new, steps))
    return rearrange(np.stack(told), "c m t -> m c t")


def _fit(x: Float[ndarray, "n t"], order: int, ridge: float) -> Float[ndarray, "k"]:
    """Coefficients of the last `order` samples, oldest first, and a constant."""
    windows = rearrange(np.lib.stride_tricks.sliding_window_view(x, order + 1, axis=1), "n t k -> (n t) k")
    lags, now = np.pad(windows[:, :-1], ((0, 0), (0, 1)), constant_values=1), windows[:, -1]
    gram = lags.T @ lags
    penalty = ridge * np.trace(gram[:-1, :-1]) / order * np.eye(order + 1)
    penalty[-1, -1] = 0
    return np.linalg.lstsq(gram + penalty, lags.T @ now, rcond=None)[0]


def _forecast(coefficients: Float[ndarray, "k"], past: Float[ndarray, "n t"], steps: int) -> Float[ndarray, "n steps"]:
    order, x = len(coefficients) - 1, past
    with np.errstate(over="ignore", invalid="ignore"):  # an order that explodes is simply not chosen
        for _ in range(steps):
            x = np.concatenate([x, (x[:, -order:] @ coefficients[:-1] + coefficients[-1])[:, None]], 1)
    return x[:, -steps:]
