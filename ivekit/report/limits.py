"""What a page cannot say: the questions that its numbers leave open, as far as the run itself shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..views import Views
from .page import Markup, coded, tag
from .sections import count, section
from .study import Study


def limits(
    notes: Sequence[str], data: Views, scores: Mapping[str, Any], study: Study | None, checked: bool, n_shown: int
) -> Markup:
    """Notes of the run, then its limits."""
    lines = [*_of_rows(data), *_of_scores(scores), *([] if study is None else _of_study(study, checked))]
    lines.append(
        f"Figures and reconstructions are of {count(n_shown, 'held-out row')}; of single rows, of a typical one."
    )
    said = [tag("h3", "Notes"), tag("ul", [tag("li", line) for line in notes])] if notes else []
    heading = [tag("h3", "What this page cannot say")] if said else []
    return section("limits", *said, *heading, tag("ul", [tag("li", coded(line)) for line in lines]))


def _of_rows(data: Views) -> list[str]:
    """Whether rows of one person, or of one recording, are on both sides of the split."""
    metadata = data.metadata
    if metadata is None or "split" not in metadata:
        return ["The rows have no split in their metadata: whether the rows shown were held out is not known here."]
    lines = []
    for column in [name for name in ("subject", "session", "trial") if name in metadata]:
        test = set(metadata[column][metadata["split"] == "test"])
        both = test & set(metadata[column][metadata["split"] == "train"])
        if both and column != "trial":
            of, are = count(len(test), column), "is" if len(both) == 1 else "are"
            lines.append(
                f"{len(both)} of the {of} among the test rows {are} among the training rows too: scores are of new "
                f"rows, and say nothing of a new {column}."
            )
    return [*lines, "Intervals take the rows as independent of one another; where they are not, they are too narrow."]


def _of_scores(scores: Mapping[str, Any]) -> list[str]:
    if not any(scores.values()):
        return []
    return [
        "It is one run of one seed: how much a score changes from seed to seed is not known here.",
        "The baselines are constant and linear. A better model of the same data may exist.",
    ]


def _of_study(study: Study, checked: bool) -> list[str]:
    """What the parts that ask the model leave open."""
    lines = []
    if study.has_latents:
        lines += [
            "Names of latents are correlations, and those see lines only; a latent may follow what nobody recorded.",
            "Leaks are read by weighted sums: what a block knows in a bent way is not seen "
            "(`metrics.block_readout` with a random forest would).",
            "With a prior that looks the same from every side, latents may stand turned against the factors: that a "
            "single one has no name does not mean that the block does not know.",
        ]
    if study.factors is None and study.has_latents:
        lines.append("The truth is not known in these data: nothing here says that a latent is a cause.")
    if checked:
        lines += [
            "Attributions went through checks that need no training. Whether another seed gives the same map, and "
            "whether labels or pairs at random give another, was not checked (`explain.Card.falsify`).",
            "That nothing speaks against a map is not that it is right: it says what the model does, not what the "
            "brain does.",
        ]
    return lines
