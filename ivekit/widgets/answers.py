"""What the kernel answers to an explorer's questions: each a function of the scene and the question."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import explain
from ..explain.path import integrated_gradients
from ..views import Views
from .net import mean_of
from .scene import Scene

STATIC = Path(__file__).parent / "static"
RUNTIME = ("ort.wasm.bundle.min.mjs.gz", "ort-wasm-simd-threaded.wasm.gz")
DRAWS = 32  # of a posterior, for a band
LEVEL = 0.9  # of the draws are within the band
STEPS = 16  # nodes of an attribution under the cursor
Question = Mapping[str, Any]
Answer = tuple[dict[str, Any], list[bytes]]


def scene(of: Scene, question: Question) -> Answer:
    """The scene and its arrays."""
    return of.packed()


def runtime(of: Scene, question: Question) -> Answer:
    """ONNX Runtime web, as it is shipped: the module and its WebAssembly, both gzipped."""
    return {}, [(STATIC / name).read_bytes() for name in RUNTIME]


def decode(of: Scene, question: Question) -> Answer:
    """Mean and standard deviation of every view at a code."""
    begun = time.perf_counter()
    told = of.decode.told(_code(of, question), _row(of, question))
    return {"ms": 1e3 * (time.perf_counter() - begun)}, [_bytes(x) for x in told]


def band(of: Scene, question: Question) -> Answer:
    """Between which bounds each view's mean lies when the latents are drawn from the row's posterior around z.

    Those that were set by hand ("moved") stay where they are. Lower and upper bound of each view, in order.
    """
    z, row = _code(of, question), int(question.get("row", -1))
    if z is None:
        return {"views": []}, []
    sd = torch.from_numpy(of.buffers["sds"][row]) if row >= 0 else _typical_sd(of, row)
    sd[list(question.get("moved") or [])] = 0.0
    e = torch.randn(DRAWS, z.shape[1], generator=torch.Generator().manual_seed(0))
    rows = _row(of, question)[torch.zeros(DRAWS, dtype=torch.long)]
    told = dict(zip(of.decode.outputs, of.decode.told(z + e * sd, rows)))
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ends = [told[name].quantile(tails, 0) for name in of.decode.names]
    return {"views": of.decode.names}, [_bytes(end) for low_high in ends for end in low_high]


def attention(of: Scene, question: Question) -> Answer:
    """Where every attention of the model looks in a row, averaged over its heads: maps (queries, keys)."""
    found = explain.attention(of.decode.model, _row(of, question))
    maps = [
        {"name": name, "rows": a.row_names(), "columns": a.column_names(), "shape": list(a.weights.shape[2:])}
        for name, a in found.items()
    ]
    return {"maps": maps}, [_bytes(a.weights[:1].mean(1)) for a in found.values()]


def attribution(of: Scene, question: Question) -> Answer:
    """How much each element of what a row holds adds to one number that is told of it: integrated gradients."""
    view, index, model = str(question["view"]), int(question["index"]), of.decode.model
    if view not in of.decode.names:
        raise ValueError(f"no view {view!r} is told; there are {of.decode.names}")
    if next(one["kind"] for one in of.said["views"] if one["name"] == view) == "text":
        raise ValueError(f"{view} is written byte after byte, and a byte is no number that others add up to")
    if not hasattr(model, "tell"):
        raise ValueError(f"a {type(model).__name__} does not say what it encodes, so nothing can be attributed")

    def target(out: Any) -> Float[Tensor, "b"]:
        told = mean_of(out.p[view]).flatten(1)
        if not 0 <= index < told.shape[1]:
            raise ValueError(f"{view} has numbers 0 to {told.shape[1] - 1}, no {index}")
        return told[:, index]

    row = _row(of, question)
    numbers = all(row[name].is_floating_point() for name in model.encoders)
    at_once = integrated_gradients if numbers else explain.attribute  # the latter knows embeddings, of a text
    said = at_once(model, row, target, n_steps=STEPS)
    return {"views": list(said)}, [_bytes(x) for x in said.values()]


ANSWERS: dict[str, Callable[[Scene, Question], Answer]] = {
    "scene": scene, "runtime": runtime, "decode": decode, "band": band, "attention": attention,
    "attribution": attribution,
}  # fmt: skip


def _code(of: Scene, question: Question) -> Float[Tensor, "1 k"] | None:
    """The code that is asked about; None of a model without latents."""
    if not of.decode.size:
        return None
    z = torch.tensor([[float(v) for v in question.get("z", ())]])
    if z.shape[1] != of.decode.size or not bool(z.isfinite().all()):
        raise ValueError(f"a code is {of.decode.size} finite numbers, got {z.tolist()[0]}")
    return z


def _row(of: Scene, question: Question) -> Views:
    """The row that is started from, with what a person changed of what is given; the first where there is none."""
    row = int(question.get("row", -1))
    if not -2 <= row < len(of.rows):
        raise ValueError(f"rows to start from are 0 to {len(of.rows) - 1}, got {row}")
    one = of.rows[max(row, 0) : max(row, 0) + 1]
    changed = {}
    for name, numbers in (question.get("given") or {}).items():
        if name not in of.decode.given:
            raise ValueError(f"{name!r} is not given to this model; there are {list(of.decode.given)}")
        changed[name] = torch.tensor(numbers, dtype=one[name].dtype).reshape(one[name].shape)
    return one.replace(**changed) if changed else one


def _typical_sd(of: Scene, row: int) -> Float[Tensor, "k"]:
    """Of no row in particular: the posteriors' own; of the prior, 1."""
    sds = [1.0 if row == -2 else latent["sd"] for latent in of.said["latents"]]
    return torch.tensor(sds)


def _bytes(x: Tensor) -> bytes:
    return np.ascontiguousarray(x.detach().cpu().float().numpy()).tobytes()
