"""All benchmarks in turn, each in a process of its own: what they find is kept in RESULTS.md and README.md.

python tests/benchmarks [NAME ...]      # all, or some: python tests/benchmarks train metrics

Those that are held against other packages run in the environment that `tests/benchmarks/peers.sh` makes, and are left
out where it is missing. By hand, since they take long or want room: bigger.py (rows beyond memory), truth.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
OURS = {"imports": [], "train": [], "options": [], "loading": [], "evaluation": [], "explain": [], "metrics": [],
        "topomap": [], "widgets": [], "scaling": ["--again"], "cost": []}  # fmt: skip
THEIRS = {"peers_train": [], "peers_metrics": [], "encoders": []}


def run(name: str, python: Path, words: list[str]) -> bool:
    """Runs one; whether it went well."""
    begun = perf_counter()
    print(f"== {name}", flush=True)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = os.environ | {"PYTHONPATH": paths} | threads
    code = subprocess.run([python, HERE / f"{name}.py", *words], cwd=ROOT, env=environment).returncode
    print(
        f"== {name}: {'ended' if code == 0 else f'FAILED with {code}'} after {perf_counter() - begun:.0f} s\n",
        flush=True,
    )
    return code == 0


def main(*names: str) -> None:
    """Runs those that are named, or all; fails at the end if one of them did."""
    if unknown := set(names) - set(OURS | THEIRS):
        sys.exit(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(OURS | THEIRS)}")
    failed = [name for name in OURS if name in (names or OURS) and not run(name, Path(sys.executable), OURS[name])]
    theirs = [name for name in THEIRS if name in (names or THEIRS)]
    if theirs and not PEERS.exists():
        print(f"left out: {', '.join(theirs)}; they run in the environment that tests/benchmarks/peers.sh makes")
        theirs = []
    failed += [name for name in theirs if not run(name, PEERS, THEIRS[name])]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
