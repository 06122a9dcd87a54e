"""Text as numbers: UTF-8 bytes, with a byte 0 at the end of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def to_bytes(texts: Sequence[str], n: int | None = None) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """Texts as a view: their bytes, each followed by one byte 0 that ends it, and which of them are there.

    n : bytes a row, by default as many as the longest text and its end need.

    >>> x, present = to_bytes(["hi", "you"])
    >>> x
    tensor([[104, 105,   0,   0],
            [121, 111, 117,   0]])
    >>> present
    tensor([[ True,  True,  True, False],
            [ True,  True,  True,  True]])
    """
    rows = [text.encode() for text in texts]
    longest = max(map(len, rows), default=0) + 1
    n = longest if n is None else n
    if n < longest:
        raise ValueError(f"the longest text and its end take {longest} bytes, n is {n}")
    x = torch.tensor([[*row, *[0] * (n - len(row))] for row in rows], dtype=torch.int64).reshape(len(rows), n)
    ends = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return x, torch.arange(n) <= ends[:, None]


def from_bytes(x: Iterable[Int[Tensor, "n"]]) -> list[str]:
    """The texts again; what is no UTF-8 becomes a mark.

    >>> from_bytes(to_bytes(["hi", "you"])[0])
    ['hi', 'you']
    """
    return [bytes(row.tolist()).split(b"\0")[0].decode(errors="replace") for row in x]
