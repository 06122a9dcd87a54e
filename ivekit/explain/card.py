"""The card of an explanation: the checks it went through, and what may be said of it after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import viz
from ..views import Views
from .check import Check, Explainer, Target, verdict
from .checks_input import Imputer, check_completeness, check_deletion, check_robustness, check_traversal
from .checks_model import Retrain, check_labels, check_specificity, check_stability, check_weights
from .maps import Maps, Match, Remembered, assigned, codes, latent_of
from .randomise import shuffled_pairs


@dataclass(frozen=True, eq=False, repr=False)
class Card:
    """An explanation, the checks that could have refuted it, and the verdict.

    what : what is explained, in words. explanation : by view. checks : those that were made, in order.
    asked : model, views, target and explainer. trained : the networks that were trained for it, by what they saw.

    >>> Card("a latent", {}, (Check("weights", 0.1),), (nn.Identity(), None, None, None), {})
    a latent. Not to be believed: it failed weights (1 of 1 check).
      weights: 0.1: FAILED
    """

    what: str
    explanation: Maps
    checks: tuple[Check, ...]
    asked: tuple[nn.Module, Any, Any, Any]
    trained: dict[Any, nn.Module]

    @property
    def verdict(self) -> str:
        """What may be claimed, in a sentence."""
        return verdict(self.checks)

    @property
    def failed(self) -> list[str]:
        """The names of the checks that were not passed."""
        return [check.name for check in self.checks if not check.passed]

    @property
    def title(self) -> str:
        """What a figure of the explanation may call it.

        >>> Card("shared 3", {}, (Check("weights", 0.1),), (nn.Identity(), None, None, None), {}).title
        'shared 3: a map that failed weights, no evidence'
        """
        return viz.claim(self.what, self.failed)

    def __getitem__(self, name: str) -> Check:
        """One check by its name."""
        known = {check.name: check for check in self.checks}
        if name not in known:
            raise KeyError(f"no check {name!r} was made; there are {list(known)}")
        return known[name]

    def __repr__(self) -> str:
        return "\n".join([f"{self.what}. {self.verdict}", *(f"  {check}" for check in self.checks)])

    def draw(self, ax: Any = None) -> Any:
        """The card as a figure: each value beside chance, the verdict above."""
        rows = {c.name: (c.value, c.null, c.floor, c.passed) for c in self.checks}
        return viz.card(rows, self.verdict, ax)

    def falsify(
        self,
        retrain: Retrain,
        data: Views,
        seeds: int = 3,
        shuffles: int = 3,
        match: Match = assigned,
        draws: int = 39,
        progress: Callable[[Sequence[Any]], Iterable[Any]] = tqdm,
    ) -> Card:
        """A card with the dear rows, too: those that need the model trained anew.

        retrain : ``(seed, data) -> model``. data : the training rows. seeds, shuffles : how many models are trained on
        them, and on rows that are paired at random (none for a latent of one view's own block, to which pairs are
        nothing). progress : what shows how far the training is, ``tqdm`` or ``list``. What a card has trained, it and
        the cards made of it do not train again.

        - weights : against the ceiling of the models of other seeds, instead of that of 1;
        - seeds : `check_stability`, for a latent; labels : `check_labels`.
        """
        model, views, target, explainer = self.asked
        latent = latent_of(model, views, target) if codes(model, views) else None
        shuffles = shuffles if latent is None or latent[0] == "shared" else 0
        jobs = [("seed", 1000 + i) for i in range(seeds)] + [("shuffled", i) for i in range(shuffles)]
        for kind, seed in progress(jobs):
            if (retrain, id(data), kind, seed) not in self.trained:
                rows = data if kind == "seed" else shuffled_pairs(data, seed)
                self.trained[retrain, id(data), kind, seed] = retrain(seed, rows)
        others, blank = (
            [self.trained[retrain, id(data), kind, seed] for kind, seed in jobs if kind == of]
            for of in ("seed", "shuffled")
        )
        if isinstance(explainer, Remembered):
            explainer.models.extend([*others, *blank])
        rows = [check_weights(model, views, target, explainer, others, draws, match)]
        if latent is not None:
            rows.append(check_stability(model, views, target, explainer, others, match))
        if blank:
            again = lambda seed, _: blank[seed]  # noqa: E731 (trained above)
            rows.append(
                check_labels(
                    model, views, target, explainer, again, data, others, len(blank), lambda rows, _: rows, match
                )
            )
        return replace(self, checks=_replaced(self.checks, rows))


def card(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    what: str = "the target",
    imputers: Sequence[Imputer] = (),
    baseline: Mapping[str, Tensor] | None = None,
    data: Views | None = None,
    draws: int = 39,
    seed: int = 0,
) -> Card:
    """Explains some rows, and makes the checks that need no training.

    what : the target in words. imputers : what removed elements become, a deletion check each. baseline : what
    attributions are measured against, a row a view, for those that should sum up. data : training rows, whose codes
    are those that occur. draws : random networks, and maps at another place.

    Always: weights and robustness. With imputers: deletion. Where attributions have a baseline, their completeness.
    For a latent: specificity, where its block has others, and the traversal. The explainer is asked about `draws` times
    and once more for each latent of the block: some dozen rows are enough, and of integrated gradients few steps.
    """
    known = Remembered(explainer, views, [model])
    ask = (model, views, target, known)
    maps = known(model, views, target)
    checks = [check_weights(*ask, draws=draws, seed=seed)]
    if baseline is not None or getattr(maps, "completeness", None) is not None:
        checks.insert(0, check_completeness(*ask, baseline))
    latent = latent_of(model, views, target) if codes(model, views) else None
    if latent is not None and codes(model, views)[latent[0]].shape[1] > 1:
        checks.append(check_specificity(*ask, seed=seed))
    checks += [check_deletion(*ask, imputer, draws=draws, seed=seed) for imputer in imputers]
    checks.append(check_robustness(*ask, seed=seed))
    if latent is not None and hasattr(model, "decode") and not getattr(model, "condition", ()):
        checks.append(check_traversal(*ask, data=data))
    return Card(what, maps, tuple(checks), ask, {})


def _replaced(old: Sequence[Check], new: Sequence[Check]) -> tuple[Check, ...]:
    """Checks of the same name in the place of the old ones, others at the end."""
    by_name = {check.name: check for check in new}
    kept = [by_name.pop(check.name, check) for check in old]
    return (*kept, *by_name.values())
