"""Training: exact, resumable, the same on one process or two, and refusing what cannot work."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

import ivekit as ive
from ivekit import plans
from ivekit.distributions import Delta, Normal
from ivekit.models import Outputs
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.training import (
    State,
    collapse,
    cosine,
    evaluate,
    latents,
    log_evidence,
    one_cycle,
    plateau,
    read_tensors,
    step_decay,
    train,
    write_tensors,
)

HERE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
PLAN = plans.dmvae(["a", "b"])


class Weighed(nn.Module):
    """A term that learns how much it weighs (Kendall et al., 2018)."""

    def __init__(self, term):
        super().__init__()
        self.term, self.log = term, nn.Parameter(torch.zeros(()))

    def forward(self, out, views, step):
        return self.log.exp() * self.term(out, views, step) - 10 * self.log


def rows(n: int = 37, seed: int = 0) -> ive.Views:
    """Two views of one number, the second missing in some rows."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 1, generator=random)
    a = torch.cat([z, -z, z], 1) + 0.3 * torch.randn(n, 3, generator=random)
    return ive.Views({"a": a, "b": torch.sin(z)}, {"b": torch.rand(n, generator=random) > 0.2})


def pair() -> tuple[ive.MultimodalVAE, ive.Objective]:
    """A small model and an objective, the same each time; both have parameters."""
    torch.manual_seed(0)
    scale = nn.Parameter(torch.zeros(()))
    model = ive.MultimodalVAE(
        encoders={"a": MLPEncoder(3, 8), "b": MLPEncoder(1, 8)},
        posterior=ProductOfExperts(["a", "b"], 8, 2),
        decoders={"a": Gaussian(MLPDecoder(3, 3, (8,)), scale), "b": Gaussian(MLPDecoder(2, 1, (8,)))},
        private={"a": ProductOfExperts(["a"], 8, 1)},
    )
    return model, ive.Objective(nll=Weighed(ive.NLL()), kl=ive.KL(beta=ive.Linear(0.0, 1.0, 15)))


SETTINGS = dict(epochs=5, batch_size=12, plan=PLAN, seed=3, lr=1e-2, device="cpu")


def losses(**settings) -> list[float]:
    model, objective = pair()
    return [float(step.loss) for step in train(model, objective, rows(), **SETTINGS | settings)]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# determinism -------------------------------------------------------------------------------------------------


def test_a_seed_reproduces_a_run_and_another_gives_another():
    assert losses() == losses()
    assert losses() != losses(seed=4)


def test_without_a_seed_one_is_drawn_from_the_global_generator():
    def seed_drawn_after(global_seed: int) -> int:
        model, objective = pair()
        torch.manual_seed(global_seed)
        return next(train(model, objective, rows(), **SETTINGS | {"seed": None})).state().seed

    assert seed_drawn_after(0) == seed_drawn_after(0) != seed_drawn_after(1)


def test_the_loss_falls_and_steps_are_counted():
    model, objective = pair()
    before = sum(evaluate(model, objective, rows()).values())
    steps = list(train(model, objective, rows(), **SETTINGS | {"epochs": 30}))
    assert sum(evaluate(model, objective, rows()).values()) < before - 0.5
    assert [s.step for s in steps] == list(range(1, 121)) and {s.total for s in steps} == {120}
    assert [s.epoch for s in steps] == [i // 4 for i in range(120)]
    assert [s.last_of_epoch for s in steps] == [i % 4 == 3 for i in range(120)]
    assert all(torch.isclose(s.loss, sum(s.terms.values())) for s in steps)


OPTIMIZERS = {
    "adamw and cosine": dict(scheduler=partial(cosine, warmup=0.2)),
    "momentum and plateau": dict(
        optimizer=partial(torch.optim.SGD, lr=1e-3, momentum=0.9), scheduler=partial(plateau, patience=0)
    ),
    "half precision": dict(precision="float16", scheduler=one_cycle),
}


@pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 4, 6, 19])
def test_a_run_goes_on_from_any_step_as_if_it_had_not_stopped(settings, at, tmp_path):
    whole = pair()
    expected = [step.loss for step in train(*whole, rows(), **SETTINGS | settings)]
    begun = train(*pair(), rows(), **SETTINGS | settings)
    for _ in range(at):
        state = next(begun).state()
    next(begun)  # and what was copied must not move with it
    state.save(tmp_path)
    resumed, again = pair(), {"seed": None, "start": State.open(tmp_path)}
    rest = [step.loss for step in train(*resumed, rows(), **SETTINGS | settings | again)]
    assert torch.equal(torch.stack(rest), torch.stack(expected[at:]))
    assert same(whole[0].state_dict(), resumed[0].state_dict()) and same(whole[1].state_dict(), resumed[1].state_dict())


def killed(folder: str) -> None:
    """Trains slowly, keeping its state at every step, until somebody stops it."""
    for step in train(*pair(), rows(), **SETTINGS | {"scheduler": cosine}):
        step.state().save(folder)
        time.sleep(0.2)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    call = [sys.executable, "-c", f"import test_training; test_training.killed({str(tmp_path)!r})"]
    child = subprocess.Popen(call, env=os.environ | HERE)
    while not (tmp_path / "state.safetensors").exists():
        assert child.poll() is None, "the run ended before it kept a state"
        time.sleep(0.01)
    time.sleep(float(torch.rand(())) * 2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    start = State.open(tmp_path)
    assert 1 <= start.step < 20, "killed too late to mean anything"
    whole, resumed = pair(), pair()
    expected = [step.loss for step in train(*whole, rows(), **SETTINGS | {"scheduler": cosine})]
    rest = [step.loss for step in train(*resumed, rows(), **SETTINGS | {"scheduler": cosine, "start": start})]
    assert torch.equal(torch.stack(rest), torch.stack(expected[start.step :]))
    assert same(whole[0].state_dict(), resumed[0].state_dict())


@pytest.mark.parametrize("parts", [2, 5, 100])
def test_a_step_in_parts_is_the_step_of_all_rows(parts):
    kept = []
    for settings in ({}, {"accumulate": parts, "augment": watched(seen := [])}):
        model, objective = pair()
        steps = list(train(model, objective, rows(36), **SETTINGS | settings))
        said = {name: torch.stack([step.terms[name] for step in steps]) for name in ("nll", "kl")}
        kept.append(said | {"loss": torch.stack([step.loss for step in steps])} | model.state_dict())
    assert max(seen) == -(-12 // parts) and sum(seen) == 36 * 5 and len(kept[0]["loss"]) == 15
    for name, values in kept[0].items():
        torch.testing.assert_close(kept[1][name], values, rtol=1e-4, atol=1e-6)


def watched(seen: list[int]):
    """An augmentation that changes nothing, and notes of how many rows."""

    def note(views):
        seen.append(len(views))
        return views

    return note


UNEVEN = dict(epochs=4, batch_size=7)  # of 36 rows: shares of 4 and 3, and of the last batch 1 and none


def one_of_two(rank: int, folder: str) -> None:
    """A process of two that train together, in parts; keeps its losses and the weights it ends with."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model, objective = pair()
    with torch.no_grad():  # the processes need not begin alike: the first one's weights count
        next(model.parameters()).add_(rank)
    steps = list(train(model, objective, rows(36), **SETTINGS | UNEVEN, accumulate=3))
    loss, nll = torch.stack([s.loss for s in steps]), torch.stack([s.terms["nll"] for s in steps])
    write_tensors(f"{folder}/{rank}.safetensors", {"loss": loss, "nll": nll} | model.state_dict())
    torch.distributed.destroy_process_group()


def test_two_processes_train_as_one(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    model, objective = pair()
    steps = list(train(model, objective, rows(36), **SETTINGS | UNEVEN))
    alone = {"loss": torch.stack([s.loss for s in steps]), "nll": torch.stack([s.terms["nll"] for s in steps])}
    first, second = (read_tensors(tmp_path / f"{rank}.safetensors")[0] for rank in (0, 1))
    assert len(alone["loss"]) == 24
    assert same(first, second)
    for name, values in (alone | model.state_dict()).items():
        torch.testing.assert_close(first[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [plans.mvae, plans.mvtcae, plans.dmvae], ids=["mvae", "mvtcae", "dmvae"])
def test_a_view_is_decoded_only_for_the_subsets_that_are_scored_on_it(make):
    model, objective = pair()
    plan, data, rows_decoded = make(["a", "b"]), rows(), []
    model.decoders["b"].register_forward_hook(lambda net, given, out: rows_decoded.append(len(given[0])))
    grown = {"whole": lambda: model.decode(z), "some": lambda: {n: model._scored(n, z, plan) for n in model.decoders}}
    z = {block: q.mean for block, q in model(data, plan).q.items()}
    kept = []
    for told in grown.values():
        out = Outputs(model(data, plan).q, z, told())
        terms = objective(out, plan.views(data), 5)
        grads = torch.autograd.grad(sum(terms.values()), list(model.decoders.parameters()))
        kept.append([*terms.values(), *grads])
    for whole, some in zip(*kept):
        torch.testing.assert_close(whole, some)
    assert rows_decoded[-1] == len(plan.told("b")) * len(data) and kept[0][-1].abs().sum() > 0
    assert len(plan.told("b")) == {"mvae": 2, "mvtcae": 1, "dmvae": 3}[make.__name__]


# precision, schedules, interruptions -------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_scores_as_float32_does(precision):
    scores = []
    for kind in ("float32", precision):
        torch.manual_seed(0)
        model = ive.MultimodalVAE(
            encoders={"a": MLPEncoder(3, 16), "b": MLPEncoder(1, 16)},
            posterior=ProductOfExperts(["a", "b"], 16, 2),
            decoders={"a": Gaussian(MLPDecoder(2, 3, (16,)), 0.5), "b": Gaussian(MLPDecoder(2, 1, (16,)), 0.5)},
        )
        objective = ive.Objective(nll=ive.NLL(), kl=ive.KL())
        settings = dict(epochs=12, batch_size=24, seed=4, precision=kind, scheduler=cosine)
        for step in train(model, objective, rows(200), **SETTINGS | settings):
            assert step.loss.dtype == torch.float32
        scores.append(sum(evaluate(model, objective, rows(200, seed=1)).values()))
    assert scores[0] < 3.5 and abs(scores[1] / scores[0] - 1) < 0.02


@pytest.mark.parametrize(
    ("scheduler", "first", "last"),
    [
        (cosine, 1.0, 0.0),
        (partial(cosine, warmup=0.25, end=0.2), 0.01, 0.2),
        (step_decay, 1.0, 0.01),
        (one_cycle, 0.04, 1e-4),
    ],
)
def test_a_schedule_ends_where_it_should(scheduler, first, last):
    model, objective = pair()
    rates = [s.lr / 1e-2 for s in train(model, objective, rows(), **SETTINGS | {"scheduler": scheduler, "epochs": 10})]
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(first) and max(rates) == pytest.approx(1, abs=0.02)
    assert all(a <= b for a, b in zip(rates[:peak], rates[1 : peak + 1]))
    assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :]))  # it never climbs back
    assert rates[-1] == pytest.approx(last, abs=0.01)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = scheduler(optimizer, 10)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([last])


def test_a_plateau_is_one_of_the_epochs_mean_losses():
    height = iter([3.0, 5.0, 2.0, 4.0, 3.0, 3.0, 1.0, 5.0])  # two steps an epoch: means 4, 3, 3, 3
    model = nn.Linear(1, 1)

    def objective(out, views, step):
        return {"height": next(height) + 0 * model.weight.sum()}

    data, scheduler = ive.Views({"a": torch.ones(2)}), partial(plateau, patience=0, factor=0.1)
    steps = train(Wrapped(model), objective, data, epochs=4, batch_size=1, lr=1.0, scheduler=scheduler, device="cpu")
    assert [step.lr for step in steps] == pytest.approx([1, 1, 1, 1, 1, 1, 0.1, 0.1])


class Wrapped(nn.Module):
    """Any module as a model of views, that looks at none."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, views):
        return None


def test_an_interrupt_leaves_a_model_fit_for_use():
    model, objective = pair()

    def interrupted(views):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(views)
        return views

    seen: list = []
    with pytest.raises(KeyboardInterrupt):
        list(train(model, objective, rows(), **SETTINGS | {"augment": interrupted}))
    assert not model.training and not objective.training and all(p.grad is None for p in model.parameters())
    assert math.isfinite(sum(evaluate(model, objective, rows()).values()))


def test_giving_up_leaves_a_model_fit_for_use():
    model, objective = pair()
    for step in train(model, objective, rows(), **SETTINGS):
        assert model.training
        if step.step == 2:
            break
    assert not model.training


class Normed(nn.Module):
    """A model that keeps running means."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.net = nn.BatchNorm1d(3), nn.Linear(3, 3)

    def forward(self, views):
        return self.net(self.norm(views["a"]))


def exploding(at):
    """An objective that is not a number, or whose gradient alone is not, at some steps."""

    def error(out, views, step):
        off = (out - views["a"]).square().mean()
        nothing = (out - out.detach()).abs().sum() if step % 2 else 0.0  # 0, and so is the root; its slope is not
        return {"off": off, "root": nothing**0.5 if step in at and step % 2 else off * (torch.inf if step in at else 1)}

    return error


PRECISE = {
    "float32": {},
    "float16": {"precision": "float16"},
    "unclipped": {"clip": None},
    "in parts": {"accumulate": 2},
}
PRECISE["own optimiser"] = {"optimizer": partial(torch.optim.RMSprop, lr=1e-3), "scheduler": cosine}


@pytest.mark.parametrize("settings", PRECISE.values(), ids=PRECISE)
def test_a_step_whose_loss_or_gradient_is_not_finite_changes_nothing(settings):
    model, at, skipped = Normed(), (0, 4, 5, 6, 11), []
    settings = dict(epochs=4, batch_size=12, seed=3, device="cpu") | settings
    before = {name: x.clone() for name, x in model.state_dict().items()}
    for step in train(model, exploding(at), rows(40), **settings):
        after = {name: x.clone() for name, x in model.state_dict().items()}
        skipped.append(int(step.skipped))
        assert same(before, after) == (skipped[-1] > 0)
        before = after
    assert all(skipped[i] for i in at) and skipped.count(0) > 5
    assert before["norm.num_batches_tracked"] == skipped.count(0) * settings.get("accumulate", 1)
    assert all(x.isfinite().all() for x in before.values())
    if "precision" not in settings:  # half precision skips steps of its own, to find its scale
        assert skipped == [1, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_how_many_steps_were_skipped_is_said_when_an_epoch_ends(caplog):
    for _ in train(Normed(), exploding((4, 5, 14)), rows(40), epochs=4, batch_size=12, seed=3, device="cpu"):
        pass
    assert [(r.name, r.message.partition(":")[0]) for r in caplog.records] == [
        ("ivekit.training", f"epoch {i}") for i in (2, 4)
    ]
    assert "2 of 4 steps changed nothing" in caplog.text and "1 of 4 steps" in caplog.text


ENDS = [(30, 57, "not finite: root"), (3000, 100, "every term is finite")]  # 3 steps an epoch, or 250


@pytest.mark.parametrize(("n", "ends", "what"), ENDS)
def test_a_loss_that_stays_infinite_ends_the_run_with_the_last_good_weights(n, ends, what):
    model, good = Normed(), {}
    steps = train(model, exploding(range(6, 200)), rows(n), epochs=50, batch_size=12, seed=3, lr=0.01, device="cpu")
    says = rf"step {ends}: the last {ends - 6} .*{what}.* of step 6, .*0.01"
    with pytest.raises(FloatingPointError, match=says):
        for step in steps:
            good = {name: x.clone() for name, x in model.state_dict().items()} if step.step == 6 else good
    assert same(model.state_dict(), good) and not model.training


def test_a_term_that_learns_is_trained_and_kept():
    model, objective = pair()
    before = objective.learned["nll"].log.item()
    *_, step = train(model, objective, rows(), **SETTINGS)
    assert abs(objective.learned["nll"].log.item() - before) > 0.01
    assert torch.equal(step.state().objective["learned.nll.log"], objective.learned["nll"].log)


def test_augment_is_what_the_model_sees_and_the_objective_scores_the_whole():
    model, objective = pair()
    seen, scored = [], []

    def looks(out, views, step):
        scored.append(views)
        return objective(out, views, step)

    def drop(views):
        seen.append(views.without("a"))
        return seen[-1]

    next(train(model, looks, rows(), **SETTINGS | {"augment": drop, "plan": None}))
    assert not seen[0].present["a"].any() and scored[0].present["a"].all()


def test_only_the_optimiser_s_parameters_are_trained():
    model, objective = pair()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    some = torch.optim.SGD(model.posterior.parameters(), 0.1)
    for _ in train(model, objective, rows(), **SETTINGS | {"optimizer": some}):
        pass
    moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    assert moved and all(name.startswith("posterior") for name in moved)


class Noisy(nn.Module):
    """A model that samples, of one layer: what a compiler is quick with."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 3)

    def forward(self, views):
        return self.net(views["a"]) + torch.randn_like(views["a"])


def compiled_is_the_same() -> None:
    """Run where shapes are not checked: the checks cannot be compiled."""

    def error(out, views, step):
        return {"error": (out - views["a"]).square().mean()}

    settings = dict(batch_size=20, seed=0, epochs=2, device="cpu")
    kinds = (train(Noisy(), error, rows(40), compile=compiled, **settings) for compiled in (False, True))
    a, b = (torch.stack([step.loss for step in steps]) for steps in kinds)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler, and there is no g++ here")
def test_a_compiled_model_learns_the_same():
    call = [sys.executable, "-c", "import test_training; test_training.compiled_is_the_same()"]
    done = subprocess.run(call, env=os.environ | HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# what is wrong is said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"precision": "float8"}, "precision must be one of float32, bfloat16, float16; got 'float8'"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_first_step(settings, says):
    with pytest.raises(ValueError, match=says):
        train(*pair(), rows(), **SETTINGS | settings)


def test_wrong_data_are_refused():
    with pytest.raises(ValueError, match="no rows to train on"):
        train(*pair(), rows()[:0])
    with pytest.raises(ValueError, match="'a' holds 3 values that are not a finite number, first in row 5"):
        bad = rows()
        bad["a"][5] = torch.nan
        train(*pair(), bad)
    with pytest.raises(ValueError, match="no rows to look at"):
        evaluate(*pair(), rows()[:0])


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="Identity has no parameter"):
        train(nn.Identity(), pair()[1], rows())


def test_a_state_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        State.open(tmp_path)
    next(train(*pair(), rows(), **SETTINGS)).state().save(tmp_path)
    file = tmp_path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is cut or not a safetensors file"):
        State.open(tmp_path)
    write_tensors(file, {"a": torch.ones(1)})
    with pytest.raises(ValueError, match="not the state of a run"):
        State.open(tmp_path)


# what a trained model says -----------------------------------------------------------------------------------


def test_evaluate_is_the_mean_over_rows_at_the_end_of_the_schedules():
    model, objective = pair()
    data = rows()
    model.eval()
    with torch.no_grad():
        out = model(data)
        nll, kl = (objective.terms[name](out, data, None).mean() for name in ("nll", "kl"))
    found = evaluate(model, objective, data, batch_size=7)
    assert found == pytest.approx({"nll": float(nll), "kl": float(kl)}, rel=1e-5)
    assert float(ive.KL(beta=ive.Linear(0.0, 1.0, 15))(out, data, 0).mean()) == 0 != float(kl)


def test_looking_leaves_everything_as_it_was():
    model, objective = pair()
    model.train()
    model.posterior.eval()  # a part that somebody holds still stays so
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    for look in (partial(evaluate, model, objective), partial(latents, model), partial(log_evidence, model)):
        look(rows())
        assert model.training and model.encoders.training and not model.posterior.training
    assert torch.equal(torch.rand(3), expected)


def test_latents_are_the_posterior_means():
    model, _ = pair()
    found, q = latents(model, rows(), batch_size=10), model.eval().encode(rows())
    assert list(found) == ["shared", "a"]
    torch.testing.assert_close(found["shared"], q["shared"].mean)


class Linear(nn.Module):
    """x = w z + noise of variance s2: its posterior and evidence are known (Roweis & Ghahramani, 1999)."""

    w, s2 = torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]]), 0.5

    def __init__(self, wrong: float = 0.0):
        super().__init__()
        self.wrong = wrong

    def encode(self, views):
        precision = torch.eye(2) + self.w.mT @ self.w / self.s2
        mean = views["x"] @ self.w @ precision.inverse() / self.s2
        return {"shared": Diagonal(mean, precision)} if not self.wrong else {"shared": Normal(mean, self.wrong)}

    def decode(self, z):
        return {"x": Normal(z["shared"] @ self.w.mT, self.s2**0.5)}

    def evidence(self, x):
        return MultivariateNormal(torch.zeros(3), self.w @ self.w.mT + self.s2 * torch.eye(3)).log_prob(x)


class Diagonal(Normal):
    """A normal belief with correlated latents."""

    def __init__(self, mean, precision):
        super().__init__(mean, 1.0)
        self.full = MultivariateNormal(mean, precision_matrix=precision)

    def log_prob(self, x, mask=None):
        return self.full.log_prob(x)

    def sample(self, sample_shape=()):
        return self.full.sample()


def test_evidence_is_exact_under_the_true_posterior_and_rises_towards_it_under_another():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) @ Linear.w @ Linear.w.mT
    data, truth = ive.Views({"x": x}), Linear().evidence(x)
    torch.testing.assert_close(log_evidence(Linear(), data, n_samples=1).float(), truth, rtol=1e-4, atol=1e-4)
    few, many = (float((log_evidence(Linear(wrong=1.0), data, k) - truth).mean()) for k in (1, 300))
    assert few < many - 0.5 and abs(many) < 0.1


def test_a_point_has_no_evidence():
    class Points(Linear):
        def encode(self, views):
            return {"shared": Delta(views["x"][:, :2])}

    with pytest.raises(ValueError, match="'shared'.* are points"):
        log_evidence(Points(), ive.Views({"x": torch.zeros(2, 3)}))


def test_evidence_of_a_conditional_model_is_refused():
    model = Linear()
    model.condition = ("coordinates",)
    with pytest.raises(ValueError, match=r"this model is of p\(x \| coordinates\)"):
        log_evidence(model, ive.Views({"x": torch.zeros(2, 3)}))


def test_a_collapsed_latent_is_seen():
    class Half(nn.Module):
        """One latent that knows, one that is the prior."""

        def encode(self, views):
            mean = torch.cat([views["x"], torch.zeros_like(views["x"])], 1)
            return {"shared": Normal(mean, torch.tensor([0.5, 1.0]))}

        def forward(self, views):
            return Outputs(self.encode(views), {}, {})

    x = torch.tensor([[-1.0], [1.0], [1.0]])
    expected = pd.DataFrame(
        {
            "block": ["shared", "shared"],
            "index": [0, 1],
            "kl": [0.5 * (0.25 + 1 - 1 + 2 * math.log(2)), 0.0],
            "variance": [8 / 9, 0.0],
            "active": [True, False],
        }
    )
    pd.testing.assert_frame_equal(collapse(Half(), ive.Views({"x": x}), batch_size=2), expected)
