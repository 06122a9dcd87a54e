"""What all latents of the default model cost to explain, beside captum: medians of runs in turn, and peak memory.

python tests/benchmarks/explain.py [runs]

captum at its best: one call for all latents where it takes several outputs, with the fastest of several
`perturbations_per_eval`; for gradients, a loop over latents. captum as it comes: its defaults, a loop over latents.
Both are given a function that encodes and does not decode, and the same disjoint groups of features (occlusion is
FeatureAblation there and `ablation` here).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from captum.attr import FeatureAblation, IntegratedGradients, ShapleyValueSampling
from results import keep
from timing import in_turn, ms, over
from torch import Tensor

import ivekit as ive
from ivekit import explain
from ivekit.recipe import Recipe

SHAPES = {"meg": (102, 60), "video": (1, 16, 32, 32), "behaviour": (6,)}
SAMPLES = {1: 25, 8: 2}  # orders of the features by rows: captum's default, and fewer where it would take minutes
AT_ONCE = (16, 32)  # perturbations in one evaluation, of which captum gets the fastest
LOOPED = 1  # latents that captum is asked for one by one; the seconds of all are these times as many
BARS = {"occlusion, at its best": 2.5, "shapley 1, at its best": 25, "shapley 8, at its best": 5,
        "gradients, at its best": 1.3, "occlusion, as it comes": 30, "shapley 1, as it comes": 40}  # fmt: skip


def rows(n: int) -> ive.Views:
    """Noise of the default world's shapes, on sensors of a helmet's size."""
    random = torch.Generator().manual_seed(0)
    places = np.random.default_rng(0).normal(size=(102, 2))
    sensors = ive.Sensors([f"MEG{i}" for i in range(102)], places, ["mag"] * 102, 125.0, tmin=-0.1)
    tensors = {name: torch.randn(n, *shape, generator=random) for name, shape in SHAPES.items()}
    return ive.Views(tensors, about={"meg": sensors})


class Ours:
    """Our side: all latents in one pass."""

    def __init__(self, model: torch.nn.Module, data: ive.Views, groups: dict[str, Tensor], orders: Tensor):
        self.model, self.data, self.groups, self.orders = model, data, groups, orders

    def occlusion(self) -> Sequence[Tensor]:
        return list(explain.attribute_latents(self.model, self.data, explain.ablation, groups=self.groups).values())

    def shapley(self) -> Sequence[Tensor]:
        settings = dict(groups=self.groups, orders=self.orders)
        return list(explain.attribute_latents(self.model, self.data, explain.shapley, **settings).values())

    def gradients(self) -> Sequence[Tensor]:
        return list(explain.attribute_latents(self.model, self.data, explain.integrated_gradients).values())


class Captum:
    """Captum's side. `at_once`: perturbations in one evaluation."""

    def __init__(self, model: Any, data: ive.Views, groups: dict[str, Tensor]):
        self.model, names = model, list(data)
        self.inputs = tuple(data[name] for name in names)
        mean = explain.training_mean(model, data)
        self.baselines = tuple(mean[name].expand_as(data[name]).clone() for name in names)
        sizes = [0, *np.cumsum([int(groups[name].max()) + 1 for name in names])]
        self.masks = tuple(groups[name][None] + int(first) for name, first in zip(names, sizes))
        self.names = names

    def latents(self, *inputs: Tensor) -> Tensor:
        q = self.model.encode(ive.Views(dict(zip(self.names, inputs))))
        return torch.cat([belief.mean for belief in q.values()], 1)

    def latent(self, i: int, *inputs: Tensor) -> Tensor:
        return self.latents(*inputs)[:, i]

    def removed(self, method: Any, f: Any, **settings: Any) -> Sequence[Tensor]:
        torch.manual_seed(0)
        said = method(f).attribute(self.inputs, baselines=self.baselines, feature_mask=self.masks, **settings)
        b = len(self.inputs[0])  # several outputs of several rows are side by side in ablation
        return [x if len(x) == b else x.unflatten(0, (b, -1)) for x in said]

    def in_a_loop(self, method: Any, latents: Sequence[int], **settings: Any) -> Sequence[Tensor]:
        each = [self.removed(method, partial(self.latent, i), **settings) for i in latents]
        return [torch.stack(list(parts), 1) for parts in zip(*each)]

    def gradients(self, latents: Sequence[int]) -> Sequence[Tensor]:
        each = [self._gradient(i) for i in latents]
        return [torch.stack(parts, 1).detach() for parts in zip(*each)]

    def _gradient(self, i: int) -> Sequence[Tensor]:
        # a private latent does not look at the other views, which captum's gradient refuses
        f = lambda *x: self.latent(i, *x) + sum(0 * v.flatten(1).sum(1) for v in x)  # noqa: E731
        return IntegratedGradients(f).attribute(self.inputs, baselines=self.baselines, internal_batch_size=200)


def apart(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The largest difference between two attributions, over the largest value."""
    return max(float((x - y).abs().max()) for x, y in zip(a, b)) / max(float(x.abs().max()) for x in b)


def setting(n: int) -> tuple[Ours, Captum, int]:
    """The default model (untrained: its cost is the same), some rows, groups, and the orders that captum draws."""
    torch.manual_seed(0)
    data = rows(n)
    model = Recipe("ive").model(rows(32)).eval().requires_grad_(False)
    groups = explain.groups(data)
    total = sum(int(of.max()) + 1 for of in groups.values())
    torch.manual_seed(0)
    orders = torch.stack([torch.randperm(total) for _ in range(SAMPLES[n])])
    with torch.no_grad():
        k = sum(q.mean.shape[1] for q in model.encode(data).values())
    return Ours(model, data, groups, orders), Captum(model, data, groups), k


def said(name: str, ours: float, theirs: float, difference: float | None = None) -> dict[str, Any]:
    """A row: ratio, seconds, bar."""
    same = "" if difference is None else f"; largest difference {difference:.1e} of the largest value"
    what = f"captum over `attribute_latents`: {name}"
    readme = f"explaining all latents, {name}: captum takes this many times as long"
    row = over(what, theirs / ours, BARS[name], f"{ms(theirs)} over {ms(ours)}{same}", readme)
    print(f"{what}: {row['measured']}", flush=True)
    return row


def at_its_best(ours: Any, calls: Sequence[Callable[[], Any]], runs: int, warm_up: int = 1) -> tuple[float, float]:
    """Our seconds, and those of the fastest of captum's calls."""
    took = in_turn({"ours": ours} | {f"captum {i}": call for i, call in enumerate(calls)}, runs, warm_up, process_time)
    return took.pop("ours"), min(took.values())


def removals(ours: Ours, captum: Captum, n: int, runs: int) -> Iterator[dict[str, Any]]:
    """What removes groups of features, captum at its best: several outputs, several perturbations."""
    if n > 1:
        calls = [partial(captum.removed, FeatureAblation, captum.latents, perturbations_per_eval=p) for p in AT_ONCE]
        yield said(
            "occlusion, at its best", *at_its_best(ours.occlusion, calls, runs), apart(ours.occlusion(), calls[0]())
        )
    calls = [
        partial(captum.removed, ShapleyValueSampling, captum.latents, n_samples=SAMPLES[n], perturbations_per_eval=p)
        for p in AT_ONCE
    ]
    took = at_its_best(ours.shapley, calls, max(1, runs // 2))
    yield said(f"shapley {n}, at its best", *took, apart(ours.shapley(), calls[0]()))


def main(runs: int = 3) -> None:
    """Ratios, differences and memory."""
    torch.set_num_threads(1)
    ours, captum, k = setting(8)
    told = list(removals(ours, captum, 8, runs))
    loop = partial(captum.gradients, range(k))
    took = at_its_best(ours.gradients, [loop], max(1, runs // 2))
    told.append(said("gradients, at its best", *took, apart(ours.gradients(), loop())))
    ours, captum, k = setting(1)
    told += removals(ours, captum, 1, runs)
    for name, do, method, more in (
        ("occlusion", ours.occlusion, FeatureAblation, {}),
        ("shapley 1", ours.shapley, ShapleyValueSampling, {"n_samples": SAMPLES[1]}),
    ):
        loop = partial(captum.in_a_loop, method, range(LOOPED), **more)
        do()  # captum's loop has taken such steps above
        own, theirs = at_its_best(do, [loop], max(1, runs // 2), warm_up=0)
        told.append(said(f"{name}, as it comes", own, theirs * k / LOOPED))
    note = (
        f"{k} latents of the default model at once, 8 rows (1 row: Shapley values named 1, and captum as it comes); "
        f"{SAMPLES} orders by rows; medians of {runs} runs in turn (half of what takes long), seconds of one core. "
        "Captum at its best: several outputs at once where it takes them, the fastest of several numbers of "
        f"perturbations; as it comes: its defaults, timed for {LOOPED} of the latents, times {k // LOOPED}. Memory is "
        "the most that a process of its own held, less what it held before."
    )
    keep("explain", "Explanations", "python tests/benchmarks/explain.py", [*told, *memory()], note)


def memory() -> Iterator[dict[str, Any]]:
    """The most memory that a process of its own held, less what it held before: eight rows."""
    for who, what in (("ours", "occlusion"), ("captum", "occlusion"), ("ours", "shapley"), ("captum", "shapley"),
                      ("ours", "gradients"), ("captum", "gradients")):  # fmt: skip
        asked = subprocess.run([sys.executable, __file__, who, what], capture_output=True, text=True, check=True)
        megabytes = int(asked.stdout)
        yield {"what": f"peak memory of {what}, {who}", "measured": f"{megabytes} MB", "number": megabytes}


def peak(who: str, what: str) -> None:
    """Prints how much a process grew by one explanation, in MB."""
    torch.set_num_threads(1)
    ours, captum, k = setting(8)
    captum.gradients([0]) if what == "gradients" else captum.latents(*captum.inputs)
    theirs = {
        "occlusion": partial(captum.removed, FeatureAblation, captum.latents, perturbations_per_eval=AT_ONCE[0]),
        "shapley": partial(
            captum.removed, ShapleyValueSampling, captum.latents, n_samples=1, perturbations_per_eval=AT_ONCE[0]
        ),
        "gradients": partial(captum.gradients, range(k)),
    }
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew (Linux)
    before = held("VmRSS")
    (getattr(ours, what) if who == "ours" else theirs[what])()
    print((held("VmHWM") - before) // 1024)


def held(what: str) -> int:
    """Kilobytes that this process holds, or held at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        peak(*sys.argv[1:])
    else:
        main(*map(int, sys.argv[1:]))
