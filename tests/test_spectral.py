"""Errors of signals as shares, in time and in frequency; what a shift in time costs; weights that are learned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ivekit import Objective, Views, train
from ivekit.distributions import Normal
from ivekit.models import Outputs
from ivekit.objectives import Resolutions, Spectral, Uncertain, Waveform, WithPhase, amplitude, samples

SFREQ, T = 30, 240
FEATURES = [samples, amplitude, WithPhase(), WithPhase(1.0), Resolutions()]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def called(thing: object) -> str:
    """A name that is the same in every process."""
    return getattr(thing, "__name__", str(thing))


def rows(b: int = 40) -> Views:
    """Two signals of very different units and means, one of two channels."""
    scale = torch.tensor([1e-3, 30.0])[:, None]
    return Views({"ecg": 0.01 + scale[:1] * noise(b, 1, T), "acc": 9.8 + scale * noise(b, 2, T, seed=1)})


def said(**mean: torch.Tensor) -> Outputs:
    return Outputs({}, {}, {name: Normal(x, 1.0) for name, x in mean.items()})


def constant(v: Views) -> Outputs:
    return said(**{n: x.mean((0, 2), keepdim=True).expand_as(x) for n, x in v.items()})


@pytest.mark.parametrize("features", FEATURES, ids=called)
def test_a_weight_is_a_share(features):
    """The training mean loses the weight itself, the truth nothing, whatever the units, channels and transform."""
    v, term = rows(), Spectral(rows(), 0.3, features)
    assert term(constant(v), v, None).mean().item() == pytest.approx(0.3, rel=1e-3)
    assert term(said(**v.tensors), v, None).abs().max() < 1e-6
    half = said(**{n: x.mean((0, 2), keepdim=True) + 0.5 * (x - x.mean((0, 2), keepdim=True)) for n, x in v.items()})
    if features is not FEATURES[2]:
        assert term(half, v, None).mean().item() == pytest.approx(0.075, rel=0.01)


def test_the_time_domain_error_is_the_mean_squared_error_of_standardised_signals():
    v, guess = rows(), said(ecg=0.01 + 1e-3 * noise(40, 1, T, seed=7), acc=rows()["acc"])
    sd = v["ecg"].std(correction=0)
    expected = ((v["ecg"] - guess.p["ecg"].mean) / sd).square().mean((1, 2)) / 2
    torch.testing.assert_close(Waveform(v)(guess, v, None), expected, rtol=1e-4, atol=1e-5)


def test_parseval():
    """All amplitudes with their phases, uncompressed, are the samples again."""
    v, late = rows(), said(**{n: x.roll(5, -1) for n, x in rows().items()})
    torch.testing.assert_close(
        Spectral(v, features=WithPhase(1.0))(late, v, None), Waveform(v)(late, v, None), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("features", "free"),
    [(amplitude, True), (WithPhase(), False), (Resolutions(), False), (samples, False)],
    ids=called,
)
def test_a_shift_of_two_seconds_costs_something_unless_phase_is_forgotten(features, free):
    """A beat that comes 2 s late. The amplitudes of the whole window are blind to it; that is what others are for."""
    t = torch.arange(T) / SFREQ
    beat = torch.exp(-0.5 * ((t - torch.linspace(2, 5, 40)[:, None, None]) / 0.1) ** 2)
    v = Views({"ecg": beat})
    cost = Spectral(v, features=features)(said(ecg=beat.roll(2 * SFREQ, -1)), v, None)
    assert (cost.max() < 1e-4) if free else (cost.min() > 0.3)


def test_what_is_masked_or_absent_costs_nothing_and_has_no_gradient():
    v = rows()
    holes = torch.ones_like(v["ecg"], dtype=torch.bool)
    holes[:, :, 50:90] = False
    gone = torch.arange(40) > 20
    for features in FEATURES:
        term, results = Spectral(v, features=features), []
        for garbage in (0.0, 1e6, torch.nan):
            spoilt = v.replace(ecg=torch.where(holes, v["ecg"], garbage)).masked(ecg=holes, acc=gone)
            guess = noise(40, 1, T, seed=3).requires_grad_()
            loss = term(said(ecg=guess, acc=v["acc"] + 100), spoilt, None)
            loss.sum().backward()
            assert loss.isfinite().all() and (guess.grad[:, :, 50:90] == 0).all() and (guess.grad != 0).any()
            results.append(loss.detach())
        assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_silence_has_a_gradient():
    v = rows()
    for features in FEATURES:
        quiet = v["ecg"].mean().expand(40, 1, T).clone().requires_grad_()
        Spectral(v, features=features)(said(ecg=quiet), v, None).sum().backward()
        assert quiet.grad.isfinite().all()


def test_resolutions_name_what_does_not_fit():
    with pytest.raises(ValueError, match=r"windows of \(16, 300\) samples must be 4 to the signal's 240"):
        Spectral(rows(), features=Resolutions((16, 300)))
    with pytest.raises(ValueError, match=r"signals are views of shape .*'rt': \(5, 1\)"):
        Waveform(Views({"rt": torch.zeros(5, 1)}))


class Guess(nn.Module):
    """Says what it has learnt by heart, of a signal that it can tell and one that is noise."""

    def __init__(self, t: int = 20):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1, 1, t))

    def forward(self, views: Views) -> Outputs:
        shape = views["easy"].shape
        return Outputs({}, {}, {n: Normal(self.level.expand(shape), 1.0) for n in ("easy", "hard")})


def test_training_changes_uncertain_weights_to_one_over_the_error():
    """Of two terms alike in form, the one that cannot become small is weighed down, the other up."""
    v = Views({"easy": torch.ones(64, 1, 20) + 0.1 * noise(64, 1, 20), "hard": 1 + 2.0 * noise(64, 1, 20, seed=1)})

    def error(name):
        return lambda out, views, step: (out.p[name].mean - views[name]).square().mean((1, 2))

    terms = {name: Uncertain(error(name)) for name in ("easy", "hard")}
    model, objective = Guess(), Objective(**terms)
    before = {name: term.weight.item() for name, term in terms.items()}
    for _ in train(model, objective, v, epochs=400, lr=0.01, batch_size=64, seed=0, device="cpu"):
        pass
    assert before == {"easy": 0.5, "hard": 0.5}
    assert terms["easy"].weight > 10 and terms["hard"].weight < 0.15
    out = model(v)
    for name, term in terms.items():
        floor = error(name)(out, v, None).mean()
        assert term.weight.item() == pytest.approx(0.5 / floor.item(), rel=0.25)


def test_uncertain_terms_are_saved_with_the_objective():
    objective = Objective(a=Uncertain(Waveform(rows())))
    with torch.no_grad():
        objective.terms["a"].tenth.fill_(0.07)
    other = Objective(a=Uncertain(Waveform(rows())))
    other.load_state_dict(objective.state_dict())
    assert other.terms["a"].weight == objective.terms["a"].weight != 0.5


def test_a_learned_weight_by_hand():
    """Half the term over a variance of e, and half of that variance's logarithm."""
    term = Uncertain(lambda out, views, step: torch.tensor([4.0, 0.0]))
    nn.init.constant_(term.tenth, 0.1)
    v = rows(2)
    torch.testing.assert_close(term(constant(v), v, None), torch.tensor([2 / torch.e + 0.5, 0.5]))
    torch.testing.assert_close(term.weight, torch.tensor(0.5 / torch.e))


@pytest.mark.parametrize("power", [None, 0.25, 2.0])
def test_a_compressed_spectrum_has_the_power_of_each_amplitude_at_its_phase(power):
    x = 100 * noise(2, 1, 30)
    kinds = WithPhase(1.0), WithPhase(power) if power else WithPhase()
    plain, told = (torch.view_as_complex(kind(x).unflatten(-1, (-1, 2))) for kind in kinds)
    torch.testing.assert_close(told.abs(), plain.abs() ** (power or 0.5), rtol=1e-4, atol=0)
    torch.testing.assert_close(told / told.abs(), plain / plain.abs(), rtol=1e-4, atol=1e-4)


def test_a_share_is_one_however_small_the_features_are():
    v = rows()
    faint = Waveform(v, features=lambda x: 1e-3 * samples(x))
    assert faint(constant(v), v, None).mean().item() == pytest.approx(1, rel=1e-3)


def test_a_channel_that_no_training_row_has_counts_in_its_own_unit():
    v = rows()
    never = torch.ones(40, 2, T, dtype=torch.bool)
    never[:, 1] = False
    term = Waveform(v.replace(acc=torch.where(never, v["acc"], torch.nan)).masked(acc=never))
    told = said(ecg=v["ecg"], acc=v["acc"] + torch.tensor([0.0, 2.0])[:, None])
    cost = term(told, v, None)
    torch.testing.assert_close(cost, torch.full((40,), 4.0 / 2), rtol=0.02, atol=0)  # of two views, and of E = T


def test_a_share_is_of_what_was_recorded_by_hand():
    """Of a signal with holes: means, spreads and what telling the mean would lose are of the samples that are there."""
    x, told = 3 + 2 * noise(40, 2, 30), 3 + 2 * noise(40, 2, 30, seed=1)
    here = noise(40, 2, 30, seed=2) > -0.5
    v = Views({"ecg": torch.where(here, x, 1e3)}).masked(ecg=here)
    unit = [(row[there].mean(), row[there].std(correction=0)) for row, there in zip(x.unbind(1), here.unbind(1))]
    loc, sd = (torch.stack(part)[:, None] for part in zip(*unit))
    apart = (torch.where(here, (told - x) / sd, 0)).square().sum((1, 2))
    level = torch.where(here, (x - loc) / sd, 0).square().sum((1, 2)).mean()
    torch.testing.assert_close(Waveform(v)(said(ecg=told), v, None), apart / level, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0.1, 1e-9, 9.8e6])
def test_a_channel_that_never_varies_counts_in_its_own_unit(level):
    """Its spread is nought but for rounding, and rounding is no unit to measure errors in."""
    x = torch.cat([noise(40, 1, T), torch.full((40, 1, T), level)], 1)
    v = Views({"ecg": x})
    cost = Waveform(v)(said(ecg=x + torch.tensor([0.0, 3.0])[:, None]), v, None)
    torch.testing.assert_close(cost, torch.full((40,), 9.0), rtol=0.3, atol=0)  # of E = T, that of the other channel


def test_a_channel_with_a_single_sample_is_centred_on_it():
    there = torch.ones(40, 2, T, dtype=torch.bool)
    there[:, 1] = False
    there[0, 1, 0] = True
    x = torch.cat([noise(40, 1, T), torch.full((40, 1, T), 5.0)], 1)
    term = Waveform(Views({"ecg": x}).masked(ecg=there))
    assert term.loc_ecg[1] == 5 and term.scale_ecg[1] == 1


def test_windows_are_of_four_samples_at_least_and_each_length_has_its_share():
    x = noise(3, 2, 80)
    energy = lambda *lengths: Resolutions(lengths)(x).square().sum(1)  # noqa: E731
    torch.testing.assert_close(energy(8, 32), (energy(8) + energy(32)) / 2)
    assert Resolutions((4,))(x).isfinite().all() and Resolutions((80,))(x).isfinite().all()
    for lengths in ((3, 16), (16, 81)):
        with pytest.raises(ValueError, match=f"windows of .{lengths[0]}, {lengths[1]}. samples must be 4 to"):
            Resolutions(lengths)(x)
    torch.testing.assert_close(Resolutions()(x), Resolutions((16, 32, 64))(x))
