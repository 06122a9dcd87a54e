"""On a machine with a GPU: one command, ``pytest -m gpu -s``, says whether all of it works there, and how fast.

Everywhere else these are collected and skipped. What a GPU would wait for, and what would be born on the CPU, is found
without one (`test_devices`).
"""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import torch
from torch import nn

import ivekit as ive
from ivekit import explain, plans
from ivekit import nn as parts
from ivekit.widgets import explore

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device: these run on a GPU machine"),
]
VIEWS = ("meg", "video", "behaviour")


def rows(n: int = 256) -> ive.Views:
    """Three views of one cause; the films of every fifth row are missing."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(n, 4, generator=random)
    shapes = {"meg": (102, 60), "video": (1, 8, 32, 32), "behaviour": (4,)}
    tensors = {}
    for name, shape in shapes.items():
        mix = torch.randn(4, torch.Size(shape).numel(), generator=random)
        noise = torch.randn(n, torch.Size(shape).numel(), generator=random)
        tensors[name] = torch.unflatten(z @ mix + noise, 1, shape)
    return ive.Views(tensors, {"video": torch.arange(n) % 5 > 0})


def model(data: ive.Views) -> ive.MultimodalVAE:
    torch.manual_seed(0)
    encoders = {"meg": parts.SensorConv(102, 64), "video": parts.Conv3d((1, 8, 32, 32), 64),
                "behaviour": parts.MLPEncoder(4, 64)}  # fmt: skip
    nets = {"meg": parts.SensorField(8, 102, 60), "video": parts.FilmField(8, (1, 8, 32, 32), (4, 4, 16)),
            "behaviour": parts.MLPDecoder(8, 4)}  # fmt: skip
    return ive.MultimodalVAE(
        encoders,
        parts.ProductOfExperts(VIEWS, 64, 8),
        {name: parts.Gaussian(net, 1.0) for name, net in nets.items()},
        standardise=ive.Standardise.fit(data, meg=ive.ZScore(), video=ive.ZScore(), behaviour=ive.ZScore()),
    )


def objective() -> ive.Objective:
    return ive.Objective(nll=ive.NLL(), kl=ive.KL())


def latent(out: ive.Outputs) -> torch.Tensor:
    return out.z["shared"][:, 0]


def trained(device: str, **how: Any) -> tuple[ive.MultimodalVAE, list[float]]:
    data = rows()
    made = model(data)
    steps = ive.train(
        made, objective(), data, device=device, **{"epochs": 4, "seed": 0, "plan": plans.dmvae(VIEWS)} | how
    )
    return made, [float(step.loss) for step in steps]


def test_training_ends_where_the_cpu_s_does():
    """Noise is drawn by each device's own generator: losses agree in the mean, not number by number."""
    (_, cpu), (_, gpu) = trained("cpu"), trained("cuda")
    print(f"\nlast loss: CPU {cpu[-1]:.2f}, GPU {gpu[-1]:.2f}")
    assert gpu[-1] < 0.9 * gpu[0] and gpu[-1] == pytest.approx(cpu[-1], rel=0.03)


def test_without_noise_every_step_is_that_of_the_cpu():
    data, losses = rows(64), {}
    for device in ("cpu", "cuda"):
        still = nn.Module()
        still.inner, still.forward = model(data), lambda views, still=still: still.inner.eval()(views)
        steps = ive.train(still, objective(), data, device=device, epochs=2, batch_size=16, seed=0)
        losses[device] = [float(step.loss) for step in steps]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


HOW: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "compiled": {"compile": True},
    "in two parts": {"accumulate": 2},
}


@pytest.mark.parametrize("name", HOW)
def test_throughput_and_memory(name):
    data = rows(1024)
    made = model(data)
    torch.cuda.reset_peak_memory_stats()
    steps, begun, n = ive.train(made, objective(), data, device="cuda", epochs=6, seed=0, **HOW[name]), None, 0
    for step in steps:
        if step.step == 2 * step.total // 6:  # two epochs to warm up
            torch.cuda.synchronize()
            begun = time.perf_counter()
        n += begun is not None
    torch.cuda.synchronize()
    seconds, peak = time.perf_counter() - float(begun or 0), torch.cuda.max_memory_allocated() / 1e6
    print(f"\n{name}: {n * 64 / seconds:.0f} rows/s, {1e3 * seconds / n:.1f} ms a step, {peak:.0f} MB at most")
    assert step.loss.isfinite() and peak > 0


def test_no_step_waits_for_the_gpu():
    data, before = rows(), torch.cuda.get_sync_debug_mode()
    steps = ive.train(model(data), objective(), data, device="cuda", epochs=2, batch_size=32, seed=0)
    seen = 0
    try:
        for step in steps:
            within = 1 <= step.step < step.total // 2 - 1  # the first makes the optimiser's state, the last reads
            torch.cuda.set_sync_debug_mode("error" if within else "default")
            seen += within
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert seen > 3


def test_batches_are_copied_from_pinned_memory():
    from ivekit.loader import sent

    batch = rows(64)
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = sent(batch, torch.device("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(x.is_cuda for x in (*there.tensors.values(), *there.present.values()))
    assert all(torch.equal(there[name].cpu(), batch[name]) for name in batch)


def test_what_is_said_and_explained_there_is_that_of_the_cpu():
    here, _ = trained("cpu", epochs=1)
    there, data = copy.deepcopy(here).cuda(), rows(32)
    work = {
        "evaluate": lambda m: torch.tensor(list(ive.evaluate(m, objective(), data).values())),
        "latents": lambda m: ive.latents(m, data)["shared"],
        "integrated gradients": lambda m: explain.integrated_gradients(m, data, latent, n_steps=8)["meg"],
        "attribute": lambda m: explain.attribute(m, data[:4], latent, n_steps=8)["meg"],
        "haufe_pattern": lambda m: explain.haufe_pattern(m, data, latent)["meg"],
        "traverse": lambda m: explain.traverse(m, data, "shared", 0, [-1.0, 1.0])["meg"],
    }
    for name, of in work.items():
        a, b = of(here).float(), of(there).float().cpu()
        assert (a - b).abs().max() < 2e-2 * a.abs().max(), name
    assert explore(there, data).scene.buffers["codes"].shape == (32, 8)
