"""The zoo's pairs: exact ones decide as their networks, proxies have gradients, and the rule tells the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from unmask.attacks import FGSM
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.numerics import undisturbed
from unmask.statistics import paired_gain
from unmask_experiments.evaluation import unchanged
from unmask_experiments.sweeps import identify
from unmask_experiments.zoo import truth
from unmask_experiments.zoo.cases import SCALES, Case, cases
from unmask_experiments.zoo.defences import DEFENCES
from unmask_experiments.zoo.expected import BY_DEFENCE, acceptable
from unmask_experiments.zoo.linear import worst_margin
from unmask_experiments.zoo.networks import METHODS, PASSES, WITHIN, Network, audited_images, untrained
from unmask_experiments.zoo.truth import EDGE, check_exact, comparisons, rule
from unmask_experiments.zoo.worst_case import strongest

# Networks that learn in a moment, on few images, with little spent on their truth.
BRIEF = {"data": "digits", "images": 150, "steps": 3, "restarts": 1, "queries": 20}
LINEAR = Case(**BRIEF, network="linear", updates=100, learning_rate=0.02, epsilon=0.05)


def network(within=""):
    return untrained(Network(data="digits", size=4, within=within), seed=0).eval()


def trained_within(name):
    """A network with the defence in it, for those defences that are not wrapped around one."""
    return network({"trained noise": "noise"}.get(name, name if name in WITHIN else ""))


def noise(count=24, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("data", SCALES)
def test_the_zoo_is_large_and_has_every_kind(data):
    zoo = cases(data)
    assert len({identify(case) for case in zoo}) == len({case.name for case in zoo}) == len(zoo) >= 40
    kinds = [case.kind for case in zoo if case.seed == 0]
    assert set(kinds) == {"exact", "sandwiched", "published", "not masked"}
    assert kinds.count("not masked") >= 10
    assert {case.defence for case in zoo} == set(DEFENCES)
    assert {case.method for case in zoo} == set(METHODS) >= set(PASSES)
    assert {case.within for case in zoo} == set(WITHIN)
    assert all(case.data == data and case.images for case in zoo)


def test_every_pair_has_causes_that_count_as_right():
    assert set(BY_DEFENCE) | {""} == set(DEFENCES)
    assert all(acceptable(case) for case in cases("mnist", seeds=1) if case.kind != "not masked")


@pytest.mark.parametrize("name", [name for name, one in DEFENCES.items() if one.truth == "exact"])
@pytest.mark.parametrize("large", [1.0, 40.0])
def test_an_exact_pair_decides_as_its_network(name, large):
    base = nn.Sequential(network(), Times(large)).eval()
    model, data = Case(defence=name).published(base), audited_images("digits", 50)
    for images in (noise(200), data.images):
        assert torch.equal(model(images).argmax(1), base(images).argmax(1))
    check_exact(Case(data="digits", defence=name), model, base, data, FGSM(epsilon=0.1, loss=log_odds))


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        return self.factor * logits


def test_a_pair_that_claims_to_be_exact_and_is_not_is_refused():
    other = untrained(Network(data="digits", size=4), seed=1).eval()
    with pytest.raises(ValueError, match=r"expected its network's own decisions, got others on \d+ of 50"):
        check_exact(Case(), other, network(), audited_images("digits", 50), unchanged)


@pytest.mark.parametrize("name", [name for name, one in DEFENCES.items() if not one.random])
def test_a_proxy_decides_alike_and_has_a_gradient(name):
    base, images = trained_within(name), noise()
    case, labels = Case(defence=name), torch.arange(24) % 10
    proxy = case.proxy(base)
    gradient = input_gradient(proxy, images, labels, loss=log_odds).gradient
    assert (gradient != 0).flatten(1).any(1).all()
    assert proxy is base or torch.allclose(proxy(images), case.published(base)(images), atol=1e-4)


@pytest.mark.parametrize("name", [name for name, one in DEFENCES.items() if one.random])
def test_the_proxy_of_a_randomised_defence_varies_less(name):
    base, images = trained_within(name), noise()
    spread = []
    for model in (Case(defence=name).published(base), Case(defence=name).proxy(base)):
        with undisturbed(model), torch.no_grad():
            spread.append(torch.stack([model(images).softmax(1) for _ in range(20)]).std(0).mean())
    assert 0 < spread[1] < spread[0] / 2


def test_the_closed_form_is_what_no_corner_beats():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    labels, epsilon = torch.arange(8) % 3, 0.2
    signs = torch.tensor([[1.0 if (row >> bit) & 1 else -1.0 for bit in range(4)] for row in range(16)])
    corners = (images[:, None] + epsilon * signs.view(16, 1, 2, 2)).clamp(0, 1)
    logits = model(corners.flatten(0, 1)).double().view(8, 16, 3)
    true = logits.gather(2, labels.view(8, 1, 1).expand(8, 16, 1))
    rivals = logits.scatter(2, labels.view(8, 1, 1).expand(8, 16, 1), -torch.inf)
    expected = (rivals - true).amax((1, 2))
    assert torch.allclose(worst_margin(model, images, labels, epsilon), expected.detach(), atol=1e-6)


def test_the_closed_form_wants_a_linear_model():
    with pytest.raises(ValueError, match="model: expected one linear layer, got Conv2d"):
        worst_margin(network(), noise(), torch.zeros(24, dtype=torch.int64), 0.1)


@pytest.mark.parametrize(
    ("won", "right", "answer"),
    [(40, 200, "masked"), (0, 200, "not masked"), (6, 200, "excluded"), (40, 22, "excluded")],
)
def test_the_rule(won, right, answer):
    gain = paired_gain([True] * 200, [False] * won + [True] * (200 - won))
    nothing = paired_gain([True] * 200, [True] * 200)
    assert rule({"one step": nothing, "many steps": gain}, right=right, total=200)[0] == answer
    assert (gain.low > EDGE) == (won == 40)


@pytest.mark.parametrize(("found", "answer"), [(0.1, "masked"), (0.3, "excluded"), (0.4, "not masked")])
def test_a_collapse_is_masking_where_the_claim_found_few_of_the_errors(found, answer):
    gain, nothing = (paired_gain([True] * 200, [False] * won + [True] * (200 - won)) for won in (80, 0))
    assert rule({"one step": nothing, "collapse": gain}, right=200, total=200, found=found)[0] == answer


@pytest.mark.parametrize("defence", ["", "zero backward", "noise", "k winners"])
def test_both_sides_of_a_comparison_get_as_many_passes(defence, monkeypatch):
    """On a model that nothing fools, so that no attack may stop early."""
    monkeypatch.setattr(truth, "STEPS", (10, 20))
    case, images, labels = Case(defence=defence), noise(2), torch.zeros(2, dtype=torch.int64)
    counts = []
    for side in (0, 1):
        counted = Counted()
        model, proxy = counted, DEFENCES[""].proxy(counted)
        if DEFENCES[defence].passes > 1:
            proxy = Case(defence="k winners").proxy(counted)
        for name, pair in comparisons(case, model, proxy).items():
            before = counted.passes
            for attack in ([case.attack(), *pair[0]], pair[1])[side]:
                attack(model, images, labels)
            counts.append((name, (counted.passes - before) / len(images)))
    half = len(counts) // 2
    for (name, unrepaired), (_, repaired) in zip(counts[:half], counts[half:], strict=True):
        if name != "queries":  # a look without a gradient counts half
            assert unrepaired >= 0.9 * repaired
        else:
            assert unrepaired >= 0.9 * repaired / 2


class Counted(nn.Module):
    """A model that is right on class 0 for every image, with a gradient, and counts its passes."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, images):
        self.passes += len(images)
        flat = images.flatten(1)[:, :10]
        return flat + 100 * nn.functional.one_hot(torch.zeros(len(flat), dtype=torch.int64), 10)


def test_the_attacks_behind_a_truth_are_made_on_the_proxy():
    proxy = Counted()
    case = replace(LINEAR, steps=2, queries=3)
    images, labels = noise(2), torch.tensor([0, 1])
    for attack in strongest(case, proxy, search=False):
        before = proxy.passes
        attack(None, images, labels)
        assert proxy.passes > before
