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
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..loader import Loader
from ..noise import share_of_batch
from ..views import Views
from .state import State, copied

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Objective = Callable[..., dict[str, Tensor]]  # (out, views, step or None) -> named scalars


@dataclass(frozen=True)
class Step:
    """One step of training. Tensors stay on their device until somebody asks for their value.

    step : how many steps were done, this one among them, of `total`. lr : the learning rate it was taken with.
    state : a function that copies the run's `State`; call it before the next step.
    """

    step: int
    epoch: int
    loss: Float[Tensor, ""]
    terms: dict[str, Tensor]
    lr: float
    last_of_epoch: bool
    total: int
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
    compile: bool = False,
    seed: int | None = None,
    start: State | None = None,
) -> Iterator[Step]:
    """Trains a model in place, a step each time the next one is asked for; leaves it in evaluation mode.

    objective : ``(out, views, step)`` to named scalars, whose sum is the loss. If it is a module, it learns too.
    epochs : times all rows are seen. batch_size : rows of a step, over all processes.
    optimizer : an optimiser (its own `lr` is the one used), or a function of the parameters that makes one; AdamW
        by default. scheduler : a function of the optimiser and the number of steps, such as `cosine`.
    precision : in which the model is run: float32, bfloat16 or float16. Likelihoods and losses are float32 always.
    clip : the largest norm of the gradient; None for any. A step whose gradient is not finite changes nothing.
    augment : what the model sees of the rows; the objective scores them whole. What it draws is the same on all
        processes if it is drawn a batch, or a row by `ivekit.noise.noise`.
    plan : which subsets of the views are seen and scored, for a model that takes one.
    together : a column of the metadata, such as "trial", whose rows stay side by side in a batch, in their order.
    seed : of noise and order; None draws one. start : a `State` to go on from; its seed holds.

    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> fit = lambda out, views, step: {"error": (out - views["y"]).square().mean()}
    >>> class Line(nn.Linear):
    ...     def forward(self, views): return super().forward(views["x"])
    >>> for step in train(Line(1, 1), fit, Views({"x": x, "y": 3 * x + 1}), lr=0.1, epochs=90, seed=0): pass
    >>> step.step, step.last_of_epoch, bool(step.loss < 0.01)
    (90, True, True)
    """
    _check(model, data, epochs, lr, precision, clip)
    where = torch.device(device or best_device())
    both = _Both(model, objective, plan, PRECISIONS[precision]).to(where)
    weights = [p for p in both.parameters() if p.requires_grad]
    if not isinstance(optimizer, Optimizer):
        optimizer = (optimizer or (lambda weights: AdamW(weights, lr=lr, fused=True)))(weights)
    drawn: int = start.seed if start else agreed(int(torch.randint(2**62, ())), where) if seed is None else seed
    loader = data.require_finite().loader(batch_size, shuffle=True, sharded=True, seed=drawn, together=together)
    run = _Run(both, optimizer, loader, where, epochs * len(loader), drawn, clip, augment)
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
        device = next(iter(seen.tensors.values())).device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            out = self.model(seen) if self.plan is None else self.model(seen, self.plan)
        return self.objective(out, views if self.plan is None else self.plan.views(views), step)


class _Run:
    """What changes while a model is trained, and what was asked for."""

    scheduler: Any = None

    def __init__(self, both: _Both, optimizer: Optimizer, loader: Loader, device: torch.device, total: int,
                 seed: int, clip: float | None, augment: Callable[[Views], Views]):  # fmt: skip
        self.both, self.optimizer, self.loader, self.device = both, optimizer, loader, device
        self.total, self.seed, self.clip, self.augment = total, seed, clip, augment
        self.half = both.dtype == torch.float16
        # At a scale of 1 the scaler only looks for numbers that are not finite, and then skips the step on the device.
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**16 if self.half else 1.0)
        self.step, self.epoch_loss = 0, torch.zeros((), device=device)

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

    def update(self, loss: Float[Tensor, ""]) -> None:
        """One step down the gradient, unless that is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if self.clip is not None:
            nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update(None if self.half else 1.0)

    def schedule(self, loss: Float[Tensor, ""], last_of_epoch: bool) -> None:
        """The next step's learning rate; a plateau is one of the epochs' mean losses, the only number read here."""
        self.epoch_loss += loss
        if last_of_epoch and isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(float(self.epoch_loss) / len(self.loader))
        elif self.scheduler and not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        if last_of_epoch:
            self.epoch_loss.zero_()


def _steps(run: _Run, both: nn.Module, data: Views) -> Iterator[Step]:
    try:
        while run.step < run.total:
            run.loader.epoch, done = divmod(run.step, len(run.loader))
            for rows in run.loader.batches()[done:]:
                yield _step(run, both, data, rows)
    finally:  # also when it is interrupted or given up: the model is left fit for use
        run.both.eval()
        for weight in run.both.parameters():
            weight.grad = None


def _step(run: _Run, both: nn.Module, data: Views, rows: Int[Tensor, "b"]) -> Step:
    if not run.both.model.training:
        both.train()
    world = run.loader.world
    places = run.loader.share(torch.arange(len(rows)))
    weight = len(places) * world / len(rows)  # so that the mean over processes is the mean over rows
    places = places if len(places) else torch.tensor([0])  # who has no row takes part with weight 0
    views = data[rows[places]].to(run.device)
    torch.manual_seed(hash((run.seed, run.step, 1)) % 2**63)
    with share_of_batch(places, len(rows)) if world > 1 else nullcontext():
        terms = both(run.augment(views), views, run.step)
    loss = torch.stack([*terms.values()]).sum()
    run.update(loss * weight if world > 1 else loss)
    terms = {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}
    if world > 1:
        terms = _mean_over_processes(terms, weight)
    run.step += 1
    epoch, last = run.loader.epoch, run.step % len(run.loader) == 0
    lr, loss = run.optimizer.param_groups[0]["lr"], terms.pop("loss")
    run.schedule(loss, last)
    return Step(run.step, epoch, loss, terms, lr, last, run.total, run.state)


def _spread_out(both: _Both, device: torch.device, world: int, compile: bool) -> nn.Module:
    """The module as it is called: compiled, and with its gradients averaged over processes."""
    # The compiler's own random numbers would be others: those of PyTorch are kept, so that a seed means the same.
    called: Any = torch.compile(both, options={"fallback_random": True}) if compile else both
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


def _check(model: nn.Module, data: Views, epochs: int, lr: float, precision: str, clip: float | None) -> None:
    if not isinstance(model, nn.Module) or not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"nothing to train: {type(model).__name__} has no parameter that takes a gradient")
    if not len(data):
        raise ValueError("no rows to train on: data is empty")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
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


def _mean_over_processes(terms: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """The terms of all rows of a batch, from those of this process's rows."""
    values = torch.stack([*terms.values()]) * weight / torch.distributed.get_world_size()
    torch.distributed.all_reduce(values)
    return dict(zip(terms, values))
