"""How long `import ivekit` takes beyond PyTorch's own import, in fresh processes.

python tests/benchmarks/imports.py [runs]
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from results import keep

CODE = """
from time import process_time
import torch
torch_done = process_time()
import ivekit
print(torch_done, process_time() - torch_done)
"""


def main(runs: int = 7) -> None:
    """Keeps the medians; the first process, which fills the disk's cache, is not counted."""
    said = [
        subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(runs + 1)
    ][1:]
    torch, ours = (median(float(x) for x in each) for each in zip(*said))
    found = [
        {
            "what": "`import ivekit`, beyond PyTorch's own import",
            "measured": f"{ours:.2f} s (PyTorch itself: {torch:.2f} s)",
            "asked": f"less than 1 s: {'met' if ours < 1 else 'missed'}",
            "number": ours,
            "readme": "`import ivekit`, beyond PyTorch's own import",
        }
    ]
    print(found[0]["measured"])
    note = (
        f"Seconds of the processor in {runs} fresh processes, medians. What is left is pandas, most of it; mne, "
        "captum, scikit-learn, SciPy, matplotlib and the widgets are imported by what uses them."
    )
    keep("imports", "Import time", f"python tests/benchmarks/imports.py {runs}", found, note)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
