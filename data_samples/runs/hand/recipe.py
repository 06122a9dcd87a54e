"""Which state a brain is in, told from MEG by networks whose filters and attention can be read."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import AdamW

import ivekit as ive
from ivekit import io, synth
from ivekit import nn as parts
from ivekit.objectives import ByClass, balanced
from ivekit.training import one_cycle


def data(
    data: str = "states", array: str = "neuromag306", n_trials: int = 100, n_subjects: int = 6, evoked: float = 0.5,
    rhythm: float = 0.5, seed: int = 0,
) -> Any:  # fmt: skip
    """Rows of MEG and their labels.

    data : states (simulated), hand_movement (of IVEKIT_DATA), or a folder of files {task}_{subject}_{chunk}.h5
    array : of the simulated world; neuromag306, neuromag102, magnes248, ctf275 or ctf151
    n_trials : of each simulated subject
    n_subjects : of the simulated world
    evoked : size of the simulated states' slow fields, in standard deviations of the noise
    rhythm : size of their rhythms, which no linear decoder sees
    """
    if data == "states":
        return synth.states(n_trials, n_subjects, array, evoked, rhythm, seed)
    if data == "hand_movement":
        views = io.read_hand_movement(seed=seed)
        label, moves = views["behaviour"].argmax(1), views.about["behaviour"]["columns"]
        about = {"meg": views.about["meg"], "label": {"classes": moves}}
        return ive.Views({"meg": views["meg"], "label": label}, None, views.metadata, about)
    if Path(data).is_dir():
        return io.read_h5(data)
    raise ValueError(f"data is one of states, hand_movement, or a folder of .h5 files; got {data!r}")


def model(
    data: ive.Views, encoder: str = "lfcnn", members: int = 3, dim: int = 32, highest: float | None = None,
    standardise: str = "whiten", dropout: float = 0.5, noise: float = 0.5, drop: float = 0.0, shift: int = 0,
) -> ive.Conditional:  # fmt: skip
    """Standardised sensors, made slow and jittered, through one of ten networks to class probabilities.

    encoder : lfcnn, varcnn, eegnet, shallow, gru, bigru, lstm (the recurrent ones with attention over time), vivit,
        factorised (sensors on a grid), or linear
    members : networks trained side by side whose probabilities are averaged
    dim : width of a network; 96 makes the transformers of half a million parameters
    highest : Hz above which the signal is left out; null keeps all
    standardise : whiten (sensors, then samples) or zscore (each sensor)
    dropout : part of what a network says that is silenced in training
    noise : standard deviation of white noise added in training, in standardised units
    drop : part of the sensors silenced in training
    shift : samples by which a row is moved in training at most
    """
    (n_chans, n_times), sensors = data["meg"].shape[1:], data.about["meg"]
    transforms = {"whiten": ive.Whiten(int((sensors.times(n_times) < 0).sum()) or None), "zscore": ive.ZScore()}
    for said, known in ((encoder, ENCODERS), (standardise, transforms)):
        if said not in known:
            raise ValueError(f"one of {', '.join(known)} is needed, got {said!r}")
    slow, n_out = _slow(n_times, sensors.sfreq, highest)
    nets = [ENCODERS[encoder](sensors, n_chans, n_out, dim, dropout) for _ in range(members)]
    return ive.Conditional(
        {"meg": nn.Sequential(slow, parts.Jitter(noise, drop, shift), parts.SideBySide(nets))},
        {"label": parts.Committee([nn.Linear(dim, len(_classes(data))) for _ in nets])},
        standardise=ive.Standardise.fit(data, meg=transforms[standardise]),
    )


def _classes(data: ive.Views) -> list[str]:
    """What the labels mean; a model is made from it when there are no rows, too."""
    if not (known := (data.about.get("label") or {}).get("classes")):
        raise ValueError('what the labels are must be known: about["label"] = {"classes": [a name for each number]}')
    return known


def _slow(n_times: int, sfreq: float, highest: float | None) -> tuple[nn.Module, int]:
    """What leaves fast waves out, and the samples that are left: four a period of the fastest that stays."""
    if highest is None:
        return nn.Identity(), n_times
    n_basis = int(2 * highest * n_times / sfreq) + 1
    n_out = min(n_times, 2 * n_basis)
    return parts.LowPass(n_times, n_basis, n_out), n_out


def _in_order(net: nn.Module, n_tokens: int, dim: int, dropout: float = 0.0) -> nn.Module:
    """One token that keeps the order of time."""
    return parts.Flat(nn.Sequential(net, parts.Dropout(dropout)), n_tokens, dim)


def _lfcnn(kind: Any, sensors: Any, c: int, t: int, dim: int, dropout: float) -> nn.Module:
    return _in_order(kind(c, dim, dropout=dropout), math.ceil(t / 2), dim)


def _eegnet(sensors: Any, c: int, t: int, dim: int, dropout: float) -> nn.Module:
    return _in_order(parts.EEGNet(c, dim, dropout=dropout), math.ceil(math.ceil(t / 4) / 8), dim)


def _shallow(sensors: Any, c: int, t: int, dim: int, dropout: float) -> nn.Module:
    net = parts.ShallowNet(c, dim, dropout=dropout)
    return _in_order(net, math.ceil((t - min(38, t)) / min(8, t)) + 1, dim)


def _recurrent(net: Any, sensors: Any, c: int, t: int, dim: int, dropout: float) -> nn.Module:
    return nn.Sequential(net(c, dim), parts.Dropout(dropout), parts.Summary(dim))


def _vivit(kind: Any, sensors: Any, c: int, t: int, dim: int, dropout: float) -> nn.Module:
    side = 3 * math.ceil(c**0.5 / 3)  # tubelets of 3 x 3 sensors
    moment = max(n for n in range(1, t // 5 + 1) if t % n == 0)  # samples: five moments, or a few more
    net = kind((1, t, side, side), (moment, 3, 3), dim)
    grid = parts.SensorGrid(sensors.cells((side, side)), (side, side), net)
    return nn.Sequential(grid, parts.Dropout(dropout), parts.Summary(dim))


def _linear(sensors: Any, c: int, t: int, dim: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Flatten(), parts.Dropout(dropout), nn.Linear(c * t, dim), nn.Unflatten(1, (1, dim)))


ENCODERS = {
    "lfcnn": partial(_lfcnn, parts.LFCNN),
    "varcnn": partial(_lfcnn, parts.VARCNN),
    "eegnet": _eegnet,
    "shallow": _shallow,
    "gru": partial(_recurrent, partial(parts.GRUEncoder, directions=1)),
    "bigru": partial(_recurrent, parts.GRUEncoder),
    "lstm": partial(_recurrent, parts.LSTMEncoder),
    "vivit": partial(_vivit, partial(parts.ViViT, depth=6)),
    "factorised": partial(_vivit, partial(parts.FactorisedViViT, depth=(3, 3))),
    "linear": _linear,
}


def objective(data: ive.Views, classes: str = "even") -> ive.Objective:
    """The log-probability of the right class.

    classes : even, every row counts alike; or balanced, every class does
    """
    if classes not in ("even", "balanced"):
        raise ValueError(f"classes is even or balanced, got {classes!r}")
    nll = ive.NLL()
    return ive.Objective(nll=nll if classes == "even" else ByClass(nll, "label", balanced(data["label"])))


def training(
    epochs: int = 40, batch_size: int = 32, lr: float = 3e-3, decay: float = 0.1, clip: float = 10.0
) -> dict[str, Any]:
    """AdamW and one cycle.

    decay : weight decay, by which weights shrink at each step in units of the learning rate
    clip : largest norm of the gradient
    """
    optimizer = partial(AdamW, lr=lr, weight_decay=decay)
    return dict(
        optimizer=optimizer, scheduler=partial(one_cycle, warmup=0.3), epochs=epochs, batch_size=batch_size, lr=lr,
        clip=clip,
    )  # fmt: skip
