"""Mutation testing: small changes made on purpose in our source, and how many of them the tests notice.

    python tests/mutation [PACKAGE ...] [--sample N] [--seed S]

cosmic-ray's operators say what is changed (``pip install cosmic-ray``, or the extra ``mutation``). Of each package a
sample is drawn by its seed; trials.csv keeps every outcome, so the script goes on where it stopped, and after a new
test ``--again --map`` tries those that had survived. Tests that were written for a sample have seen it: another seed
draws one that they have not. The table has every sample, as it was when first tried and as it is now.
``equivalent.csv`` holds the survivors that no test can notice, each with the reason; they do not count.
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "benchmarks")]

from mutants import Mutant, known, modules, places, sample  # noqa: E402
from trials import Trials  # noqa: E402

KEPT, EQUIVALENT = HERE / "trials.csv", HERE / "equivalent.csv"
LIVES = ("survived", "not reached")
KEY = ("module", "operator", "before", "after", "nth")
COLUMNS = (*KEY, "line", "outcome", "test", "seconds", "tests", "seed")
NOTE = (
    "cosmic-ray's operators; of each package samples drawn evenly, as far as they have been tried, a mutant of two "
    "samples counting in the first; in brackets Wilson's interval of 95 %. Seed 0 was drawn first and tests were "
    "written for it while it was tried: its figures are of tests that know it. Of any other seed the first figure was "
    "measured before a test was written for its mutants; what is noticed now, after. Seed 2 was drawn once tests had "
    "been written for whole areas that seed 1 had shown to be weak. Equivalent mutants, each with its reason in "
    "tests/mutation/equivalent.csv, do not count; those that live are in tests/mutation/trials.csv. A test was asked "
    "if it takes less than 3 s and all before it, the quickest first, less than 6 s: what lives might be noticed by a "
    "longer one."
)
TESTS = {
    "metrics": "metrics metric_parts disentanglement similarity waveforms classes truth points diffusion",
    "distributions": "distributions distribution_parts columns contracts classes text decoding_nets diffusion signal",
    "objectives": "objectives classes dynamics spatial spectral contracts decoding_nets",
    "explain": "attention attention_check attribute card check_parts checks effects engine explain_parts identify "
    "patterns removal_parts rotations sources traverse truth",
}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", help=", ".join(TESTS))
    parser.add_argument("--sample", type=int, default=150, help="mutants of each package (150)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.add_argument("--again", action="store_true", help="try those again that survived, of every sample")
    parser.add_argument("--map", action="store_true", help="find out again which test reaches which line")
    given = parser.parse_args(words)
    for package in given.packages or TESTS:
        tried(package, given)
    stored()


def tried(package: str, given: argparse.Namespace) -> None:
    """Tries the sample of one package, without what has been tried; or what has been and lives, of every sample."""
    done, excused = outcomes(), set(reasons())
    if given.again:
        left = list(known(package, {k for k, row in done.items() if row["outcome"] in LIVES} - excused))
    else:
        left = [mutant for mutant in sample(package, given.sample, given.seed) if mutant.key not in {*done, *excused}]
    if left:
        files = [str(HERE.parent / f"test_{name}.py") for name in TESTS[package].split()]
        options = ["-q", "-p", "no:cacheprovider", "--no-header", "--no-summary", "--disable-warnings"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # we have imported what its plugins are made of
        maps = ROOT / "build" / "mutation"
        if given.map:
            shutil.rmtree(maps, ignore_errors=True)
        pytest.main(
            [*options, "-m", "not slow", *files, f"{ROOT}/ivekit/{package}"],
            plugins=[Trials(maps, left, partial(tell, given.seed))],
        )


def tell(seed: int, mutant: Mutant, outcome: str, test: str, seconds: float, n_tests: int) -> None:
    """Appends one outcome to what is kept; of the same mutant the last one counts."""
    there = KEPT.exists()
    with KEPT.open("a", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        if not there:
            table.writerow(COLUMNS)
        table.writerow([*mutant.key, mutant.place.line, outcome, test, f"{seconds:.1f}", n_tests, seed])
    print(
        f"{outcome:12} {mutant.place.module}:{mutant.place.line} {mutant.before}  ->  {mutant.after}",
        file=sys.stderr,
        flush=True,
    )


def outcomes() -> dict[tuple[str, ...], dict[str, str]]:
    """The last outcome of every mutant that was tried."""
    return {key(row): row for row in rows(KEPT)}


def reasons() -> dict[tuple[str, ...], str]:
    """Why no test can notice a mutant, of those for which this holds."""
    return {key(row): row["reason"] for row in rows(EQUIVALENT)}


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def stored() -> None:
    """Counts what was tried of every sample and keeps the table."""
    seeds = sorted({row["seed"] for row in rows(KEPT)}, key=int)
    there = {package: sum(len(places(module)) for module in modules(package)) for package in TESTS}
    table = []
    for seed in seeds:
        counts = {package: counted(package, seed) for package in TESTS}
        table += [row(f"seed {seed}, {package}", there[package], *n) for package, n in counts.items() if sum(n)]
        table.append(row(f"seed {seed}, all", sum(there.values()), *(sum(n) for n in zip(*counts.values()))))
    if table:
        from results import keep  # it imports ivekit, which must come after the conftest that checks its shapes

        title = "Mutation testing: changes of the source that the tests notice"
        keep("mutation", title, "python tests/mutation", table, NOTE)


def counted(package: str, seed: str) -> tuple[int, int, int, int]:
    """Tried mutants of one sample: those that were noticed at first; the noticed, the living, the equivalent now."""
    told, now, excused = rows(KEPT), outcomes(), set(reasons())
    first = {key(row): row for row in reversed(told)}
    own = [k for k, row in first.items() if k[0].startswith(f"ivekit.{package}.") and row["seed"] == seed]
    counting = [k for k in own if k not in excused]
    ends = [now[k]["outcome"] for k in counting]
    at_first = sum(first[k]["outcome"] == "killed" for k in counting)
    living = sum(end in LIVES for end in ends)
    return at_first, ends.count("killed"), living, len(own) - len(counting)


def row(what: str, there: int, at_first: int, killed: int, living: int, equivalent: int) -> dict[str, object]:
    n = killed + living
    return {
        "what": f"{what}: {n + equivalent} of {there} mutants, {equivalent} of them equivalent",
        "measured": f"{share(at_first, n)} at first; now {share(killed, n)}",
        "asked": "at least 85 %",
        "number": at_first / max(n, 1),
    }


def share(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{k} of {n}: {100 * k / max(n, 1):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a proportion (Wilson, 1927)."""
    if not n:
        return 0.0, 1.0
    middle, width = k / n + z**2 / (2 * n), z * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    return (middle - width) / (1 + z**2 / n), (middle + width) / (1 + z**2 / n)


if __name__ == "__main__":
    main()
