"""A thousand head maps by one matrix product, and by how much `mne.viz.plot_topomap` takes longer for each.

python tests/benchmarks/topomap.py [rounds]
"""

from __future__ import annotations

import sys
from functools import partial
from time import process_time

import matplotlib.pyplot as plt
import mne
import numpy as np
from results import keep
from timing import in_turn, ms, over

from ivekit.signal import Sensors
from ivekit.topomap import Topomap

NAMES = {"mag": "magnetometers", "grad": "planar gradiometers"}
MAPS, SIZE, AT_ONCE = 1000, 64, 5  # MNE is given fewer maps: it is timed for each


def plotted(values: np.ndarray, info: mne.Info) -> None:
    """What a user of MNE does for each map: the figure is there already, contours and sensors are off."""
    figure, ax = plt.subplots()
    for row in values:
        mne.viz.plot_topomap(row, info, axes=ax, show=False, contours=0, sensors=False, res=SIZE)
        ax.clear()
    plt.close(figure)


def compare(kind: str, rounds: int) -> dict:
    """Both in turn, medians of the rounds; processor time, what one core needs however busy the machine is."""
    everything = mne.channels.read_meg_canonical_info("neuromag")
    info = mne.pick_info(everything, mne.channel_indices_by_type(everything)[kind])
    make = partial(Topomap, Sensors.from_info(info), kind, SIZE)
    topo, values = make(), np.random.default_rng(0).normal(0, 100, (MAPS, len(info.ch_names))).astype(np.float32)
    things = {"ours": partial(topo, values), "theirs": partial(plotted, values[:AT_ONCE], info), "matrix": make}
    took = in_turn(things, rounds, clock=process_time)
    each, of_mne = took["ours"] / MAPS, took["theirs"] / AT_ONCE
    more = f"{ms(of_mne)} over {ms(each)} a map; the matrix, once, {ms(took['matrix'])}"
    what = f"a map of {len(info.ch_names)} {NAMES[kind]}: `mne.viz.plot_topomap` over `Topomap`"
    return over(what, of_mne / each, None, more, what.replace(" over ", " takes this many times as long as "))


def main(rounds: int = 7) -> None:
    """Magnetometers, then planar gradiometers."""
    plt.switch_backend("agg")
    told = [compare(kind, rounds) for kind in NAMES]
    note = (
        f"{MAPS} maps of {SIZE} x {SIZE} pixels by one matrix product; MNE draws {AT_ONCE} into one figure, without "
        f"contours or sensors. Medians of {rounds} rounds in turn, processor time."
    )
    keep("topomap", "Head maps", "python tests/benchmarks/topomap.py", told, note)
    for row in told:
        print(f"{row['what']}: {row['measured']}")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
