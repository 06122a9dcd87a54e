"""What truth.csv and truth_models.csv say: the figure docs/scoreboard.png and the words in README.md.

python evidence/truth_said.py          draws the figure and writes the words anew
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ivekit import viz

HERE = Path(__file__).parent
FIGURE, README = HERE.parent / "docs" / "scoreboard.png", HERE / "README.md"
BEGIN, END = "<!-- written by truth_said.py -->", "<!-- until here -->"
PLANNED = 3 * 3 * 3 * (3 + 1)  # signal-to-noise x trials x seeds x sizes, and attention at one size
FOUND, LOST = 0.5, 0.2  # R2 of the readout on test rows, from which a factor counts as recovered, and below which not
ENDS = ("random", "data only", "true factor")
METHODS = [
    "random", "data only", "gradient", "SmoothGrad", "input x gradient", "integrated gradients", "occlusion",
    "Shapley sampling", "attention", "gradient x attention", "covariance x gradient", "pattern", "traversal",
    "true factor",
]  # fmt: skip
TIMELESS = ("attention", "gradient x attention")  # of sensors, for the whole trial


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The maps of small worlds, those of the default world, and the models."""
    maps = pd.read_csv(HERE / "truth.csv")
    small = maps["encoder"] != "default"
    return maps[small], maps[~small], pd.read_csv(HERE / "truth_models.csv")


def by_method(maps: pd.DataFrame) -> pd.DataFrame:
    """Medians over maps, and in what share of them a map does better than chance; a row a method."""
    maps = maps.assign(
        field=maps["topography"] > maps["topography_floor"],
        place=(maps["auroc_p"] <= 0.05).where(maps["auroc_p"].notna()),
        pixels=(maps["pixel_p"] <= 0.05).where(maps["pixel_p"].notna()),
    )
    maps["field"] = maps["field"].where(maps["topography"].notna())
    groups = maps.groupby("method")
    middle = groups[["topography", "dipole_mm", "latency_ms", "auroc", "auroc_floor", "pixel_auc", "pixel_floor"]]
    shares = groups[["field", "place", "pixels"]].agg(lambda x: x.astype(float).mean())
    said = pd.concat([middle.median(), shares, groups["seconds"].median(), groups.size().rename("n")], axis=1)
    said.loc[said.index.isin(TIMELESS), "latency_ms"] = np.nan
    return said.loc[[name for name in METHODS if name in said.index]]


# the figure ------------------------------------------------------------------------------------------------------


def figure(path: Path = FIGURE) -> None:
    """Methods side by side, where the factor was recovered."""
    maps = tables()[0]
    maps = maps[maps["recovery"] >= FOUND]
    panels = {
        "topography": ("|cos| with the true field", "topography_floor"),
        "auroc": ("AUROC, sensors x time", "auroc_floor"),
        "pixel_auc": ("AUROC, pixels", "pixel_floor"),
        "dipole_mm": ("dipole error (mm)", ""),
        "latency_ms": ("latency error (ms)", ""),
    }
    with plt.rc_context(viz.STYLE):
        canvas, axes = plt.subplots(1, 5, figsize=(13, 4.2), layout="constrained", sharey=True)
        for ax, (column, (label, floor)) in zip(axes, panels.items(), strict=True):
            timed = maps[~maps["method"].isin(TIMELESS)] if column == "latency_ms" else maps
            values = {name: timed.loc[timed["method"] == name, column].to_numpy(float) for name in METHODS}
            floors = maps.groupby("method")[floor].median().to_dict() if floor else None
            viz.scoreboard(values, ax, floors, label, ENDS)
            if column == "latency_ms":
                ax.set_xscale("symlog", linthresh=10)
                ax.set_xticks([0, 5, 10, 50, 200], ["0", "5", "10", "50", "200"])
                ax.set_xticks([], minor=True)
        canvas.suptitle("each dot a map of a recovered factor, on test rows; grey: chance, the data alone, the truth")
        canvas.savefig(path, dpi=110)
        plt.close(canvas)


# the words -------------------------------------------------------------------------------------------------------


def said() -> str:
    """Tables and conclusions in Markdown; every number is read from the tables."""
    maps, default, models = tables()
    found, lost = maps[maps["recovery"] >= FOUND], maps[maps["recovery"] < LOST]
    n_pairs = maps.loc[maps["encoder"] == "basis"].groupby(["snr_db", "trials", "seed", "times", "factor"]).ngroups
    n_found = found.loc[found["encoder"] == "basis"].groupby(["snr_db", "trials", "seed", "times", "factor"]).ngroups
    lines = [
        f"{len(maps)} maps of {len(models)} of the study's {PLANNED} models. Of "
        f"{n_pairs} pairs of model and factor (without attention), the factor "
        f"was recovered (R² of at least {FOUND:g}) in {n_found}; medians over those:",
        *table(by_method(found)),
        *map(bullet, [*fields(found), *when(found), missing(lost), chance(found), films(found), looked(found, models)]),
        *map(bullet, [scores(models), *confirmed(default)]),
    ]
    return "\n".join(lines)


def table(of: pd.DataFrame) -> list[str]:
    """A Markdown table of methods."""
    head = [
        "method",
        "field",
        "is the source's",
        "dipole",
        "latency",
        "AUROC (chance)",
        "above",
        "pixels (chance)",
        "maps",
    ]
    rows = ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, x in of.iterrows():
        pixels = "" if np.isnan(x["pixel_auc"]) else f"{x['pixel_auc']:.2f} ({x['pixel_floor']:.2f})"
        late = "" if np.isnan(x["latency_ms"]) else f"{x['latency_ms']:.0f} ms"
        field, auroc = f"{x['topography']:.2f}", f"{x['auroc']:.2f} ({x['auroc_floor']:.2f})"
        cells = [
            str(name), field, f"{x['field']:.0%}", f"{x['dipole_mm']:.0f} mm", late, auroc, f"{x['place']:.0%}", pixels,
            f"{x['n']:.0f}",
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    note = (
        "field: |cos| with the true field; is the source's: maps above what 95 % of other dipoles score; chance: the "
        "median of the surrogates' 95 % quantile; above: maps with p of at most 0.05."
    )
    return [*rows, "", note, ""]


def bullet(text: str) -> str:
    """A paragraph of a list, wrapped at 120 characters."""
    words, lines = text.split(), ["-"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > 120:
            lines.append(" ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def fields(found: pd.DataFrame) -> list[str]:
    """Whose map is the source's field, and whose is only near it."""
    of = by_method(found)
    best = [name for name in ("pattern", "covariance x gradient", "traversal") if name in of.index]
    rest = [name for name in of.index if name not in (*best, *ENDS, "attention", "gradient x attention")]
    good = ", ".join(f"{name} {of.loc[name, 'topography']:.2f}" for name in best)
    bad = ", ".join(f"{name} {of.loc[name, 'topography']:.2f}" for name in rest)
    near = of.loc[rest, "dipole_mm"]
    return [
        f"**For the question where a source is, draw a pattern.** |cos| with the true field: {good}; the true factor's "
        f"own pattern has {of.loc['true factor', 'topography']:.2f}. Dipoles fitted to them are "
        f"{of.loc[best, 'dipole_mm'].min():.0f} to {of.loc[best, 'dipole_mm'].max():.0f} mm off (the true factor's "
        f"{of.loc['true factor', 'dipole_mm']:.0f}, on a grid of 6 mm). Everything that is usually drawn is another "
        f"map: {bad}; another dipole scores up to {found['topography_floor'].median():.2f}, and dipoles fitted to "
        f"these maps are {near.min():.0f} to {near.max():.0f} mm off.",
        "**Where and when the source is heard, methods that multiply by the input say too, without being its field.** "
        "Above chance by AUROC: "
        + ", ".join(f"{name} in {of.loc[name, 'place']:.0%}" for name in rest)
        + ". Latencies are "
        + ", ".join(f"{of.loc[name, 'latency_ms']:.0f} ms ({name})" for name in (*best, *rest))
        + " off. (What the model itself uses is another question, which this truth does not answer: deletion does.)",
    ]


def when(found: pd.DataFrame) -> list[str]:
    """What more signal, more trials and more latents do."""
    found = found[(found["encoder"] == "basis") & found["topography"].notna()]
    sentences = []
    for column, words in (("snr_db", "dB"), ("trials", "trials"), ("times", "times the true sizes")):
        of = found.pivot_table(index="method", columns=column, values="topography", aggfunc="median")
        at = "/".join(f"{value:g}" for value in of.columns)
        each = (
            f"{name} {'/'.join(f'{x:.2f}' for x in of.loc[name])}"
            for name in ("pattern", "gradient", "integrated gradients")
        )
        sentences.append(f"at {at} {words}, {', '.join(each)}")
    return [f"**More signal and more trials help, but turn no filter into a pattern.** |cos| {'; '.join(sentences)}."]


def missing(lost: pd.DataFrame) -> str:
    """What maps of factors that were not recovered look like."""
    of = by_method(lost[lost["encoder"] == "basis"])
    return (
        f"**Of what the model has not found no method tells anything: look at the recovery first.** Where R² is below "
        f"{LOST:g} the pattern's |cos| is {of.loc['pattern', 'topography']:.2f} and that of integrated gradients "
        f"{of.loc['integrated gradients', 'topography']:.2f}, while the factor's own pattern has "
        f"{of.loc['true factor', 'topography']:.2f}. The maps look no less smooth: {of.loc['pattern', 'place']:.0%} of "
        f"the patterns are still above chance by AUROC, for what else the readout holds."
    )


def chance(found: pd.DataFrame) -> str:
    """What chance is on smooth maps."""
    of = by_method(found)
    return (
        f"**Half is not chance.** The 95 % quantile of an AUROC over surrogates is "
        f"{of.loc['random', 'auroc_floor']:.2f} for independent noise, "
        f"{of.loc['integrated gradients', 'auroc_floor']:.2f} for integrated gradients, "
        f"{of.loc['pattern', 'auroc_floor']:.2f} for patterns and {of.loc['data only', 'auroc_floor']:.2f} for the "
        f"data's first component, which alone is at {of.loc['data only', 'auroc']:.2f}, above chance in "
        f"{of.loc['data only', 'place']:.0%}; the random explainer is in {of.loc['random', 'place']:.0%}."
    )


def films(found: pd.DataFrame) -> str:
    """Pixels."""
    of = by_method(found[found["pixel_auc"].notna()])
    named = [name for name in of.index if name not in ENDS]
    return (
        "**On films methods differ less.** AUROC of pixels: "
        + ", ".join(f"{name} {of.loc[name, 'pixel_auc']:.2f}" for name in named)
        + f"; the data's first component {of.loc['data only', 'pixel_auc']:.2f}, "
        + f"noise {of.loc['random', 'pixel_auc']:.2f}."
    )


def looked(found: pd.DataFrame, models: pd.DataFrame) -> str:
    """Attention over sensors: against the truth, and against removal."""
    of = by_method(found[found["encoder"] == "attention"])
    if not len(of):
        return "**Attention** has no row yet."
    checks = {}
    for name in TIMELESS:
        r, p = (
            models[[f"{what} {name} {f}" for f in ("position", "motion")]].stack().dropna() for what in ("check", "p")
        )
        passed = ((r.to_numpy() >= 0.5) & (p.to_numpy() <= 0.05)).mean()
        checks[name] = f"{r.median():.2f} for {name} (it passes in {passed:.0%} of {len(r)} checks)"
    return (
        f"**Attention over sensors is no map of the source**, and where it says what the model reads is for its check "
        f"to find. |cos| with the field {of.loc['attention', 'topography']:.2f}, times its gradient "
        f"{of.loc['gradient x attention', 'topography']:.2f}; above chance by AUROC in "
        f"{of.loc['attention', 'place']:.0%} and {of.loc['gradient x attention', 'place']:.0%} of "
        f"{of.loc['attention', 'n']:.0f} maps each. Rank correlation over sensors with what hiding each does: "
        f"{'; '.join(checks.values())}."
    )


def scores(models: pd.DataFrame) -> str:
    """Which score of disentanglement goes with what is known of the blocks."""
    known = ["coverage", "mig", "modularity", "compactness"]
    names = known + [c for c in models if c.startswith("published ")]
    r = {
        name: models[["block_score", name]].corr("spearman").iloc[0, 1] for name in names if models[name].nunique() > 1
    }
    ordered = sorted(r, key=lambda name: -r[name])
    listed = ", ".join(f"{name} {r[name]:.2f}" for name in ordered)
    return (
        f"**Scores of single latents do not say whether blocks hold what they should.** Rank correlation with the "
        f"block score over {len(models)} models: {listed}. Latents are known up to a rotation only; ask the blocks."
    )


def confirmed(default: pd.DataFrame) -> list[str]:
    """The same on the default world, by the run that is in the repository."""
    if not len(default):
        return []
    of = by_method(default)
    listed = "; ".join(
        f"{name} {x['topography']:.2f}, {x['dipole_mm']:.0f} mm, {x['latency_ms']:.0f} ms" for name, x in of.iterrows()
    )
    return [
        f"**Confirmed on the default world** (`data_samples/runs/world`, 102 magnetometers, factors recovered at R² of "
        f"{default['recovery'].min():.2f} to {default['recovery'].max():.2f}; medians of |cos|, dipole and latency "
        f"errors): {listed}. A dipole fitted to the gradient is {of.loc['gradient', 'dipole_mm']:.0f} mm off "
        f"there although the map's |cos| is {of.loc['gradient', 'topography']:.2f}: a fit takes from a map what a "
        f"dipole explains of it, and does not say how little that is."
    ]


def main() -> None:
    """Writes the figure and what stands between the marks in README.md."""
    figure()
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{said()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
