"""What goes around the training loop: each thing gives every step on, and does its own work."""

from __future__ import annotations

import io
import math
import sys

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import ivekit as ive
from ivekit.training import evaluate, latents, train
from ivekit.watch import early_stopping, live_curves, losses_csv, progress, tensorboard, wandb, watch_latents

ROWS = ive.Views({"a": torch.randn(20, 3, generator=torch.Generator().manual_seed(0))})


def pair() -> tuple[nn.Module, nn.Module]:
    """A small model and an objective, the same each time."""
    torch.manual_seed(0)
    encoder, decoder = ive.nn.MLPEncoder(3, 8), ive.nn.Gaussian(ive.nn.MLPDecoder(2, 3, (8,)))
    model = ive.MultimodalVAE({"a": encoder}, ive.nn.ProductOfExperts(["a"], 8, 2), {"a": decoder})
    return model, ive.Objective(nll=ive.NLL(), kl=ive.KL())


def steps(model, objective, epochs: int = 4, **settings):
    return train(
        model, objective, ROWS, **{"batch_size": 8, "seed": 0, "lr": 1e-2, "device": "cpu"} | settings, epochs=epochs
    )


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([x.flatten() for x in model.state_dict().values()])


def test_a_bar_counts_the_steps_and_shows_the_terms():
    shown = io.StringIO()
    assert [s.step for s in progress(steps(*pair()), file=shown, mininterval=0)] == list(range(1, 13))
    last = shown.getvalue().split("\r")[-1]
    assert "12/12" in last and all(f"{name}=" in last for name in ("loss", "nll", "kl"))


def test_early_stopping_puts_the_best_weights_back():
    model, objective = pair()
    kept, scores = [], iter([3.0, 1.0, math.nan, 2.0, 0.0])

    def score() -> float:
        kept.append(weights(model))
        return next(scores)

    seen = list(early_stopping(steps(model, objective, 9), score, model, patience=2))
    assert [s.epoch for s in seen if s.last_of_epoch] == [0, 1, 2, 3]
    assert torch.equal(weights(model), kept[1]) and not torch.equal(kept[1], kept[3])
    assert not model.training


def test_a_run_that_is_given_up_keeps_its_best_weights():
    model, objective = pair()
    for step in early_stopping(steps(model, objective), lambda: 1.0, model):
        if step.step == 3:
            best = weights(model)
        if step.step == 5:
            break
    assert torch.equal(weights(model), best) and not model.training


def test_patience_is_at_least_an_epoch():
    with pytest.raises(ValueError, match="patience must be at least 1 epoch, got 0"):
        early_stopping(steps(*pair()), lambda: 0.0, patience=0)


def test_losses_are_kept_step_by_step_with_the_validation_of_every_epoch(tmp_path):
    model, objective = pair()
    found, path = [], tmp_path / "run" / "losses.csv"

    def scores() -> dict[str, float]:
        found.append(evaluate(model, objective, ROWS))
        return found[-1]

    seen = list(losses_csv(steps(model, objective), path, scores))
    table = pd.read_csv(path)
    assert list(table) == ["step", "epoch", "lr", "loss", "nll", "kl", "validation", "validation nll", "validation kl"]
    assert table["step"].tolist() == list(range(1, 13)) and table["epoch"].tolist() == [i // 3 for i in range(12)]
    assert table["loss"].tolist() == pytest.approx([float(s.loss) for s in seen], rel=1e-12)
    assert table["validation"].dropna().tolist() == pytest.approx([sum(said.values()) for said in found], rel=1e-12)
    assert table["validation kl"].notna().tolist() == [s.last_of_epoch for s in seen]


def test_losses_of_a_run_that_goes_on_are_those_of_one_that_never_stopped(tmp_path):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    for _ in losses_csv(steps(*pair()), whole):
        pass
    for step in losses_csv(steps(*pair()), cut):
        if step.step == 6:
            state = step.state()
        if step.step == 9:
            break
    with cut.open("a") as file:
        file.write("1")  # a line that was being written when the run was killed
    assert cut.read_text() != whole.read_text()
    for _ in losses_csv(steps(*pair(), start=state), cut):
        pass
    assert cut.read_text() == whole.read_text()


def test_losses_of_another_kind_are_not_mixed(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text("step,error\n1,0.5\n")
    *_, last = steps(*pair(), epochs=1)
    with pytest.raises(ValueError, match="is of another run: it has step,error"):
        list(losses_csv(steps(*pair(), start=last.state()), path))


def test_the_latents_are_watched():
    model, objective = pair()
    tables, means = [], [latents(model, ROWS)["shared"]]
    for step in watch_latents(steps(model, objective), model, ROWS, tables.append):
        if step.last_of_epoch:
            means.append(latents(model, ROWS)["shared"])
    assert [set(t["epoch"]) for t in tables] == [{0}, {1}, {2}, {3}]
    assert list(tables[0]) == ["block", "index", "kl", "variance", "active", "epoch", "drift"]
    moved = [(b - a).square().mean(0).sqrt().tolist() for a, b in zip(means, means[1:])]
    assert [t["drift"].tolist() for t in tables] == [pytest.approx(m) for m in moved]


def test_curves_are_drawn_anew_every_epoch(monkeypatch):
    shown = []

    class Handle:
        """What a notebook gives for what it shows."""

        def update(self, figure):
            shown.append(figure)

    def display(figure, display_id):
        shown.append(figure)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    assert len(list(live_curves(steps(*pair()), lambda: {"nll": 1.0}))) == 12
    assert len(shown) == 4 and all(isinstance(figure, Figure) for figure in shown)
    drawn = {line.get_label(): len(line.get_xdata()) for line in shown[-1].axes[0].get_lines()}
    assert drawn["loss"] == 12 and drawn["validation"] == 4


def a_figure() -> dict[str, Figure]:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    return {"reconstruction": figure}


def test_a_tensorboard_log_has_the_losses_and_the_figures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    seen = list(tensorboard(steps(*pair()), tmp_path, lambda: {"nll": 2.0}, a_figure))
    log = accumulator.EventAccumulator(str(tmp_path))
    log.Reload()
    assert [event.step for event in log.Scalars("loss")] == list(range(1, 13))
    assert [event.value for event in log.Scalars("nll")] == pytest.approx([float(s.terms["nll"]) for s in seen])
    assert [event.step for event in log.Scalars("validation/nll")] == [3, 6, 9, 12]
    assert [event.step for event in log.Images("reconstruction")][-1] == 12


def test_a_weights_and_biases_log_works_without_a_network(tmp_path):
    pytest.importorskip("wandb")
    settings = dict(mode="offline", dir=str(tmp_path), project="ivekit")
    assert len(list(wandb(steps(*pair()), lambda: {"nll": 2.0}, a_figure, **settings))) == 12
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert log.stat().st_size > 1000
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))


@pytest.mark.parametrize(
    ("log", "module", "says"),
    [
        (lambda: tensorboard(iter([]), "runs"), "torch.utils.tensorboard", "a TensorBoard log needs .*ivekit\\[log\\]"),
        (lambda: wandb(iter([])), "wandb", "a Weights & Biases log needs .*ivekit\\[log\\]"),
    ],
)
def test_a_log_that_cannot_be_says_what_to_install(log, module, says, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=says):
        log()
