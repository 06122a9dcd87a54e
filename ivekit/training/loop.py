"""The training loop as a generator: whoever iterates it decides what to log and draw, and when to stop.

    for step in train(model, objective, data, epochs=20):
        losses.append(float(step.loss))

One process on a CPU, one GPU, and many GPUs under ``torchrun`` run the same lines. Every step seeds its noise from
(seed, step) and every epoch its order from (seed, epoch), so a run stopped anywhere goes on as if it had not been:
its `State` is the weights, the optimiser and the number of steps done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..loader import Loader, sent
from ..memory import give_back
from ..noise import share_of_batch
from ..views import Views
from .skips import LIMIT, Skips, read
from .state import State, copied

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Objective = Callable[..., dict[str, Tensor]]  # (out, views, step or None) -> named scalars


@dataclass(frozen=True)
class Step:
    """One step of training. Tensors stay on their device until somebody asks for their value.

    step : how many steps were done, this one among them, of `total`. lr : the learning rate it was taken with.
    skipped : how many steps in a row, up to this one, changed nothing, because their loss or its gradient was not
        finite; 0 if this one did not.
    state : a function that copies the run's `State`; call it before the next step.
    """

    step: int
    epoch: int
    loss: Float[Tensor, ""]
    terms: dict[str, Tensor]
    lr: float
    last_of_epoch: bool
    total: int
    skipped: Int[Tensor, ""]
    state: Callable[[], State] = field(repr=False)


def train(
    model: nn.Module,
    objective: Objective,
    data: Views,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    lr: float = 1e-3,
    optimizer: Optimizer | Callable[..., Optimizer] | None = None,
    scheduler: Callable[[Optimizer, int], Any] | None = None,
    device: torch.device | str | None = None,
    precision: str = "float32",
    clip: float | None = 1.0,
    augment: Callable[[Views], Views] = lambda views: views,
    plan: Any = None,
    together: str | None = None,
    accumulate: int = 1,
    compile: bool | Callable[[nn.Module], Any] = False,
    seed: int | None = None,
    start: State | None = None,
) -> Iterator[Step]:
    """Trains a model in place, a step each time the next one is asked for; leaves it in evaluation mode.

    objective : ``(out, views, step)`` to named scalars, whose sum is the loss. If it is a module, it learns too.
    epochs : times all rows are seen. batch_size : rows of a step, over all processes.
    optimizer : an optimiser (its own `lr` is the one used), or a function of the parameters that makes one; AdamW
        by default. scheduler : a function of the optimiser and the number of steps, such as `cosine`.
    precision : in which the model is run: float32, bfloat16 or float16. Likelihoods and losses are float32 always.
    clip : the largest norm of the gradient; None for any. A step whose loss or gradient is not finite changes
        nothing; how many did not is said through logging ("ivekit.training") at an epoch's end.
    augment : what the model sees of the rows; the objective scores them whole. What it draws is the same on all
        processes if it is drawn a batch, or a row by `ivekit.noise.noise`.
    plan : which subsets of the views are seen and scored, for a model that takes one.
    together : a column of the metadata, such as "trial", whose rows stay side by side in a batch, in their order.
    accumulate : the rows of a step go through the model in so many parts, one after another, which takes less memory:
        the step is that of all rows at once, up to rounding, with the same noise for each row. What is of a batch and
        not of a row (batch normalisation, free bits, total correlation, the draws of `torch.nn.Dropout`, though not of
        `ivekit.nn.Dropout`) is of a part.
    compile : True for `torch.compile` with the noise of an uncompiled run, or a function that makes of the module
        the one to call, such as ``functools.partial(torch.compile, mode="reduce-overhead")``, which takes CUDA graphs.
    seed : of noise and order; None draws one. start : a `State` to go on from; its seed holds.

    On a GPU no step waits for the device (with an optimiser that is `fused`, as the default is); rows that stay in
    host memory are copied from pinned memory.

    Raises
    ------
    ValueError : for a setting that cannot be, or rows that hold what is not a number.
    FloatingPointError : after 50 steps in a row that changed nothing (looked at every 50 steps, and at an epoch's
        end); names the terms that are not finite. The weights are those of the last good step.

    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> fit = lambda out, views, step: {"error": (out - views["y"]).square().mean()}
    >>> class Line(nn.Linear):
    ...     def forward(self, views): return super().forward(views["x"])
    >>> for step in train(Line(1, 1), fit, Views({"x": x, "y": 3 * x + 1}), lr=0.1, epochs=90, seed=0): pass
    >>> step.step, step.last_of_epoch, bool(step.loss < 0.01)
    (90, True, True)
    """
    _check(model, data, epochs, lr, precision, clip, accumulate)
    give_back()  # what reading and preparing have freed; from here on steps take what steps have freed
    where = torch.device(device or best_device())
    both = _Both(model, objective, plan, PRECISIONS[precision]).to(where)
    weights = [p for p in both.parameters() if p.requires_grad]
    if not isinstance(optimizer, Optimizer):
        optimizer = (optimizer or (lambda weights: AdamW(weights, lr=lr, fused=True)))(weights)
    drawn: int = start.seed if start else agreed(int(torch.randint(2**62, ())), where) if seed is None else seed
    loader = data.loader(batch_size, shuffle=True, sharded=True, seed=drawn, together=together)
    _require_finite(data, loader)
    run = _Run(both, optimizer, loader, where, epochs * len(loader), drawn, clip, augment, accumulate)
    run.scheduler = scheduler(optimizer, run.total) if scheduler else None
    if start:
        run.load(start)
    return _steps(run, _spread_out(both, where, loader.world, compile), _near(data, where))


def best_device() -> torch.device:
    """The GPU of this process if there is one, otherwise the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class _Both(nn.Module):
    """Model and objective as one module: likelihoods may have networks of their own, which all processes share."""

    def __init__(self, model: nn.Module, objective: Objective, plan: Any, dtype: torch.dtype):
        super().__init__()
        self.model, self.objective, self.plan, self.dtype = model, objective, plan, dtype

    def forward(self, seen: Views, views: Views, step: int) -> dict[str, Tensor]:
        full = self.dtype == torch.float32
        with nullcontext() if full else torch.autocast(next(iter(seen.tensors.values())).device.type, self.dtype):
            out = self.model(seen) if self.plan is None else self.model(seen, self.plan)
        return self.objective(out, views if self.plan is None else self.plan.views(views), step)


class _Run:
    """What changes while a model is trained, and what was asked for."""

    scheduler: Any = None

    def __init__(self, both: _Both, optimizer: Optimizer, loader: Loader, device: torch.device, total: int,
                 seed: int, clip: float | None, augment: Callable[[Views], Views], accumulate: int):  # fmt: skip
        self.both, self.optimizer, self.loader, self.device = both, optimizer, loader, device
        self.total, self.seed, self.clip, self.augment, self.accumulate = total, seed, clip, augment, accumulate
        self.half = both.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**16 if self.half else 1.0)
        self.step, self.epoch_loss = 0, torch.zeros((), device=device)
        self.skips, self.weights = Skips(both.modules(), device), [*both.parameters()]
        self._parts: dict[int, list[tuple[Tensor, float]]] = {}

    def parts(self, n: int) -> list[tuple[Int[Tensor, "p"], float]]:
        """The places of this process's rows in a batch of n, part by part, each with its weight.

        The weights are such that the mean over processes of what each sums up is the mean over rows.
        """
        if n not in self._parts:
            share, world = self.loader.share(torch.arange(n)), self.loader.world
            parts = [(places, len(places) * world / n) for places in share.chunk(self.accumulate)]
            self._parts[n] = parts if len(share) else [(torch.tensor([0]), 0.0)]  # who has no row takes part with 0
        return self._parts[n]

    def state(self) -> State:
        """A copy of all that changes."""
        objective, scheduler = self.both.objective, self.scheduler
        return State(
            self.step, self.seed, copied(self.both.model.state_dict()),
            copied(objective.state_dict() if isinstance(objective, nn.Module) else {}),
            copied(self.optimizer.state_dict()), copied(scheduler.state_dict() if scheduler else {}),
            self.scaler.state_dict(), self.epoch_loss.clone(),
        )  # fmt: skip

    def load(self, state: State) -> None:
        """Takes the place of a run that was interrupted."""
        state = State(**copied(vars(state)))  # an optimiser keeps the tensors it is given
        self.both.model.load_state_dict(state.model)
        if isinstance(self.both.objective, nn.Module):
            self.both.objective.load_state_dict(state.objective)
        self.optimizer.load_state_dict(state.optimizer)
        if self.scheduler:
            self.scheduler.load_state_dict(state.scheduler)
        self.scaler.load_state_dict(state.scaler)
        self.step, self.epoch_loss = state.step, state.epoch_loss.to(self.device)
        self.skips = Skips(self.both.modules(), self.device)  # what a bad step puts back is what was loaded

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Adds to the gradient."""
        (self.scaler.scale(loss) if self.half else loss).backward()

    def update(self, loss: Float[Tensor, ""]) -> None:
        """One step down the gradient, unless that or the loss is not finite."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.half:
            self.scaler.unscale_(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in weights])
        bad = self.skips.found(norm, loss)
        if self.clip is not None:
            _clip(weights, self.clip, norm)
        _move(self.optimizer, bad)
        self.skips.count(bad)
        if self.half:
            self.scaler.update()

    def schedule(self, loss: Float[Tensor, ""], last_of_epoch: bool) -> None:
        """The next step's learning rate; a plateau is one of the epochs' mean losses, the only number read here."""
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            if self.scheduler:
                self.scheduler.step()
            return
        mean = self.epoch_loss / ((self.step - 1) % len(self.loader))  # a bad step counts as the mean so far
        self.epoch_loss += torch.where(loss.isfinite(), loss, mean)
        if last_of_epoch:
            self.scheduler.step(read(self.epoch_loss) / len(self.loader))
            self.epoch_loss.zero_()


def _clip(weights: list[Tensor], most: float, norm: Float[Tensor, ""]) -> None:
    """Gradients made so small that their norm is `most`, as `torch.nn.utils.clip_grad_norm_` does it."""
    if norm.device.type == "cpu" and read(norm) < most * (1 - 1e-5):
        return  # times 1: a walk through all gradients for nothing, and here it costs no waiting to know
    nn.utils.clip_grads_with_norm_(weights, most, norm)


def _move(optimizer: Optimizer, bad: Bool[Tensor, ""] | bool) -> None:
    """A step of the optimiser, unless it is a bad one.

    A fused optimiser is told on the device, in the way that `torch.amp.GradScaler` tells it. On the CPU, and for
    others, the answer is read; weights without a gradient are left alone by every optimiser.
    """
    told: Any = optimizer
    if isinstance(bad, Tensor) and getattr(optimizer, "_step_supports_amp_scaling", False):
        told.grad_scale, told.found_inf = None, bad.float()
        optimizer.step()
        del told.grad_scale, told.found_inf
        return
    if bad is True or (isinstance(bad, Tensor) and read(bad)):
        optimizer.zero_grad(set_to_none=True)
    optimizer.step()


def _steps(run: _Run, both: nn.Module, data: Views) -> Iterator[Step]:
    try:
        while run.step < run.total:
            run.loader.epoch, done = divmod(run.step, len(run.loader))
            for rows in run.loader.batches()[done:]:
                yield _step(run, both, data, rows)
    finally:  # also when it is interrupted or given up: the model is left fit for use
        run.both.eval()
        for weight in run.weights:
            weight.grad = None


def _step(run: _Run, both: nn.Module, data: Views, rows: Int[Tensor, "b"]) -> Step:
    if not run.both.model.training:
        both.train()
    for weight in run.weights:
        weight.grad = None
    loss, terms = _gradient(run, both, data, rows)
    if run.loader.world > 1:
        loss, terms = _mean_over_processes(loss, terms)
    run.update(loss)
    run.step += 1
    epoch, last, lr = run.loader.epoch, run.step % len(run.loader) == 0, run.optimizer.param_groups[0]["lr"]
    if last or run.step % LIMIT == 0:
        run.skips.look(run.step, f"epoch {epoch + 1}" if last else "", len(run.loader), terms, lr)
    run.schedule(loss, last)
    return Step(run.step, epoch, loss, terms, lr, last, run.total, run.skips.in_a_row, run.state)


def _gradient(
    run: _Run, both: nn.Module, data: Views, rows: Int[Tensor, "b"]
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Leaves a step's gradient in the weights, and returns its loss and terms: those of this process's rows."""
    said: list[Tensor] = []
    names: list[str] = []
    parts = run.parts(len(rows))
    for i, (places, weight) in enumerate(parts):
        with ExitStack() as how:
            if i + 1 < len(parts) and run.loader.world > 1:
                how.enter_context(both.no_sync())  # type: ignore[operator]
            if len(places) < len(rows):
                how.enter_context(share_of_batch(places, len(rows)))
            loss, terms = _loss(run, both, data, rows if len(places) == len(rows) else rows[places])
            run.backward(loss if weight == 1 else loss * weight)
        part = [x.detach() if weight == 1 else x.detach() * weight for x in (loss, *terms.values())]
        said, names = [a + b for a, b in zip(said, part)] if said else part, [*terms]
    return said[0], dict(zip(names, said[1:]))


def _loss(
    run: _Run, both: nn.Module, data: Views, rows: Int[Tensor, "b"]
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss of some rows, and what it is the sum of."""
    views = sent(data[rows], run.device)
    _seed(hash((run.seed, run.step, 1)) % 2**63, run.device)
    terms = both(run.augment(views), views, run.step)
    return torch.stack([*terms.values()]).sum(), terms


def _seed(number: int, device: torch.device) -> None:
    """What `torch.manual_seed` does, for this device; that one looks up its caller for each GPU that is not used."""
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        of = torch.get_device_module(device)
        getattr(of, "manual_seed_all", of.manual_seed)(number)


def _spread_out(both: _Both, device: torch.device, world: int, compile: Any) -> nn.Module:
    """The module as it is called: compiled, and with its gradients averaged over processes."""
    if compile is True:  # the compiler's own random numbers would be others: a seed is to mean the same
        compile = partial(torch.compile, options={"fallback_random": True})
    called: Any = compile(both) if compile else both
    called.train()
    if world == 1:
        return called
    gpu = [device] if device.type == "cuda" else None
    # A view that nobody has in a batch, or a part that this plan leaves out, has no gradient: that must not block.
    return DistributedDataParallel(called, gpu, find_unused_parameters=True)


def _near(data: Views, device: torch.device) -> Views:
    """All rows on the device, if they take less than a quarter of its free memory."""
    if device.type != "cuda":
        return data
    size = sum(x.nbytes for x in data.tensors.values())
    return data.to(device) if size < torch.cuda.mem_get_info(device)[0] / 4 else data


def _require_finite(data: Views, loader: Loader) -> None:
    """Each process looks at its part of the rows; who finds something looks at all, to say in which row it is."""
    first, last = (i * len(data) // loader.world for i in (loader.rank, loader.rank + 1))
    try:
        data[first:last].require_finite()
    except ValueError:
        data.require_finite()


def _check(
    model: nn.Module, data: Views, epochs: int, lr: float, precision: str, clip: float | None, accumulate: int
) -> None:
    if not isinstance(model, nn.Module) or not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"nothing to train: {type(model).__name__} has no parameter that takes a gradient")
    if not len(data):
        raise ValueError("no rows to train on: data is empty")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}")
    if not lr > 0:
        raise ValueError(f"lr must be above 0, got {lr}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0, or None to leave gradients as they are; got {clip}")


def agreed(number: float | int, device: torch.device) -> Any:
    """The number that the first of the processes has, on all of them.

    >>> agreed(0.5, torch.device("cpu"))
    0.5
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return number
    told = torch.tensor(number, device=device, dtype=torch.int64 if isinstance(number, int) else torch.float64)
    torch.distributed.broadcast(told, 0)
    return told.item()


def _mean_over_processes(
    loss: Float[Tensor, ""], terms: dict[str, Tensor]
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss and terms of all rows of a batch, from those of this process's rows, weighted."""
    values = torch.stack([loss, *terms.values()]) / torch.distributed.get_world_size()
    torch.distributed.all_reduce(values)
    return values[0], dict(zip(terms, values[1:]))
