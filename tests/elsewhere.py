"""A device without a GPU: tensors that say they are elsewhere, hold real numbers, and will not meet the CPU's.

On a CPU a tensor that was born in the wrong place is never noticed. Within `Elsewhere()` those that are sent to "meta"
compute as ever, an operation that mixes them with tensors on the CPU raises (as CUDA does; single numbers may mix), and
`waits` lists whatever would make the processor wait for a GPU: numbers read, counts of what is True, copies there and
back that are not asked to run on their own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")  # the one device other than the CPU that every PyTorch knows and that runs nothing itself
PACKAGE = str(Path(__file__).parents[1] / "ivekit")

WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim", "histc",
        "unique_consecutive", "bincount", "repeat_interleave", "_linalg_eigh", "linalg_eig", "_linalg_svd",
        "_linalg_check_errors")  # fmt: skip


class There(Tensor):
    """A tensor on the other device; `inner` are its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        new = Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=DEVICE
        )
        new.inner = inner
        return new

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self, **_: Any) -> str:
        return f"There({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, [])


def _run(func: Any, args: Any, kwargs: dict[str, Any], waits: list[str]) -> Any:
    name = func.__name__.split(".")[0]
    given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    there = any(isinstance(x, There) for x in given)
    to, wait = kwargs.get("device"), not kwargs.get("non_blocking", False)
    away = to is not None and torch.device(to) == DEVICE or (to is None and there)
    if name in ("_to_copy", "copy_", "_pin_memory"):
        away = isinstance(args[0], There) if name == "copy_" else away
        if wait and len({isinstance(x, There) for x in given} | {away}) > 1:
            waits.append(_by(name))
    elif name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        _looked_up(name, given, args, waits)
    elif there and (near := [tuple(x.shape) for x in given if not isinstance(x, There) and x.ndim]):
        far = [tuple(x.shape) for x in given if isinstance(x, There)]
        raise RuntimeError(f"{func}: tensors {far} on the device meet {near} on the CPU")
    if away and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: a generator of the CPU draws on the device")
    if there and name in WAIT:
        waits.append(_by(name))
    plain = tree_map_only(There, lambda x: x.inner, (args, kwargs))
    if to is not None:
        plain[1]["device"] = torch.device("cpu")
    out = func(*plain[0], **plain[1])
    out = tree_map_only(Tensor, There, out) if away else out
    return return_and_correct_aliasing(func, args, kwargs, out) if there and away else out


def _by(name: str) -> str:
    """An operation, and the line of ours that asked for it."""
    frame: Any = sys._getframe(1)
    while frame and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return f"{name} in {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else name


def _looked_up(name: str, given: list[Tensor], args: Any, waits: list[str]) -> None:
    """What is looked up by numbers of the CPU has them copied; by a mask, it is counted first."""
    if not isinstance(args[0], There) and any(isinstance(x, There) for x in given):
        raise RuntimeError(f"{name}: tensors on the device index or fill one on the CPU, {tuple(args[0].shape)}")
    for x in args[1]:
        if isinstance(args[0], There) and x is not None and not isinstance(x, There):
            waits.append(_by(f"{name} by numbers of the CPU"))
        if isinstance(x, There) and x.dtype == torch.bool:
            waits.append(_by(f"{name} by a mask"))


class _Made(TorchFunctionMode):
    """Tensors made of Python's numbers, and turned into them: that goes past the operators."""

    def __init__(self, waits: list[str]):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        to = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and to is not None and torch.device(to) == DEVICE:
            if isinstance(args[0], There):
                return args[0] if kwargs.get("dtype") in (None, args[0].dtype) else args[0].to(kwargs["dtype"])
            self.waits.append(_by(f"{func.__name__} of Python's numbers"))
            return There(func(*args, **kwargs | {"device": "cpu"}))
        if func is Tensor.new_tensor and isinstance(args[0], There):
            self.waits.append(_by("new_tensor"))
            return There(args[0].inner.new_tensor(*args[1:], **kwargs))
        if func is Tensor.__getitem__ and isinstance(args[0], There) and isinstance(args[1], list | np.ndarray):
            return func(args[0], torch.as_tensor(args[1]))
        if func is Tensor.tolist and isinstance(args[0], There):
            self.waits.append(_by("tolist"))
            return args[0].inner.tolist()
        return func(*args, **kwargs)


class _Autocast(torch.autocast):
    """That of the CPU, for the device that PyTorch knows none of."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any):
        super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """Within it, what is sent to "meta" computes there. `waits`: what a processor would have waited for."""

    def __init__(self):
        super().__init__()
        self.waits: list[str] = []
        self._made = _Made(self.waits)

    def __enter__(self) -> Elsewhere:
        self._made.__enter__()
        self._autocast, torch.autocast = torch.autocast, _Autocast
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._made.__exit__(*error)
        torch.autocast = self._autocast

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, self.waits)


def sent(module: nn.Module) -> nn.Module:
    """A module whose weights and buffers are moved there, as `to` would; what it did not register stays behind."""
    known: dict[int, Tensor] = {}  # weights that two modules share stay shared

    def move(x: Tensor) -> Tensor:
        if id(x) not in known:
            there = x.detach().clone() if isinstance(x, There) else There(x.detach().clone())
            known[id(x)] = nn.Parameter(there, x.requires_grad) if isinstance(x, nn.Parameter) else there
        return known[id(x)]

    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, x in held.items():
                held[name] = x if x is None else move(x)
    return module
