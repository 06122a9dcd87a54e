"""Networks that decode EEG or MEG beside braindecode's of the same papers and sizes: medians of passes in turn.

.venv-peers/bin/python tests/benchmarks/encoders.py [runs]
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from time import process_time

import torch
from results import keep
from stub import stub
from timing import in_turn, ms, over
from torch import Tensor, nn

from ivekit.nn import EEGNet, ShallowNet

stub("torchvision", "torchaudio", "linear_attention_transformer")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of montages whose names will change, in models that are not used here
    from braindecode import models

BATCH, CHANS, TIMES, SFREQ, CLASSES = 64, 102, 125, 125, 4


def told(net: nn.Module, n_tokens: int, dim: int) -> nn.Module:
    """An encoder of ours with a line to the classes behind it."""
    return nn.Sequential(net, nn.Flatten(), nn.Linear(n_tokens * dim, CLASSES))


def step(net: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward on one batch."""

    def run() -> None:
        net.zero_grad()
        net(x).square().mean().backward()

    return run


def main(runs: int = 15) -> None:
    """The same sizes where both take them."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(BATCH, CHANS, TIMES)
    shape = dict(n_chans=CHANS, n_times=TIMES, sfreq=SFREQ, n_outputs=CLASSES)
    small = dict(n_filters_time=40, n_filters_spat=40, filter_time_length=13, pool_time_length=38, pool_time_stride=8)
    pairs = {
        "EEGNet (Lawhern et al., 2018)": (EEGNet(CHANS, width=64), 4, 16, models.EEGNet(**shape)),
        "ShallowNet (Schirrmeister et al., 2017)": (
            ShallowNet(CHANS),
            12,
            40,
            models.ShallowFBCSPNet(**shape, **small),
        ),
    }
    rows = []
    for name, (net, n_tokens, dim, theirs) in pairs.items():
        nets = told(net, n_tokens, dim), theirs
        sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
        took = in_turn({who: step(net, x) for who, net in zip(("ours", "theirs"), nets)}, runs, clock=process_time)
        more = f"{ms(took['theirs'])} over {ms(took['ours'])}; {sizes[1]} and {sizes[0]} parameters"
        readme = f"a gradient of {name}: braindecode takes this many times as long"
        rows.append(over(f"braindecode over ours: {name}", took["theirs"] / took["ours"], 1, more, readme))
        print(f"{rows[-1]['what']}: {rows[-1]['measured']}")
    note = (
        f"Forward and backward of {BATCH} rows of {CHANS} channels x {TIMES} samples to {CLASSES} classes; medians "
        f"of {runs} in turn, seconds of one core. torchaudio and torchvision, which they do not use, are empty."
    )
    command = ".venv-peers/bin/python tests/benchmarks/encoders.py"
    keep("encoders", "Networks beside braindecode", command, rows, note, ("torch", "braindecode", "mne"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
