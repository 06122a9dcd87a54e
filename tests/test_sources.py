"""From fields to places and times: a known dipole is found where it is, a known peak when it is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ivekit import synth
from ivekit.explain import sources
from ivekit.synth import meg

TIMES = np.arange(60) / 125 - 0.096


@pytest.fixture(scope="module")
def world() -> synth.World:
    return synth.audiovisual(n_trials=8, n_subjects=1)


@pytest.fixture(scope="module")
def grads() -> synth.World:
    return synth.audiovisual(n_trials=8, n_subjects=1, kinds=("mag", "grad"))


def test_a_true_field_leads_to_its_source(world):
    sensors, noise = world.views.about["meg"], np.diag(np.full(102, 100.0**2))
    at_rest = meg._lead_field(("mag",), (0.0,) * 6)  # the fields of a world are those of displaced heads
    for i in (0, 3):
        place = list(world.places.values())[i]
        found = sources.fit_dipole(at_rest[:, i], sensors, noise)
        assert 1e3 * np.linalg.norm(found.place - place) < 1 and found.explained > 0.999
        assert found.moment == pytest.approx(1, rel=0.05)  # the lead field is that of 1 nAm
        assert sources.dipole_error(-3e-3 * at_rest[:, i], sensors, place, noise) < 1
        assert sources.dipole_error(at_rest[:, i], sensors, world.places["motion"], noise) > 40


def test_a_map_of_noise_leads_nowhere(world, capfd):
    noise = np.random.default_rng(0).standard_normal(102)
    assert sources.dipole_error(noise, world.views.about["meg"], world.places["position"]) > 20
    assert capfd.readouterr().out == ""


def test_moments_keep_the_strength_of_the_field(world):
    field, sensors = world.topographies["motion"], world.views.about["meg"]
    one, ten = (sources.fit_dipole(k * field, sensors) for k in (1.0, 10.0))
    assert ten.moment == pytest.approx(10 * one.moment, rel=1e-2)
    faint = sources.fit_dipole(1e-6 * field, sensors)
    np.testing.assert_allclose(faint.place, one.place, atol=1e-4)
    assert faint.moment == pytest.approx(1e-6 * one.moment, rel=1e-2)
    assert 1 < one.moment < 300  # nAm: an evoked field is some tens of nAm (Hämäläinen et al., 1993)


def test_gradiometers_are_in_their_own_unit(grads):
    found = sources.dipole_error(grads.topographies["motion"], grads.views.about["meg"], grads.places["motion"])
    assert found < 8  # the one subject's head is turned and moved


def test_the_noise_weighs_magnetometers_and_gradiometers_in_their_units(grads):
    sensors, field = grads.views.about["meg"], grads.topographies["motion"]
    level = np.where(np.array(sensors.info.get_channel_types()) == "mag", 20.0, 5.0)  # fT and fT/cm
    heard = field + 0.2 * np.abs(field).max() * np.random.default_rng(0).standard_normal(len(field))
    usual, given = sources.fit_dipole(heard, sensors), sources.fit_dipole(heard, sensors, np.diag(level**2))
    np.testing.assert_allclose(given.place, usual.place, atol=1e-4)
    other = sources.fit_dipole(heard, sensors, np.diag((25 - level) ** 2))  # the other way round
    assert np.linalg.norm(other.place - usual.place) > 5e-3


def test_a_rank_one_pattern_is_its_field_and_course():
    field, course = np.array([3.0, -1.0, 0.5]), np.sin(np.linspace(0, 3, 40))
    found = sources.topography(-2 * np.outer(field, course))
    np.testing.assert_allclose(found.field, -2 * field * course.max(), rtol=1e-3)
    np.testing.assert_allclose(found.course, course / course.max(), atol=1e-8)
    assert found.share == pytest.approx(1)
    nothing = sources.topography(np.zeros((3, 4)))
    assert nothing.share == 0 and (nothing.field == 0).all() and (nothing.course == 0).all()


@pytest.mark.parametrize("at", [0.1, 0.1037, 0.25])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_peak_between_samples_is_found(at, sign):
    bump = sign * np.exp(-0.5 * ((TIMES - at) / 0.02) ** 2)
    assert sources.latency(bump, TIMES) == pytest.approx(at, abs=5e-4)


def test_peaks_at_the_ends_and_flat_courses_are_no_error():
    assert sources.latency(np.arange(5.0), np.arange(5.0)) == 4
    assert sources.latency(np.ones(5), np.arange(5.0)) == 0
    assert sources.latency(np.array([0.0, 1, 1, 1, 0]), np.arange(5.0)) == pytest.approx(1.5)


def test_a_top_without_a_bend_is_at_its_sample():
    below = np.nextafter(1.0, 0.0)  # so little below the top that the parabola has no bend left
    assert sources.latency(np.array([0.0, below, 1.0, 1.0, 0.0]), np.arange(5.0)) == 2


def test_courses_of_the_world_peak_when_they_are_said_to(world):
    for name, course in world.time_courses.items():
        assert sources.latency(course, TIMES) == pytest.approx(meg.EVOKED[name].latency, abs=0.006)
        later = np.roll(course, 5)
        assert sources.latency_error(later, course, TIMES) == pytest.approx(40, abs=0.1)


def test_the_cosine_knows_neither_strength_nor_sign():
    a, b = np.random.default_rng(0).standard_normal((2, 102))
    assert sources.cosine(-5 * a, a) == pytest.approx(1)
    assert sources.cosine(a, b) == sources.cosine(b, -a) < 0.4
    assert sources.cosine(np.zeros(102), a) == 0


def test_the_noise_is_that_of_the_baseline_alone():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((3, 3))
    x = np.einsum("cd,bdt->bct", mixing, rng.standard_normal((3000, 3, 8)))
    x[..., 4:] += 100 * rng.standard_normal((3000, 1, 1))
    x += 10
    np.testing.assert_allclose(sources.noise_covariance(x, 4), mixing @ mixing.T, atol=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: sources.fit_dipole(np.ones(3), SimpleNamespace(info=None)), "these have no mne.Info"),
        (lambda w: sources.fit_dipole(np.zeros(102), w.views.about["meg"]), r"\(102,\), one value a sensor, and not 0"),
        (lambda w: sources.fit_dipole(np.ones(5), w.views.about["meg"]), r"got shape \(5,\)"),
        (lambda w: sources.topography(np.ones(5)), r"\(c, t\), got \(5,\)"),
        (lambda w: sources.latency(np.ones(5), np.ones(4)), r"\(5,\) samples at \(4,\) times"),
    ],
)
def test_what_does_not_fit_says_so(world, call, message):
    with pytest.raises(ValueError, match=message):
        call(world)


def test_electrodes_are_refused():
    import mne

    info = mne.create_info(["Fz", "Cz"], 100.0, "eeg", verbose="error")
    with pytest.raises(ValueError, match=r"magnetometers and gradiometers, these sensors are \['eeg'\]"):
        sources.fit_dipole(np.ones(2), SimpleNamespace(info=info))
