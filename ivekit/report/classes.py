"""Labels beside what a classifier tells of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from .. import viz


def one_hot(labels: Float[ndarray, "b"], n_classes: int) -> Float[ndarray, "b classes"]:
    """A column a class, 1 where the row is of it.

    >>> one_hot(np.array([1.0, 0.0]), 3)
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    return (labels[:, None] == np.arange(n_classes)).astype(float)


def confusion(told: Any) -> Any:
    """The figure of which class is taken for which: data one-hot, the model's probabilities beside them."""
    here = np.isfinite(told.data).all(1)
    true, guess = told.data[here].argmax(1), told.model[here].argmax(1)
    n = told.data.shape[1]
    counts = np.zeros((n, n))
    np.add.at(counts, (true, guess), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = told.names(n, "class")

    def draw(figure: Figure) -> None:
        viz.confusion(shares, names, figure.subplots())

    text = f"{told.name}, all held-out rows: the class that is most probable to the model, by the true one."
    return (40 + 13 * n, 20 + 12 * n), draw, text
