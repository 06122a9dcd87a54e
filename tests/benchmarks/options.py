"""What the options of `train` gain on this processor, and how long they warm up: bf16, channels last, torch.compile.

python tests/benchmarks/options.py [steps]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from time import perf_counter, process_time
from typing import Any

import torch
from results import keep
from timing import in_turn, ms
from torch import nn
from train import BATCH, ROWS, default

from ivekit.training import train

OPTIONS: dict[str, tuple[Callable[[nn.Module], nn.Module], dict[str, Any]]] = {
    "as it comes": (lambda net: net, {}),
    "precision='bfloat16'": (lambda net: net, {"precision": "bfloat16"}),
    "weights channels last": (lambda net: net.to(memory_format=torch.channels_last), {}),
    "compile=True": (lambda net: net, {"compile": True}),
}


def main(steps: int = 20) -> None:
    """Keeps how many times as fast a step of the default recipe is with each, and what the first steps took."""
    net, objective, data, plan = default()
    warm_up, begun = {}, {}
    for name, (made, how) in OPTIONS.items():
        epochs = 3 + steps * BATCH // ROWS + 1
        losses = train(made(deepcopy(net)), deepcopy(objective), data, epochs=epochs, batch_size=BATCH, plan=plan,
                       seed=0, device="cpu", **how)  # fmt: skip
        start = perf_counter()
        for _ in range(3):
            next(losses)
        warm_up[name], begun[name] = perf_counter() - start, losses.__next__
    took = in_turn(begun, steps, 1, process_time)
    plain = took["as it comes"]
    found = [
        {"what": f"a step, {name}: times as fast as it comes", "number": plain / seconds,
         "measured": f"{plain / seconds:.3g} ({ms(seconds)} a step; the first three took {warm_up[name]:.1f} s)"}
        for name, seconds in took.items()
    ]  # fmt: skip
    note = (
        f"Steps of {BATCH} rows of the default recipe, in turn in one process of one thread; medians of {steps}, in "
        "seconds of the processor. `compile` may also be a function, such as `partial(torch.compile, "
        "mode='reduce-overhead')`, which uses CUDA graphs: not measured, since there was no GPU."
    )
    keep("options", "Options of training", f"python tests/benchmarks/options.py {steps}", found, note)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
