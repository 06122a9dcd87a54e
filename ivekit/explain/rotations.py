"""Directions in a block of latents: the best readout of a factor, and rotations that make single latents readable.

Under a standard normal prior a block of latents is known up to a rotation: turn the codes and the decoder's first layer
against each other, and nothing that the model says of the data has changed. So a single latent need not mean anything,
while the block does. A readout finds a factor's direction; a rotation turns the axes onto such directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from ..metrics.codes import ALPHAS
from ..views import Views
from .check import Check, Target
from .patterns import target_values
from .traverse import start, traverse

ACTIVE = 0.01  # a latent whose mean varies by less carries nothing (Burda et al., 2016)


# readouts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Readout:
    """The best weighted sum of a block's latents for a factor; it is a target, as any quantity of the model.

    block : which latents. weights (k,) and constant (): what it takes of each. Of f factors (k, f) and (f,).

    >>> from ivekit.models import Outputs
    >>> z = np.random.default_rng(0).standard_normal((50, 3))
    >>> readout = Readout.fit(z, z[:, 0] - z[:, 2], block="shared")
    >>> readout.weights.round(decimals=2).tolist()
    [1.0, 0.0, -1.0]
    >>> readout(Outputs({}, {"shared": torch.tensor([[1.0, 5.0, 0.0]])}, {})).round(decimals=1)
    tensor([1.])
    """

    block: str
    weights: Float[Tensor, "k"] | Float[Tensor, "k f"]
    constant: Float[Tensor, ""] | Float[Tensor, "f"]

    @classmethod
    def fit(cls, codes: Real[Any, "_ k"], factor: Real[Any, "_"] | Real[Any, "_ f"], block: str = "shared") -> Readout:
        """Ridge regression on training rows, its penalty chosen there by leave-one-out error, as `metrics.readout`.

        codes (n, k), posterior means; factor (n,), or (n, f) for several.
        """
        z, y = np.asarray(codes, float), np.asarray(factor, float)
        if len(z) != len(y):
            raise ValueError(f"{len(y)} rows of the factor for {len(z)} rows of codes")
        loc, scale = z.mean(0), z.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        ridge = RidgeCV(ALPHAS, alpha_per_target=y.ndim > 1).fit((z - loc) / scale, y)
        weights = (np.atleast_2d(ridge.coef_) / scale).T
        constant = ridge.intercept_ - loc @ weights
        told = (weights, constant) if y.ndim > 1 else (weights[:, 0], constant[0])
        return cls(block, *(torch.as_tensor(np.array(part), dtype=torch.get_default_dtype()) for part in told))

    def __call__(self, out: Any) -> Tensor:
        """The factor as it is read: (b,), or (b, f)."""
        z = out.z[self.block]
        return z @ self.weights.to(z) + self.constant.to(z)

    def __repr__(self) -> str:
        what = "1 factor" if self.weights.ndim == 1 else f"{self.weights.shape[1]} factors"
        return f"Readout of {what} from the {len(self.weights)} latents of {self.block!r}"


def readout_target(
    model: nn.Module, views: Views, factor: str | Real[Any, "b"] | Real[Any, "b f"], block: str = "shared"
) -> Readout:
    """The best linear readout of a factor from a block, fitted on these rows, to be explained as any other target.

    factor : a column of numbers of the metadata, by name, or a number a row.

    Raises
    ------
    ValueError : when some rows are marked as test: what is explained on test rows must not be fitted there.

    >>> from ivekit.models import Outputs
    >>> class Same(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"]}, {})
    >>> readout_target(Same(), Views({"a": torch.randn(20, 2)}), np.arange(20.0))
    Readout of 1 factor from the 2 latents of 'shared'
    """
    if views.metadata is not None and "split" in views.metadata and (views.metadata["split"] == "test").any():
        raise ValueError("a readout is fitted on training rows, and some of these are marked split = 'test'")
    if isinstance(factor, str):
        columns = [] if views.metadata is None else list(views.metadata)
        if views.metadata is None or factor not in views.metadata:
            raise ValueError(f"no column {factor!r} in the metadata; there are {columns}")
        factor = views.metadata[factor].to_numpy(float)
    return Readout.fit(target_values(model, views, lambda out: out.z[block]), factor, block)


# rotations -----------------------------------------------------------------------------------------------------------


def by_factor(codes: Real[Any, "_ k"], factors: Real[Any, "_ f"]) -> Float[ndarray, "k k"]:
    """The rotation whose first latents are the given factors, as far as a rotation can (orthogonal Procrustes).

    The f orthonormal directions nearest to the covariances of codes and standardised factors (Schönemann, 1966); the
    other latents are any that complete them. Covariances, not regression weights: under a standard normal prior samples
    of the code are white, and a regression would blow up latents that are as good as unused. Fit it on training rows.

    >>> z = np.random.default_rng(0).standard_normal((500, 3))
    >>> turned = z @ by_factor(z, z[:, [0]] + z[:, [1]])
    >>> round(float(np.corrcoef(turned[:, 0], z[:, 0] + z[:, 1])[0, 1]), 2)
    1.0
    """
    z, y = np.asarray(codes, float), np.asarray(factors, float)
    if y.ndim != 2 or len(y) != len(z) or y.shape[1] > z.shape[1]:
        raise ValueError(f"factors are (n, f) with at most one a latent, got {y.shape} for codes of {z.shape}")
    spread = y.std(0)
    if not (spread > 0).all():
        raise ValueError(f"a constant factor has no direction: column {int(np.argmin(spread))}")
    return _completed((z - z.mean(0)).T @ ((y - y.mean(0)) / spread))


def by_varimax(loadings: Real[Any, "p k"], sweeps: int = 100) -> Float[ndarray, "k k"]:
    """The rotation after which each latent drives few things, and those strongly (varimax; Kaiser, 1958).

    It makes ``sum_j var_i(l_ij^2)`` of the rotated loadings l large, one pair of latents after the other. No factor is
    needed. loadings (p, k), what one unit of each latent does to all that is decoded: `loadings(model, views, block)`.

    >>> simple = np.repeat(np.eye(2), 4, axis=0)
    >>> turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    >>> print(np.sort(np.abs(turn @ by_varimax(simple @ turn)), 1).round(3))
    [[0. 1.]
     [0. 1.]]
    """
    x = np.array(loadings, float)
    rotation = np.eye(x.shape[1])
    for _ in range(sweeps):
        turned = 0.0
        for i, j in itertools.combinations(range(x.shape[1]), 2):
            angle = _varimax_angle(x[:, i], x[:, j])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            x[:, [i, j]], rotation[:, [i, j]] = x[:, [i, j]] @ turn, rotation[:, [i, j]] @ turn
            turned = max(turned, abs(angle))
        if turned < 1e-8:
            break
    return rotation


def _varimax_angle(x: Float[ndarray, "p"], y: Float[ndarray, "p"]) -> float:
    """The angle (rad) by which two columns of loadings are turned, in closed form (Kaiser, 1958)."""
    u, v = x**2 - y**2, 2 * x * y
    a, b = u.mean(), v.mean()
    return float(np.arctan2(2 * ((u * v).mean() - a * b), (u**2 - v**2).mean() - (a**2 - b**2)) / 4)


def by_independence(codes: Real[Any, "n k"], seed: int = 0) -> Float[ndarray, "k k"]:
    """The rotation to the most independent directions of the codes (FastICA; Hyvärinen & Oja, 2000).

    Latents that carry something are whitened, unmixed, and the nearest rotation is taken of the directions found. No
    factor is needed, but factors that are **normal** cannot be found so: every rotation of them is as independent
    (Comon, 1994). Fit it on training rows.

    >>> z = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    >>> turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    >>> print(np.sort(np.abs(turn @ by_independence(z @ turn)), 1).round(1))
    [[0. 1.]
     [0. 1.]]
    """
    from sklearn.decomposition import FastICA

    z = np.asarray(codes, float)
    _, s, axes = np.linalg.svd((z - z.mean(0)) / len(z) ** 0.5, full_matrices=False)
    used = s**2 >= min(ACTIVE, s[0] ** 2)
    white = z @ axes[used].T / s[used]
    ica = FastICA(whiten=False, random_state=seed, max_iter=1000, tol=1e-5).fit(white - white.mean(0))
    found = axes[used].T / s[used] @ np.asarray(ica.components_).T
    return _completed(found / np.linalg.norm(found, axis=0))


def _completed(directions: Float[ndarray, "k f"]) -> Float[ndarray, "k k"]:
    """The orthonormal directions nearest to the given ones, and others that complete them to a rotation."""
    u, _, v = np.linalg.svd(directions, full_matrices=True)
    f = directions.shape[1]
    return np.concatenate([u[:, :f] @ v, u[:, f:]], 1)


def loadings(model: Any, views: Views, block: str, step: float = 1.0) -> Float[ndarray, "p k"]:
    """What one unit of each latent of a block does to all that is decoded: the loadings that `by_varimax` takes.

    Central differences about the mean code of `views`; each view is divided by its spread and by the root of its
    size, so that a film does not outvote a table.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> loadings(model, Views({"a": torch.randn(4, 3)}), "shared").shape
    (3, 2)
    """
    z = start(model, views)[block]
    found = []
    for j in range(z.shape[-1]):
        low, high = (float(z[j]) + sign * step for sign in (-1, 1))
        said = traverse(model, views, block, j, [low, high])
        parts = [(x[1] - x[0]).flatten() / (2 * step) / _spread(views, name, x) for name, x in said.items()]
        found.append(torch.cat(parts).numpy())
    return np.stack(found, 1).astype(float)


def _spread(views: Views, name: str, decoded: Tensor) -> float:
    x = views[name].double() if name in views else decoded.double()
    return max(float(x.std(0).square().mean().sqrt()), 1e-12) * decoded[0].numel() ** 0.5


def rotated(rotation: Real[ndarray, "k k"], block: str, index: int) -> Target:
    """A latent of the rotated block as a target, to be explained as any other.

    >>> from ivekit.models import Outputs
    >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> rotated(swap, "shared", 0)(Outputs({}, {"shared": torch.tensor([[3.0, 5.0]])}, {}))
    tensor([5.])
    """
    direction = torch.as_tensor(np.ascontiguousarray(rotation[:, index]))
    return lambda out: out.z[block] @ direction.to(out.z[block])


# is it readable? -----------------------------------------------------------------------------------------------------


def readable(codes: Real[Any, "n k"], factors: Real[Any, "n f"]) -> Float[ndarray, "f"]:
    """How well each factor can be read from one latent of its own: |correlation|, of the best matching (Kuhn, 1955).

    A latent or factor that does not vary is worth 0; so is a factor for which no latent is left.

    >>> z = np.random.default_rng(0).standard_normal((100, 3))
    >>> readable(z, z[:, [2, 0]]).round(2)
    array([1., 1.])
    """
    z, y = np.asarray(codes, float), np.asarray(factors, float)
    r = np.abs(_standard(z).T @ _standard(y)) / len(z)
    latent, factor = linear_sum_assignment(-r)
    found = np.zeros(y.shape[1])
    found[factor] = r[latent, factor]
    return found


def check_rotation(
    rotation: Real[ndarray, "k k"],
    codes: Real[Any, "n k"],
    factors: Real[Any, "n f"],
    draws: int = 200,
    seed: int = 0,
    score: Callable[[ndarray, ndarray], ndarray] = readable,
) -> Check:
    """Are single latents more readable after a rotation than after rotations drawn at random?

    codes, factors : of rows that the rotation was **not** fitted on. score (codes, factors) -> a number a factor, whose
    mean is the value; by default `readable`. The null are rotations drawn evenly from all (Mezzadri, 2007). It passes
    when fewer than one in twenty is as good.

    >>> z = np.random.default_rng(0).standard_normal((300, 4))
    >>> turn = random_rotation(4, np.random.default_rng(1))
    >>> check_rotation(turn.T, z @ turn, z[:, :3], draws=40).passed, check_rotation(turn, z, z[:, :3]).passed
    (True, False)
    """
    z, y, rng = np.asarray(codes, float), np.asarray(factors, float), np.random.default_rng(seed)
    value = float(np.mean(score(z @ rotation, y)))
    null = np.array([np.mean(score(z @ random_rotation(z.shape[1], rng), y)) for _ in range(draws)])
    before = float(np.mean(score(z, y)))
    note = f"before the rotation {before:.3g}; random rotations {null.mean():.3g} on average"
    passed = (1 + int((null >= value).sum())) / (1 + draws) <= 0.05
    return Check("single latents", value, null, bool(passed), note)


def random_rotation(k: int, rng: np.random.Generator) -> Float[ndarray, "k k"]:
    """A rotation or reflection of k axes, all equally likely: QR of a normal matrix, signs corrected (Mezzadri, 2007).

    >>> turn = random_rotation(3, np.random.default_rng(0))
    >>> np.allclose(turn @ turn.T, np.eye(3))
    True
    """
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    return q * np.sign(np.diag(r))


def _standard(x: Float[ndarray, "n a"]) -> Float[ndarray, "n a"]:
    far = x - x.mean(0)
    spread = far.std(0)
    return far / np.where(spread > 1e-12, spread, np.inf)
