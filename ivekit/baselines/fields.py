"""What fills a map's holes without a network: mean map, next section, Gaussian process, other maps' covariance.

Arrays in, predictions out. ``values`` are (b, n), b maps over the same n points; `mask` says which are there, (b, n).
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

MOST_POINTS = 400  # a Gaussian process solves a system of points x points; this many take 0.3 s a map


def mean_map(
    values: Float[ndarray, "b n"], mask: Bool[ndarray, "b n"], xyz: Float[ndarray, "n 3"], k: int = 12
) -> Float[ndarray, "n"]:
    """The mean of all maps at each point: the answer of one who knows the brain, and nothing of this lipid.

    Where no map has a value, the mean over the `k` nearest points that have one, by the inverse of their distance.

    >>> mean_map(np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]]), np.array([[True, True, False]] * 2), np.eye(3), 2)
    array([2., 2., 2.])
    """
    count = mask.sum(0)
    mean = np.where(mask, values, 0).sum(0) / np.maximum(count, 1)
    known = count > 0
    if known.all():
        return mean
    distance, near = cKDTree(xyz[known]).query(xyz[~known], min(k, int(known.sum())))
    weight = 1 / np.maximum(np.atleast_2d(distance), 1e-9)
    mean[~known] = (weight * mean[known][np.atleast_2d(near)]).sum(1) / weight.sum(1)
    return mean


def nearest_section(
    values: Float[ndarray, "b n"], mask: Bool[ndarray, "b n"], xyz: Float[ndarray, "n 3"], section: Int[ndarray, "n"]
) -> Float[ndarray, "b n"]:
    """Each point told by the next section that was seen: by the place in it that is nearest within the plane.

    Sections are planes across the first axis, x; their distance is that of their mean x. Points of a section that was
    seen are told by themselves.

    >>> xyz = np.array([[0.0, 0, 0], [0.0, 1, 0], [1.0, 1, 0]])
    >>> nearest_section(np.array([[3.0, 4, 0]]), np.array([[True, True, False]]), xyz, np.array([0, 0, 1]))
    array([[3., 4., 4.]])
    """
    whole = np.unique(section)
    x = np.array([xyz[section == s, 0].mean() for s in whole])
    said = np.empty_like(values)
    for row, here in enumerate(mask):
        if not here.any():
            raise ValueError(f"map {row} has no value at all to tell the others by")
        seen = np.unique(section[here])
        place = x[np.searchsorted(whole, seen)]
        for s, where in zip(whole, x):
            near = np.flatnonzero(here & (section == seen[np.abs(place - where).argmin()]))
            found = cKDTree(xyz[near, 1:]).query(xyz[section == s, 1:])[1]
            said[row, section == s] = values[row, near[found]]
    return said


def gaussian_process(
    values: Float[ndarray, "b n"],
    mask: Bool[ndarray, "b n"],
    xyz: Float[ndarray, "n 3"],
    xyz_new: Float[ndarray, "m 3"] | None = None,
    seed: int = 0,
) -> tuple[Float[ndarray, "b m"], Float[ndarray, "b m"]]:
    """Each map's mean and standard deviation (of the field, not its noise) by Gaussian-process regression.

    A squared exponential with a length along each axis, and white noise; all are fitted to each map by itself, by
    maximum likelihood (Rasmussen & Williams, 2006). It knows smoothness and nothing of anatomy or of other lipids.

    xyz_new : where to tell it; at all points by default. More than `MOST_POINTS` points of a map are thinned at random.

    >>> xyz = np.random.default_rng(0).uniform(-1, 1, (80, 3))
    >>> mean, sd = gaussian_process(xyz[None, :, 0], np.arange(80)[None] < 60, xyz)
    >>> bool(np.abs(mean - xyz[:, 0]).max() < 0.05)
    True
    """
    rng, xyz_new = np.random.default_rng(seed), xyz if xyz_new is None else xyz_new
    told = []
    for x, here in zip(values, mask):
        rows = np.flatnonzero(here)
        rows = rng.permutation(rows)[:MOST_POINTS] if len(rows) > MOST_POINTS else rows
        middle, spread = x[rows].mean(), x[rows].std() or 1.0
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * RBF([0.5] * 3, (0.05, 20.0)) + WhiteKernel(0.2, (1e-4, 2.0))
        process = GaussianProcessRegressor(kernel, random_state=seed)
        with warnings.catch_warnings():  # a length at its bound is an answer: the map does not change along that axis
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(xyz[rows], (x[rows] - middle) / spread)
        mean, sd = process.predict(xyz_new, return_std=True)  # type: ignore[misc]
        noise = process.kernel_.k2.noise_level  # type: ignore[union-attr]
        told.append((middle + spread * mean, spread * np.sqrt(np.maximum(sd**2 - noise, 0))))
    means, sds = zip(*told)
    return np.stack(means), np.stack(sds)


def conditional_gaussian(
    train: Float[ndarray, "r n"], values: Float[ndarray, "b n"], mask: Bool[ndarray, "b n"]
) -> Float[ndarray, "b n"]:
    """Each map told from its own points by the covariance that points have over other maps: the best linear guess.

    ``x_h = m_h + S_ho (S_oo)^-1 (x_o - m_o)``, mean m and covariance S over the training maps, which must be whole; S
    is shrunk towards a multiple of the identity (Ledoit & Wolf, 2004). It knows the anatomy as the lipids share it, but
    not where points lie: where no training map has a value it can say nothing.

    >>> train = np.random.default_rng(0).standard_normal((500, 1)) * np.array([1.0, 1.0, 2.0])
    >>> told = conditional_gaussian(train, np.array([[1.0, 1.0, 0.0]]), np.array([[True, True, False]]))
    >>> bool(abs(told[0, 2] - 2) < 0.2)
    True
    """
    mean, covariance = train.mean(0), ledoit_wolf(train)[0]
    told = np.empty_like(values, dtype=float)
    for i, (x, o) in enumerate(zip(values, mask)):
        told[i] = mean + covariance[:, o] @ np.linalg.solve(covariance[np.ix_(o, o)], x[o] - mean[o])
    return told
