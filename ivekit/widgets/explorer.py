"""The live explorer: sliders for a model's latents, and what it decodes of them, redrawn at once.

In JupyterLab, Notebook 7 and voila the kernel decodes until the decoder has been translated (`translate`), and the
browser from then on. Only what a person set is kept in a saved notebook; scene, runtime and network go by message.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets
from torch import nn

from ..views import Views
from .answers import ANSWERS, STATIC, Answer, Question
from .page import write
from .picture import snapshot
from .scene import Scene, describe
from .translate import Translation

SCRIPTS = ("draw.js", "cards.js", "tables.js", "hosts.js", "controls.js", "explorer.js")  # one module, in this order
STARTS = {"mean": -1, "prior": -2}


def script() -> str:
    """The JavaScript of the explorer, as one module."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)


def style() -> str:
    """Its style sheet."""
    return (STATIC / "explorer.css").read_text(encoding="utf-8")


class Explorer(anywidget.AnyWidget):
    """What `explore` returns: a widget whose traits link to those of any other.

    z : the code on the sliders, all blocks side by side, in units in which the prior has a standard deviation of 1.
    start : what the sliders started from: the number of a row in ``scene.said["rows"]``, -1 the mean, -2 the prior.
    time : seconds, of the cursor in waveforms. locked : the ids of the latents that stay, ``"shared:0"``.
    """

    z = traitlets.List(traitlets.CFloat()).tag(sync=True)
    start = traitlets.Int(-1).tag(sync=True)
    time = traitlets.CFloat(0.0).tag(sync=True)
    locked = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, scene: Scene, start: int = -1):
        self.scene, self.translation = scene, Translation()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._esm, self._css = script(), style()
        super().__init__(z=code_at(scene, start), start=start, time=peak(scene))
        self.on_msg(self._hear)

    # what may be set -------------------------------------------------------------------------------------------

    @traitlets.validate("z")
    def _valid_z(self, proposal: Any) -> list[float]:
        z = [float(v) for v in proposal["value"]]
        if len(z) != self.scene.decode.size or not np.isfinite(z).all():
            raise traitlets.TraitError(f"z is {self.scene.decode.size} finite numbers, got {z}")
        return z

    @traitlets.validate("start")
    def _valid_start(self, proposal: Any) -> int:
        n, least = len(self.scene.rows), -2 if self.scene.decode.size else 0
        if not least <= proposal["value"] < n:
            raise traitlets.TraitError(f"start is {least} to {n - 1}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("locked")
    def _valid_locked(self, proposal: Any) -> list[str]:
        known = [latent["id"] for latent in self.scene.said["latents"]]
        if unknown := set(proposal["value"]) - set(known):
            raise traitlets.TraitError(f"no latent {sorted(unknown)}; there are {known}")
        return list(proposal["value"])

    # the wire --------------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> Answer:
        """What the kernel answers to a question, ``{"ask": "decode", "z": [...], "row": -1}``; and bytes."""
        if question.get("ask") == "net":
            return self._net()
        if question.get("ask") not in ANSWERS:
            raise ValueError(f"the kernel answers {', '.join(ANSWERS)} and net, not {question.get('ask')!r}")
        return ANSWERS[question["ask"]](self.scene, question)

    def _net(self) -> Answer:
        """The network, if it is there; the first who asks sets its translation going."""
        self.translation.begin(self.scene.decode, self.scene.rows, self._announce)
        ready = self.translation.net is not None
        return {"ready": ready, "why": self.translation.why}, [self.translation.net or b""][:ready]

    def _hear(self, _: Any, question: Question, buffers: Any) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None  # nobody to send from another thread: the page asks again
        try:
            said, answer = self.ask(question)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            said, answer = {"error": str(error)}, []
        self.send({"id": question.get("id"), **said}, answer)

    def _announce(self) -> None:
        """Called where the translation ran: a message may only be sent where the kernel's own are."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.send, {"event": "net", "why": self.translation.why})

    def translate(self) -> Explorer:
        """Translates the decoder now and here, which takes about ten seconds, instead of beside the kernel."""
        self.translation.here(self.scene.decode, self.scene.rows)
        self._announce()
        return self

    # without a kernel ------------------------------------------------------------------------------------------

    def export(self, path: str | Path, light: bool = False) -> Path:
        """Writes one HTML page whose sliders run the decoder without Python, a server or a network.

        light : precomputed traversals instead of the decoder: a third of the size, one latent at a time from the mean.
            So is a page of a decoder that cannot be translated; it says so.
        """
        if not light and self.translation.net is None:
            self.translation.here(self.scene.decode, self.scene.rows)
        net = None if light else self.translation.net
        return write(path, self.scene, script(), style(), net, self.translation.why or "", self.picture)

    @cached_property
    def picture(self) -> bytes:
        """The explorer at its start as PNG: what a notebook shows where widgets do not run."""
        return snapshot(self.scene, self.start)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict, dict] | None:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        return data | {"text/plain": repr(self), "image/png": base64.b64encode(self.picture).decode()}, metadata

    def __repr__(self) -> str:
        k, names = self.scene.decode.size, ", ".join(self.scene.decode.blocks or self.scene.decode.names)
        return f"Explorer of {k} latents of {names}" if k else f"Explorer without latents of {names}"


def explore(
    model: nn.Module,
    views: Views,
    factors: pd.DataFrame | None = None,
    start: int | str = "mean",
    verdicts: Mapping[tuple[str, int], Any] | None = None,
    title: str = "",
    about: Mapping[str, Any] | None = None,
) -> Explorer:
    """Sliders for every latent of a model, and at once what it decodes: in a notebook, or `export`ed as a page.

    model : a `MultimodalVAE`, a `Conditional`, or any module that makes `Outputs` of `Views`. views : rows it was not
        trained on; their codes say where data lie. factors : the true ones of a simulated world, a row a row.
    start : "mean" (of the rows' codes), "prior", or a row of those that are offered (``scene.said["rows"]``).
    verdicts : {(block, index): a `Check`, several, or a `Card`}, shown beside the latent.
    title, about : what stands above, and what a reader should know of where it comes from (data, recipe, seed).

    Raises
    ------
    ValueError : when there are no rows, they hold an unmasked NaN, factors are of another length, or a verdict or
        start names what is not there.

    >>> import torch
    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> explore(model, Views({"a": torch.randn(20, 3)}))
    Explorer of 2 latents of shared
    """
    scene = describe(model, views, factors, verdicts, title, about)
    return Explorer(scene, start_row(scene, start))


def start_row(scene: Scene, start: int | str) -> int:
    """The number of a start: a row's, -1 the mean, -2 the prior; a model without latents starts at its first row."""
    if isinstance(start, str) and start not in STARTS or not isinstance(start, int | str):
        raise ValueError(f"start is one of {', '.join(STARTS)} or the number of a row, got {start!r}")
    row = STARTS[start] if isinstance(start, str) else start
    if not isinstance(start, str) and not 0 <= start < len(scene.rows):
        raise ValueError(f"rows to start from are 0 to {len(scene.rows) - 1}, got {start}")
    return row if scene.decode.size else max(row, 0)


def code_at(scene: Scene, start: int) -> list[float]:
    """The code of a start."""
    if start >= 0:
        return scene.buffers["codes"][start].tolist()
    return scene.said["mean"] if start == -1 else [0.0] * scene.decode.size


def peak(scene: Scene) -> float:
    """When the first field is strongest, in seconds; where there is none, 0."""
    fields = [view for view in scene.said["views"] if view["kind"] == "field"]
    return fields[0]["times"][fields[0]["peak"]] if fields else 0.0
