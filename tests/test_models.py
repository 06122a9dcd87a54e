"""Models: the sizes they must take, and that what is missing, by row or element, has no say in anything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from ivekit import KL, NLL, MultimodalVAE, Objective, Plan, Standardise, Views, Whiten, ZScore, plans
from ivekit.distributions import standard_normal_like
from ivekit.models import Conditional
from ivekit.nn import (
    Conv3d,
    FilmField,
    Gaussian,
    KnownScale,
    MLPDecoder,
    MLPEncoder,
    MultiScale,
    OwnGradient,
    ProductOfExperts,
    SensorAttention,
    SensorConv,
    SensorField,
    SensorGrid,
    Tokens,
    ViViT,
)

NAMES, D = ("meg", "film", "table"), 16
SHAPES = {"meg": (5, 12), "film": (1, 6, 8, 8), "table": (4,)}
SHARED, PRIVATE = 3, 2


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype="f4"))


def recordings(b: int = 9, seed: int = 0) -> Views:
    """Three views in their own units, all there."""
    x = {name: noise(b, *shape, seed=seed + i) for i, (name, shape) in enumerate(SHAPES.items())}
    return Views({"meg": 80 * x["meg"] + 5, "film": x["film"].sigmoid(), "table": 3 + x["table"]})


def with_holes(v: Views) -> Views:
    """Row 1 lacks the MEG, row 2 the film, row 3 two views, row 4 all; elsewhere single elements are missing."""
    masks = {name: noise(*x.shape, seed=20) > -1 for name, x in v.items()}
    for row, gone in {1: ["meg"], 2: ["film"], 3: ["meg", "table"], 4: NAMES}.items():
        for name in gone:
            masks[name][row] = False
    masks["table"] = masks["table"].any(1)  # the table is missing by row alone
    return v.masked(**masks)


def vae(names: tuple[str, ...] = NAMES, standardise: bool = True, own: float = 0.3) -> MultimodalVAE:
    torch.manual_seed(0)
    k = SHARED + PRIVATE
    encoders = {"meg": SensorConv(5, D), "film": Conv3d(SHAPES["film"], D), "table": MLPEncoder(4, D)}
    nets = {"meg": SensorField(k, 5, 12), "film": FilmField(k, SHAPES["film"]), "table": MLPDecoder(k, 4)}
    scales = {"meg": KnownScale(PRIVATE), "film": 0.5, "table": KnownScale(PRIVATE, (4,), (0.3, 1.0))}
    private = {name: ProductOfExperts([name], D, PRIVATE) for name in NAMES}
    transforms = dict(meg=Whiten(4), film=ZScore(), table=ZScore())
    posterior = ProductOfExperts(NAMES, D, SHARED)
    if names != NAMES:
        other = ProductOfExperts(names, D, SHARED)
        other.load_state_dict(posterior.state_dict())
        posterior = other
    return MultimodalVAE(
        {name: encoders[name] for name in names},
        posterior,
        {name: Gaussian(OwnGradient(nets[name], SHARED, own), scales[name]) for name in names},
        private={name: private[name] for name in names},
        standardise=Standardise.fit(recordings(60, seed=40), **transforms) if standardise else None,
    )


def numbers(model: nn.Module, v: Views, plan: Plan | None = None) -> dict[str, torch.Tensor]:
    """All that a model says of rows with a fixed seed: beliefs, samples, likelihoods, scores."""
    torch.manual_seed(5)
    out = model(v, plan) if plan else model(v)
    stacked = plan.views(v) if plan else v
    said = {f"q {n}": torch.cat([q.mean, q.stddev], 1) for n, q in out.q.items()}
    said |= {f"z {n}": z for n, z in out.z.items()}
    said |= {f"p {n}": torch.stack([p.mean, p.stddev], 1).flatten(1) for n, p in out.p.items()}
    return said | {"nll": NLL()(out, stacked, None), "kl": KL()(out, stacked, None)}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert a.keys() == b.keys()
    for name in a:
        if tolerance:
            torch.testing.assert_close(a[name], b[name], **tolerance, msg=lambda said, name=name: f"{name}: {said}")
        else:
            assert torch.equal(a[name], b[name]), name


# the sizes of the published model ------------------------------------------------------------------------------


def full_size(kind: str) -> MultimodalVAE:
    """MEG of 102 sensors and 100 samples, a film in colour of 30 frames of 64 by 64, 10 numbers of behaviour."""
    dim, shared, private, film = 64, 16, 8, (3, 30, 64, 64)
    k, names = shared + private, ("meg", "video", "behaviour")
    video = {
        "convolutions": lambda: MultiScale(Conv3d(film, dim, patch=(2, 8, 8), widths=(32, 48)), (32,), dim),
        "attention": lambda: ViViT(film, (5, 16, 16), dim),
        "grid": lambda: Conv3d(film, dim, patch=(3, 8, 8)),
    }
    meg = {
        "convolutions": lambda: SensorConv(102, dim),
        "attention": lambda: SensorAttention(102, 100, dim),
        "grid": lambda: SensorGrid(torch.arange(102), (11, 10), Conv3d((1, 100, 11, 10), dim, patch=(5, 2, 2))),
    }
    encoders = {"meg": meg[kind](), "video": video[kind](), "behaviour": MLPEncoder(10, dim)}
    nets = {"meg": SensorField(k, 102, 100), "video": FilmField(k, film), "behaviour": MLPDecoder(k, 10)}
    return MultimodalVAE(
        encoders,
        ProductOfExperts(names, dim, shared),
        {name: Gaussian(net, KnownScale(private)) for name, net in nets.items()},
        private={name: ProductOfExperts([name], dim, private) for name in names},
    )


@pytest.mark.parametrize("kind", ["convolutions", "attention", "grid"])
def test_the_published_sizes_cost_less_than_a_gigaflop_a_row(kind):
    torch.manual_seed(0)
    model, b = full_size(kind), 2
    v = Views({"meg": noise(b, 102, 100), "video": noise(b, 3, 30, 64, 64), "behaviour": noise(b, 10)})
    plan, objective = plans.dmvae(list(v)), Objective(nll=NLL(), kl=KL())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    before = [p.detach().clone() for p in model.parameters()]
    with FlopCounterMode(display=False) as count:
        loss = sum(objective(model(v, plan), plan.views(v), 0).values())
        loss.backward()
    optimizer.step()
    assert count.get_total_flops() / b < 1e9
    assert sum(p.numel() for p in model.parameters()) < 10e6
    assert loss.isfinite() and all(p.isfinite().all() for p in model.parameters())
    assert all((p != old).any() for p, old in zip(model.parameters(), before))
    assert all(p.mean.shape == v[name].shape for name, p in model.eval()(v).p.items())


# what is missing -----------------------------------------------------------------------------------------------

WITH_PLAN = {
    "no plan": None,
    "dmvae": plans.dmvae(NAMES),
    "mmvae_plus": plans.mmvae_plus(NAMES),
    "mvae": plans.mvae(NAMES),
}


@pytest.mark.parametrize("plan", WITH_PLAN)
@pytest.mark.parametrize("standardise", [True, False], ids=["whitened", "as it is"])
def test_what_is_masked_has_no_say_in_outputs_scores_or_gradients(plan, standardise):
    v, plan = with_holes(recordings()), WITH_PLAN[plan]
    results = []
    for garbage in (0.0, 1e6, torch.nan, -torch.inf):
        hidden = {n: ~(m if m.ndim == v[n].ndim else m[:, None].expand_as(v[n])) for n, m in v.present.items()}
        spoilt = v.replace(**{name: torch.where(hidden[name], garbage, x) for name, x in v.items()})
        model = vae(standardise=standardise)
        said = numbers(model, spoilt, plan)
        (said["nll"] + said["kl"]).mean().backward()
        gradients = {f"gradient {n}": p.grad for n, p in model.named_parameters()}
        results.append({n: x.detach() for n, x in said.items()} | gradients)
    assert all(x.isfinite().all() for x in results[0].values())
    for other in results[1:]:
        assert_same(results[0], other)


def test_masked_elements_are_not_as_if_they_were_there():
    model, v = vae().eval(), recordings()
    said, held = numbers(model, v), numbers(model, with_holes(v))
    for name in said:
        assert not torch.equal(said[name], held[name])


@pytest.mark.parametrize("holes", [False, True], ids=["whole rows", "holes"])
def test_a_row_says_nothing_of_another(holes):
    model, v = vae().eval(), with_holes(recordings()) if holes else recordings()
    together = numbers(model, v)
    for i in (0, 4, 8):
        alone = numbers(model, v[i])
        assert_same(alone, {name: x[i : i + 1] for name, x in together.items()}, rtol=1e-4, atol=1e-4)
    moved = numbers(model, v.replace(meg=torch.where(torch.arange(9)[:, None, None] == 5, v["meg"] + 100, v["meg"])))
    changed = torch.stack([(moved[n] != x).reshape(9, -1).any(1) for n, x in together.items()]).any(0)
    assert changed.nonzero().flatten().tolist() == [5]


def test_a_view_missing_in_some_rows_is_as_if_it_were_not_there_in_them():
    model, v, some = vae().eval(), recordings(), torch.arange(9) % 2 == 0
    mixed, whole, without = numbers(model, v.masked(meg=some)), numbers(model, v), numbers(model, v.without("meg"))
    for name in mixed:
        torch.testing.assert_close(mixed[name][some], whole[name][some])
        torch.testing.assert_close(mixed[name][~some], without[name][~some])
    assert torch.equal(without["z meg"], torch.zeros(9, PRIVATE))
    torch.testing.assert_close(without["q meg"], torch.cat([torch.zeros(9, PRIVATE), torch.ones(9, PRIVATE)], 1))


def test_a_row_is_missing_where_all_its_elements_are():
    model, v = vae().eval(), recordings()
    by_row = v.masked(film=torch.arange(9) > 3)
    by_element = v.masked(film=(torch.arange(9) > 3).reshape(9, 1, 1, 1, 1).expand(9, *SHAPES["film"]))
    assert_same(numbers(model, by_row), numbers(model, by_element), rtol=1e-5, atol=1e-5)


def test_with_nothing_there_the_belief_is_the_prior_and_the_scores_are_nothing():
    model, v = vae().eval(), recordings().without(*NAMES)
    out = model(v)
    for block, q in out.q.items():
        assert (q.mean == 0).all() and (q.stddev == 1).all() and (out.z[block] == 0).all()
    assert NLL()(out, v, None).abs().max() == 0 and KL()(out, v, None).abs().max() == 0
    assert all(p.mean.isfinite().all() for p in out.p.values())


@pytest.mark.parametrize("plan", ["dmvae", "mopoe", "mvtcae", "mmvae_plus", "leave_one_out"])
def test_a_plan_of_rows_that_hold_nothing_costs_and_teaches_nothing(plan):
    model, plan = vae(), getattr(plans, plan)(NAMES)
    nothing = recordings().without(*NAMES)
    out, stacked = model(nothing, plan), plan.views(nothing)
    terms = Objective(nll=NLL(), kl=KL())(out, stacked, 0)
    assert terms["nll"] == 0 and terms["kl"] == 0
    sum(terms.values()).backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())
    v = recordings()
    lost = Views.concat([v, nothing])
    both = Objective(nll=NLL(), kl=KL(beta=0.0))
    torch.manual_seed(0)
    with_lost = NLL()(model.eval()(lost, plan), plan.views(lost), None).unflatten(0, (len(plan), 18))
    alone = NLL()(model(v, plan), plan.views(v), None).unflatten(0, (len(plan), 9))
    torch.testing.assert_close(with_lost[:, :9], alone)
    assert (with_lost[:, 9:] == 0).all() and both(out, stacked, 0)["kl"] == 0


# plans ---------------------------------------------------------------------------------------------------------

PUBLISHED = ["joint", "mvae", "mmvae", "mopoe", "mvtcae", "jmvae", "dmvae", "mmvae_plus", "leave_one_out"]


@pytest.mark.parametrize("holes", [False, True], ids=["all there", "holes"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_subset_of_a_plan_is_the_batch_without_the_other_views(name, holes):
    plan, v = getattr(plans, name)(NAMES), with_holes(recordings()) if holes else recordings()
    model = vae().eval()
    out, stacked = model(v, plan), plan.views(v)
    score = NLL()(out, stacked, None).unflatten(0, (len(plan), 9))
    for s, (seen, scored) in enumerate(zip(plan.seen, plan.scored)):
        part = v.without(*[n for n, there in zip(NAMES, seen) if not there])
        alone = model(part)
        rows = slice(9 * s, 9 * s + 9)
        for block, q in alone.q.items():
            torch.testing.assert_close(out.q[block].mean[rows], q.mean)
            torch.testing.assert_close(out.q[block].stddev[rows], q.stddev)
        has = torch.stack([part.rows_present(n) for n in NAMES]).any(0)
        told = {n: v.present[n] & has.reshape(-1, *[1] * (v.present[n].ndim - 1)) for n in NAMES}
        by_hand = torch.zeros(9)
        for n, there in zip(NAMES, scored):
            by_hand = by_hand - alone.p[n].log_prob(v[n], told[n]) * there
        torch.testing.assert_close(score[s], by_hand, rtol=1e-4, atol=1e-3)


def test_private_codes_of_unseen_views_stand_at_the_prior_mean_or_are_samples_of_the_prior():
    model, v = vae(), recordings(600)
    for unseen, plan in ((0.0, plans.dmvae(NAMES)), (1.0, plans.mmvae_plus(NAMES))):
        torch.manual_seed(0)
        out = model(v, plan)
        for name in NAMES:
            z = out.z[name].unflatten(0, (len(plan), 600))
            seen, q = plan.sees(name), out.q[name]
            assert (z[~seen] == 0).all() if unseen == 0 else z[~seen].abs().min() > 0
            assert z[~seen].std().item() == pytest.approx(unseen, abs=0.06)
            assert z[~seen].mean().item() == pytest.approx(0, abs=0.06)
            standard = ((out.z[name] - q.mean) / q.stddev).unflatten(0, (len(plan), 600))[seen]
            assert standard.std().item() == pytest.approx(1, abs=0.06)  # what is seen is sampled from its own belief
            assert not torch.equal(q.stddev.unflatten(0, (len(plan), 600))[seen], torch.ones_like(standard))


def test_private_codes_of_truly_missing_views_follow_the_plan_too():
    model, v = vae(), recordings().masked(meg=torch.arange(9) > 3)
    z = model(v, plans.dmvae(NAMES)).z["meg"].unflatten(0, (4, 9))
    assert (z[:, :4] == 0).all() and (z[0, 4:] != 0).all() and (z[1, 4:] != 0).all() and (z[2:] == 0).all()
    assert (model(v).z["meg"][:4] != 0).all()  # without a plan they are samples of the prior


def test_two_scales_serve_what_is_seen_and_what_is_told_by_others():
    model, v, plan = vae(), recordings(), plans.dmvae(NAMES)
    with torch.no_grad():
        model.decoders["table"].scale.log.copy_(torch.log(torch.tensor([[0.3] * 4, [2.0] * 4])))
    scale = model(v, plan).p["table"].base.stddev.unflatten(0, (4, 9))
    expected = torch.tensor([0.35, 2.05, 2.05, 0.35]).reshape(4, 1, 1).expand(4, 9, 4)  # all, meg, film, table seen
    torch.testing.assert_close(scale, expected)


def test_a_view_s_own_score_sends_less_into_the_shared_code_than_the_scores_of_others():
    def pull(own: float) -> float:
        model = vae(own=own)
        v = recordings()
        NLL()(model(v, plans.joint(NAMES)), v, None).sum().backward()
        return math.sqrt(sum(float(p.grad.square().sum()) for p in model.posterior.parameters()))

    assert pull(0.0) == 0 and pull(0.5) == pytest.approx(0.5 * pull(1.0), rel=1e-4)


def test_a_plan_encodes_each_view_once():
    model, v, calls = vae(), recordings(), []
    model.encoders["film"].register_forward_hook(lambda module, given, out: calls.append(len(given[0])))
    model(v, plans.mopoe(NAMES))
    assert calls == [9]


# order, decoding, units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [False, True], ids=["no plan", "plan"])
def test_the_order_of_views_and_of_encoders_does_not_matter(plan):
    v = with_holes(recordings())
    model, other = vae().eval(), vae(("table", "meg", "film")).eval()
    shuffled = Views({n: v[n] for n in ("film", "table", "meg")}, v.present)
    masks = plans.dmvae(NAMES) if plan else None
    tolerance = dict(rtol=1e-5, atol=1e-4)
    said = numbers(model, v, masks)
    assert_same(said, numbers(model, shuffled, masks), **tolerance)
    others = numbers(other, v, masks)
    assert_same(said, {name: others[name] for name in said}, **tolerance)


def test_decoding_the_codes_gives_the_likelihoods():
    model, v = vae().eval(), recordings()
    out = model(v)
    for name, p in model.decode(out.z).items():
        assert torch.equal(p.mean, out.p[name].mean) and torch.equal(p.stddev, out.p[name].stddev)
    moved = model.decode(out.z | {"meg": out.z["meg"] + 1})
    assert not torch.equal(moved["meg"].mean, out.p["meg"].mean)
    assert torch.equal(moved["film"].mean, out.p["film"].mean)  # a private code tells its own view alone


def test_likelihoods_are_in_the_units_of_the_data():
    model, v = vae(), recordings()
    p = model(v).p
    assert p["meg"].stddev.mean() > 20 and p["film"].stddev.mean() < 1
    assert (p["table"].mean.mean(0) - 3).abs().max() < 1


def test_a_model_s_state_holds_its_standardisation():
    v = recordings()
    model, other = vae().eval(), vae().eval()
    other.standardise = Standardise.fit(v[:0], meg=Whiten(4), film=ZScore(), table=ZScore())
    assert not torch.equal(numbers(other, v)["nll"], numbers(model, v)["nll"])
    other.load_state_dict(model.state_dict())
    assert_same(numbers(other, v), numbers(model, v))


class Told(nn.Module):
    """A network that adds what the context tells."""

    def __init__(self, net: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.net, self.told = net, MLPDecoder(D, shape, ())

    def forward(self, z: torch.Tensor, context: Tokens) -> torch.Tensor:
        return self.net(z, context) + self.told(context.mean())


def test_a_condition_tells_the_decoders_and_is_not_believed_in():
    torch.manual_seed(0)
    model = MultimodalVAE(
        {"meg": SensorConv(5, D), "table": MLPEncoder(4, D)},
        ProductOfExperts(["meg"], D, SHARED),
        {"meg": Gaussian(Told(SensorField(SHARED, 5, 12), (5, 12)))},
        condition=["table"],
    ).eval()
    v = recordings()
    other = v.replace(table=v["table"] + 1)
    a, b = model(v), model(other)
    assert torch.equal(a.q["shared"].mean, b.q["shared"].mean) and set(a.q) == {"shared"} and set(a.p) == {"meg"}
    assert (a.p["meg"].mean - b.p["meg"].mean).abs().flatten(1).amax(1).min() > 1e-3
    nan = v.without("table").replace(table=torch.full((9, 4), torch.nan))
    assert torch.equal(model(v.without("table")).p["meg"].mean, model(nan).p["meg"].mean)
    plan = plans.mvae(["meg"])  # a view that the plan does not name is always seen
    torch.testing.assert_close(model(v, plan).p["meg"].mean[:9], a.p["meg"].mean)


def test_a_conditional_model_ignores_what_is_missing():
    torch.manual_seed(0)
    model = Conditional(
        {"meg": SensorConv(5, D), "film": Conv3d(SHAPES["film"], D)},
        {"table": Gaussian(MLPDecoder(D, 4))},
        standardise=Standardise.fit(recordings(60), meg=Whiten(), film=ZScore(), table=ZScore()),
    )
    v = with_holes(recordings())
    hidden = ~v.present["film"]
    spoilt = v.replace(film=torch.where(hidden, torch.nan, v["film"]))
    assert torch.equal(model(v).p["table"].mean, model(spoilt).p["table"].mean)
    torch.testing.assert_close(model(v).z["shared"][4], torch.zeros(D))  # of nothing, nothing


def test_the_divergence_of_a_model_is_that_of_its_beliefs():
    model, v = vae(), with_holes(recordings())
    out = model(v)
    by_hand = sum(kl_divergence(q, standard_normal_like(q)) for q in out.q.values())
    torch.testing.assert_close(KL()(out, v, None), by_hand)
    assert by_hand[4] == 0 and (by_hand[[0, 1, 2, 3, 5]] > 0).all()
