"""A thousand head maps by one matrix product, and by how much `mne.viz.plot_topomap` takes longer for each.

python tests/benchmarks/topomap.py [rounds]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from time import process_time

import matplotlib.pyplot as plt
import mne
import numpy as np

from ivekit.signal import Sensors
from ivekit.topomap import Topomap

MAPS, SIZE, AT_ONCE = 1000, 64, 5  # MNE is given fewer maps: it is timed for each


def seconds(run: Callable[[], object]) -> float:
    """Processor time: what one core needs, however busy the machine is."""
    start = process_time()
    run()
    return process_time() - start


def plotted(values: np.ndarray, info: mne.Info) -> None:
    """What a user of MNE does for each map: the figure is there already, contours and sensors are off."""
    figure, ax = plt.subplots()
    for row in values:
        mne.viz.plot_topomap(row, info, axes=ax, show=False, contours=0, sensors=False, res=SIZE)
        ax.clear()
    plt.close(figure)


def compare(kind: str, rounds: int) -> None:
    """Both in turn, medians of the rounds."""
    everything = mne.channels.read_meg_canonical_info("neuromag")
    info = mne.pick_info(everything, mne.channel_indices_by_type(everything)[kind])
    make = partial(Topomap, Sensors.from_info(info), kind, SIZE)
    topo, values = make(), np.random.default_rng(0).normal(0, 100, (MAPS, len(info.ch_names))).astype(np.float32)
    ours, theirs = partial(topo, values), partial(plotted, values[:AT_ONCE], info)
    took = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    each, of_mne = median(a for a, _ in took) / MAPS, median(b for _, b in took) / AT_ONCE
    print(f"{topo}: {MAPS} maps in {1e3 * MAPS * each:.1f} ms (the matrix, once, {1e3 * seconds(make):.0f} ms)")
    print(f"  plot_topomap {1e3 * of_mne:.1f} ms a map: {of_mne / each:.0f} times as long for each")


def main(rounds: int = 7) -> None:
    """Magnetometers, then planar gradiometers."""
    plt.switch_backend("agg")
    for kind in ("mag", "grad"):
        compare(kind, rounds)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
