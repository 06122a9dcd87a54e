"""The published objectives for several views, as plans: which views are seen, which are told.

Each function takes the names of the views and returns a `Plan`; the KL terms that some of them add are in
`ivekit.objectives`. They differ in nothing else, so a model, its posterior and its decoders are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch

from .models import Plan


def _plan(
    names: Sequence[str],
    seen: Sequence[Sequence[str]],
    scored: Sequence[Sequence[str]] | None = None,
    unseen=torch.clone,
) -> Plan:
    def masks(subsets: Sequence[Sequence[str]]) -> torch.Tensor:
        return torch.tensor([[name in subset for name in names] for subset in subsets])

    return Plan(tuple(names), masks(seen), masks(scored or [names] * len(seen)), unseen)


def _each(names: Sequence[str]) -> list[list[str]]:
    return [[name] for name in names]


def joint(names: Sequence[str]) -> Plan:
    """All views seen, all told: a plain variational autoencoder.

    >>> joint(["meg", "video"])
    Plan: meg+video -> meg, video
    """
    return _plan(names, [names])


def mvae(names: Sequence[str]) -> Plan:
    """All views, and each by itself, tell what they see (Wu & Goodman, 2018). With a product of experts.

    >>> mvae(["a", "b"])
    Plan: a+b -> a, b; a -> a; b -> b
    """
    subsets = [list(names), *_each(names)]
    return _plan(names, subsets, subsets)


def mmvae(names: Sequence[str]) -> Plan:
    """Each view by itself tells all (Shi et al., 2019). With a mixture of experts.

    >>> mmvae(["a", "b"])
    Plan: a -> a, b; b -> a, b
    """
    return _plan(names, _each(names))


def mopoe(names: Sequence[str]) -> Plan:
    """Every subset of the views tells all (Sutter et al., 2021). With a mixture of products.

    >>> mopoe(["a", "b"])
    Plan: a -> a, b; b -> a, b; a+b -> a, b
    """
    return _plan(names, [list(s) for r in range(1, len(names) + 1) for s in combinations(names, r)])


def mvtcae(names: Sequence[str]) -> Plan:
    """All views tell all; each by itself is held near them by `SubsetKL` (Hwang et al., 2021).

    >>> mvtcae(["a", "b"])
    Plan: a+b -> a, b; a -> ; b ->
    """  # noqa: W291
    return _plan(names, [list(names), *_each(names)], [list(names), *([] for _ in names)])


def jmvae(names: Sequence[str]) -> Plan:
    """As `mvtcae`, with the divergence added to a whole evidence bound (Suzuki et al., 2016).

    >>> len(jmvae(["a", "b"]))
    3
    """
    return mvtcae(names)


def dmvae(names: Sequence[str], unseen=torch.zeros_like) -> Plan:
    """All views, and each by itself, tell all; with private codes (Lee & Pavlovic, 2021).

    unseen : the private code of an unseen view; its prior mean by default, ``torch.clone`` samples its prior.

    >>> dmvae(["a", "b"])
    Plan: a+b -> a, b; a -> a, b; b -> a, b
    """
    return _plan(names, [list(names), *_each(names)], unseen=unseen)


def mmvae_plus(names: Sequence[str]) -> Plan:
    """Each view by itself tells all; a view it does not see has a private code from the prior (Palumbo et al., 2023).

    >>> mmvae_plus(["a", "b"])
    Plan: a -> a, b; b -> a, b
    """
    return _plan(names, _each(names), unseen=torch.clone)


def leave_one_out(names: Sequence[str], unseen=torch.zeros_like) -> Plan:
    """`dmvae`, and all views but one as well.

    >>> leave_one_out(["a", "b", "c"])
    Plan: a+b+c -> a, b, c; a -> a, b, c; b -> a, b, c; c -> a, b, c; a+b -> a, b, c; a+c -> a, b, c; b+c -> a, b, c
    """
    rest = [list(s) for s in combinations(names, len(names) - 1)] if len(names) > 2 else []
    return _plan(names, [list(names), *_each(names), *rest], unseen=unseen)
