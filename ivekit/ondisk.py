"""Tensors too large for memory: their rows stay in a file until somebody asks for them.

Rows are read through the file, not through a memory map: from a disk that is several times faster (a row is one
request, not a fault a page), nothing that was read stays resident, and a file that was cut is an error, not a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from .guard import fits

LARGE = 2**27  # bytes. What is larger stays on disk: a view that is opened, and rows that are taken of it
BLOCK = 2**25  # bytes that are looked at at once by whoever has to see all of a view

COPIES = ("T", "mT", "H", "mH", "real", "imag", "data")  # attributes that are numbers; all others are known without
KNOWN = ("__len__", "__hash__", "size", "dim", "numel", "nelement", "element_size", "is_floating_point", "is_complex")


class OnDisk(Tensor):
    """A tensor whose rows are in a ``.npy`` file. Its shape and type cost nothing, ``x[rows]`` reads those rows.

    A selection of more than `LARGE` bytes is on disk as well, whatever the order of its rows. Anything else that is
    done to it reads it whole. It cannot be changed, hence its copies share the file; its ``clone()`` can. Once another
    file has taken the place of its own (rows saved over the folder they came from), reading it is an error.

    array : the file, memory-mapped. rows : which of its rows; all by default. inode : the file's; by default that of
        the one that is there now.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     np.save(f"{tmp}/a.npy", np.arange(8.0).reshape(4, 2))
    ...     x = OnDisk(np.load(f"{tmp}/a.npy", mmap_mode="c"), torch.tensor([3, 1, 0]))
    ...     x, x[:2], x.sum()
    (OnDisk((3, 2), torch.float64), tensor([[6., 7.],
            [2., 3.]], dtype=torch.float64), tensor(19., dtype=torch.float64))
    """

    array: np.memmap
    rows: Int[Tensor, "b"]
    inode: int

    @staticmethod
    def __new__(cls, array: np.memmap, rows: Int[Tensor, "b"] | None = None, inode: int | None = None) -> OnDisk:
        rows = torch.arange(len(array)) if rows is None else _counted(rows, array)
        shape, dtype = (len(rows), *array.shape[1:]), torch.from_numpy(array[:0]).dtype
        new = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype)  # type: ignore[attr-defined]
        new.array, new.rows = array, rows
        new.inode = os.stat(array.filename).st_ino if inode is None else inode  # type: ignore[arg-type]
        return new

    def __repr__(self, **_: Any) -> str:
        return f"OnDisk({tuple(self.shape)}, {self.dtype})"

    def __reduce_ex__(self, _: Any) -> tuple:
        array = self.array
        return _opened, (array.filename, array.dtype.str, array.offset, array.shape, self.rows, self.inode)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        if name in KNOWN or name == "__get__" and func.__self__.__name__ not in COPIES:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        mine = bool(args) and isinstance(args[0], OnDisk)
        if mine and name == "__deepcopy__":
            return OnDisk(args[0].array, args[0].rows, args[0].inode)  # nobody can change what both read
        if mine and name == "__getitem__" and _names_rows(args[1]):
            return args[0].of(args[0].rows[args[1]])
        changes = name in ("__setitem__", "__set__") or name[-1] == "_" and not name.endswith("__")
        if changes and _holds(args[:1]) or _holds(kwargs.get("out")):
            raise ValueError(f"{name}: a tensor on disk cannot be changed, but its clone() can")
        by_rows = name == "cat" and args and kwargs.keys() <= {"dim"} and (*args[1:], *kwargs.values()) in ((), (0,))
        if by_rows and (one := _of_one_file(args[0])):
            return one[0].of(torch.cat([part.rows for part in one]))
        args, kwargs = tree_map_only(OnDisk, OnDisk.whole, (args, kwargs))
        return func(*args, **kwargs)

    __torch_dispatch__ = __torch_function__  # of what reaches PyTorch's C++ past the line above

    def of(self, rows: Int[Tensor, "*b"]) -> Tensor:
        """These rows of the file: read, or left on disk if they are many."""
        if rows.ndim and self.array[:1].nbytes * len(rows) > LARGE:
            return OnDisk(self.array, rows, self.inode)
        found = self._read(np.atleast_1d(rows.numpy()))
        return found if rows.ndim else found[0]

    def whole(self) -> Tensor:
        """All of it as a tensor: of a whole file a memory map, of a selection a copy, if there is memory for it."""
        every = len(self.rows) == len(self.array) and bool((self.rows == torch.arange(len(self.rows))).all())
        if not every:
            fits(self.nbytes, self.array.filename)  # type: ignore[arg-type]
            return self._read(self.rows.numpy())
        with self._file() as file:  # a map of its own: who writes into it changes nobody else's
            return torch.from_numpy(np.memmap(file, self.array.dtype, "c", self.array.offset, self.array.shape))

    def _read(self, rows: np.ndarray) -> Tensor:
        with self._file() as file:
            return _read(file, self.array, rows)

    def _file(self) -> IO[bytes]:
        file = open(self.array.filename, "rb", buffering=0)  # type: ignore[arg-type]
        if os.fstat(file.fileno()).st_ino != self.inode:
            file.close()
            raise ValueError(f"{file.name} is not the file any more that was opened: open its folder again")
        return file


def opened(array: np.memmap) -> Tensor:
    """A memory-mapped array as a tensor, on disk if it is large."""
    return OnDisk(array) if array.nbytes > LARGE and array.flags.c_contiguous else torch.from_numpy(array)


def blocks(x: Shaped[Tensor, "b ..."]) -> Iterator[slice]:
    """The rows of a tensor in order, some megabytes at a time: who goes through them so needs no more memory.

    >>> [len(torch.zeros(100, 1000, 200)[rows]) for rows in blocks(torch.zeros(100, 1000, 200))]
    [41, 41, 18]
    """
    n = max(1, BLOCK // max(1, x[:1].nbytes))
    return (slice(i, i + n) for i in range(0, max(1, len(x)), n))


def _holds(given: Any) -> bool:
    return any(isinstance(x, OnDisk) for x in tree_leaves(given))


def _of_one_file(parts: Any) -> list[OnDisk]:
    """These tensors, if all are rows of the same file."""
    parts = list(parts)
    files = {(str(x.array.filename), x.inode) if isinstance(x, OnDisk) else None for x in parts}
    return parts if len(files) == 1 and None not in files else []


def _counted(rows: Int[Tensor, "b"], array: np.memmap) -> Int[Tensor, "b"]:
    """Numbers of rows that are there, those from the end counted from the start."""
    if len(rows) and not -len(array) <= int(rows.min()) <= int(rows.max()) < len(array):
        raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} of {array.filename}, which has {len(array)}")
    return torch.where(rows < 0, rows + len(array), rows)


def _names_rows(key: Any) -> bool:
    if isinstance(key, Tensor | np.ndarray) and key.ndim == 0:  # one number; True and False are none
        return key.dtype not in (torch.bool, np.dtype(bool))
    row = isinstance(key, slice | int | np.integer | list | range) and not isinstance(key, bool)
    return row or isinstance(key, Tensor | np.ndarray) and key.ndim == 1


def _read(file: IO[bytes], array: np.memmap, rows: np.ndarray) -> Tensor:
    """Rows in the order asked for, each run of neighbours at once."""
    out = np.empty((len(rows), *array.shape[1:]), array.dtype)
    size, into = array[:1].nbytes, memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    for start, stop in zip(starts, starts[1:]):
        for i in range(start, stop, max(1, 2**30 // max(1, size))):  # the system reads no 2 GB at once
            run = into[i * size : min(stop, i + max(1, 2**30 // max(1, size))) * size]
            file.seek(array.offset + int(rows[i]) * size)
            if file.readinto(run) != len(run):  # type: ignore[attr-defined]
                raise ValueError(f"{array.filename} was cut short: it ends within row {rows[i]} of {len(array)}")
    return torch.from_numpy(out)


def _opened(path: str | Path, dtype: str, offset: int, shape: tuple[int, ...], rows: Tensor, inode: int) -> OnDisk:
    return OnDisk(np.memmap(path, dtype, "c", offset, shape), rows, inode)
