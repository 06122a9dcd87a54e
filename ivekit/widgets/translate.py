"""A decoder as an ONNX network, which a browser runs; and where it cannot be one, why, in words.

In a notebook the translation runs in a process of its own: tracing takes about ten seconds, changes PyTorch's global
state while it does, and would make the kernel deaf to the sliders that it still answers.
"""

from __future__ import annotations

import copy
import io
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import jaxtyping
import torch
from torch import Tensor

from ..distributions import Autoregressive
from ..nn import Diffusion
from ..views import Views
from .net import Decode

REFUSED = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError, ImportError)
# what multiprocessing raises of a model that it cannot send
UNSENT = (reduction.pickle.PicklingError, TypeError, AttributeError)  # pyright: ignore[reportAttributeAccessIssue]
LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


Child = tuple[Any, Connection]  # a process, and where its answer comes


class Untranslatable(ValueError):
    """This decoder cannot run in a browser; the message says why."""


def translate(decode: Decode, rows: Views) -> bytes:
    """The decoder as ONNX: its `inputs` to its `outputs`, any number of rows at once. Model and rows stay as they are.

    rows : from which what is given comes, wholly there.

    Raises
    ------
    Untranslatable : a sentence for the reader.

    >>> from ivekit.models import Outputs
    >>> from ivekit.distributions import Normal
    >>> class Five(torch.nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {}, {"a": Normal(views["a"], 1.0)})
    >>> rows = Views({"a": torch.zeros(4, 3)})
    >>> translate(Decode(Five(), rows), rows)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ivekit.widgets.translate.Untranslatable: a Five is neither a MultimodalVAE nor a Conditional, ...
    """
    if reason := obstacle(decode, rows):
        raise Untranslatable(reason)
    inputs = example(decode, rows)
    batch = torch.export.Dim("rows")
    file = io.BytesIO()
    with _hushed():
        try:
            still = copy.deepcopy(decode).cpu().eval().requires_grad_(False)
            program = torch.onnx.export(
                still,
                inputs,
                dynamo=True,
                dynamic_shapes={"inputs": tuple({0: batch} for _ in inputs)},
                input_names=decode.inputs,
                output_names=decode.outputs,
                external_data=False,
                verbose=False,
            )
            program.save(file)  # type: ignore[union-attr]
        except REFUSED as error:
            raise Untranslatable(f"torch.onnx cannot translate this decoder: {_first_line(error)}") from error
    # where a size of the batch found its way into the computation, torch.onnx fixes it without a word
    if fixed := [x.name for x in program.model.graph.inputs if isinstance(x.shape[0], int)]:  # type: ignore[union-attr]
        raise Untranslatable(
            f"torch.onnx can translate this for {len(inputs[0])} rows of {fixed[0]} at once, not for one"
        )
    return file.getvalue()


def obstacle(decode: Decode, rows: Views) -> str:
    """Why a decoder cannot be translated, as far as is known without trying; "" if nothing speaks against it."""
    model = decode.model
    if not decode.inputs:
        return f"a {type(model).__name__} is neither a MultimodalVAE nor a Conditional, and is asked in Python"
    if unsafe := [name for name, _ in decode.named_modules() if not _as_code(name)]:
        return f"torch writes the names of parts into code that it runs, and {unsafe[0]!r} would end a text there"
    for name in decode.given:
        if not rows[name].is_floating_point():
            return f"{name}, which is given, is no real numbers (a text, say), and is read by the kernel"
        if not bool(rows.present[name].all()):
            return f"{name}, which is given, lacks parts in some rows, and is read by the kernel"
    with torch.no_grad():
        z = torch.zeros(1, decode.size) if decode.size else None
        p = decode.likelihoods(z, rows[:1])
    for name, decoder in getattr(model, "decoders", {}).items():
        if isinstance(p.get(name), Autoregressive):
            return f"{name} is written byte after byte, which the kernel does"
        if isinstance(decoder, Diffusion) and decoder.draws:
            return f"{name} is the mean of {decoder.draws} walks of a diffusion model, which the kernel takes"
    return ""


def _as_code(name: str) -> bool:
    """Whether a name between quotation marks is the same name in Python: names of views come from data."""
    return name.isprintable() and not set(name) & set("\"'\\")


def example(decode: Decode, rows: Views) -> tuple[Tensor, ...]:
    """Two rows of what a decoder takes."""
    z = [torch.linspace(-1, 1, 2 * decode.size).reshape(2, decode.size)] if decode.size else []
    two = rows[torch.tensor([0, len(rows) - 1])]
    return (*z, *(two[name].float().cpu() for name in decode.given))


def _first_line(error: BaseException) -> str:
    """What went wrong, without the report that torch.onnx writes around it."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    return (lines or [type(root).__name__])[0][:200]


@contextmanager
def _hushed() -> Iterator[None]:
    """What others warn and log of while they translate is not the reader's matter; all is as before afterwards.

    So with checks of shapes, where they are switched on: they look at sizes, and a size that is looked at is fixed.
    """
    unchecked = jaxtyping.config.jaxtyping_disable
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", unchecked)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


# beside the kernel ---------------------------------------------------------------------------------------------------


class Translation:
    """A translation in another process: begun once, asked at any time, and told when it is there.

    net : the ONNX network, when it is there. why : why there will be none. Both None while it is being made.
    """

    def __init__(self):
        self.net: bytes | None = None
        self.why: str | None = None
        self._thread: Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether it was asked for."""
        return self._thread is not None or self.settled

    @property
    def settled(self) -> bool:
        """Whether there is an answer."""
        return self.net is not None or self.why is not None

    def begin(self, decode: Decode, rows: Views, then: Callable[[], None] = lambda: None) -> None:
        """Starts it, if it was not; `then` is called in another thread when it has ended, either way."""
        if self.begun:
            return
        if reason := obstacle(decode, rows):
            self.why = reason
            return
        try:
            child = spawn(copy.deepcopy(decode).cpu(), rows[:2].to("cpu"))
        except UNSENT as error:
            self.why = f"the model cannot be sent to another process ({error}); explorer.translate() does it here"
            return
        self._thread = Thread(target=self._run, args=(child, then), daemon=True)
        self._thread.start()

    def here(self, decode: Decode, rows: Views) -> None:
        """Does it now, in this process: it takes about ten seconds."""
        try:
            self.net, self.why = translate(decode, rows), None
        except Untranslatable as error:
            self.net, self.why = None, str(error)

    def wait(self, seconds: float | int | None = None) -> bool:
        """Waits until there is an answer."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.settled

    def _run(self, child: Child, then: Callable[[], None]) -> None:
        """Waits for the other process, in a thread."""
        process, answer = child
        try:
            self.net, self.why = answer.recv()
        except EOFError:  # it ended without a word
            self.why = "another process could not take the model over; explorer.translate() translates it here"
        process.join()
        then()


def spawn(decode: Decode, rows: Views) -> Child:
    """Another Python that translates, and where its answer will come: (network, None) or (None, reason)."""
    fresh = multiprocessing.get_context("spawn")  # a fork would carry locks of threads that it has not
    ours, theirs = fresh.Pipe(duplex=False)
    process = fresh.Process(target=_answer, args=(decode, rows, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _answer(decode: Decode, rows: Views, answer: Connection) -> None:
    """What that process does."""
    try:
        answer.send((translate(decode, rows), None))
    except Untranslatable as error:
        answer.send((None, str(error)))
