"""The audit, end to end: right where theory has the answer, the same however it is cut up, plain about bad input."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unmask.adapters import black_box, normalised
from unmask.attacks import APGD, FGSM, FRSM, PGD, Outcome, TargetedAPGD, Through, Trial
from unmask.attacks.trial import examined, predict
from unmask.auditing.battery import Battery
from unmask.auditing.cache import Kept
from unmask.auditing.kit import QUICK
from unmask.auditing.runner import audit
from unmask.auditing.search import Stage
from unmask.auditing.settings import variant
from unmask.losses import cross_entropy
from unmask.models import build
from unmask.models.masked import InputNoise, Quantised, RandomSignBackward, ScaledLogits, SoftmaxOutput, ZeroBackward
from unmask.reports import Report

EPSILON = 0.1


@pytest.fixture(scope="module")
def task(held_out):
    return held_out.images[:150], held_out.labels[:150]


@pytest.fixture(scope="module")
def plain(perceptron, task):
    return audit(perceptron, *task, epsilon=EPSILON)


def outcomes(report):
    """Who withstood each attack; who was not attacked withstood."""
    found = {}
    for attack in report.attacks:
        held = dict(zip(attack.rows or range(report.samples), attack.correct, strict=True))
        found[attack.name, len(held)] = [held.get(row, True) for row in range(report.samples)]
    return found


# --- what it finds


@pytest.mark.parametrize("epsilon", [0.05, 0.2])
def test_a_linear_model_has_its_closed_form(epsilon, linear, task):
    """An image is robust if for each rival k the maximum of z_k - z_y over its box, pixel by pixel, is below 0."""
    images, labels = task
    weight, bias = linear[1].weight.detach().double(), linear[1].bias.detach().double()
    x = images.flatten(1).double()
    low, high = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)
    slope = weight - weight[labels][:, None]  # (N, K, pixels)
    most = torch.where(slope > 0, slope * high[:, None], slope * low[:, None]).sum(2) + bias - bias[labels][:, None]
    robust = most.scatter(1, labels[:, None], -1.0).amax(1) < 0
    report = audit(linear, images, labels, epsilon=epsilon)
    assert report.robust.count == int(robust.sum())
    assert report.clean.count == int((predict(linear, images) == labels).sum())
    assert (report.verdict, report.causes) == ("not masked", [])


def test_saturation_is_found_and_taken_away(perceptron, plain, task):
    report = audit(ScaledLogits(perceptron, 300.0), *task, epsilon=EPSILON)
    assert (report.verdict, report.causes[0]) == ("masked", "float32 saturation")
    assert report.claimed_accuracy > 0.9
    assert report.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.01)
    assert (plain.verdict, plain.causes) == ("not masked", [])
    assert plain.claimed_accuracy - plain.robust_accuracy < 0.05


@pytest.mark.parametrize("wrap", [ZeroBackward, Quantised, SoftmaxOutput, ScaledLogits])
def test_the_worst_case_is_the_worst(wrap, perceptron, task):
    report = audit(wrap(perceptron), *task, epsilon=EPSILON)
    standing = zip(*outcomes(report).values(), strict=True)
    assert report.robust.count <= sum(map(all, standing))
    assert report.robust_accuracy <= min(attack.accuracy.value for attack in report.attacks)
    assert report.robust_accuracy <= report.claimed_accuracy
    assert report.interval[0] <= report.robust_accuracy <= report.interval[1]


def test_a_model_no_better_than_guessing_has_no_robustness_to_judge(task):
    report = audit(lambda x: 0 * x.flatten(1)[:, :10], *task, epsilon=EPSILON)
    assert report.verdict == "inconclusive"
    assert "no better than guessing one of 10 classes" in report.decision.reason


def test_float64_decides_as_float32(perceptron, plain, task):
    model = nn.Sequential(nn.Flatten(), *(nn.Linear(*layer.weight.shape[::-1]) for layer in perceptron[1::2]))
    model = nn.Sequential(model[0], model[1], nn.ReLU(), model[2]).double().eval()
    model.load_state_dict(perceptron.state_dict())
    report = audit(model, *task, epsilon=EPSILON)
    assert report.environment["precision"] == "float64"
    assert report.verdict == plain.verdict
    assert report.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.01)


# --- the same however it is cut up


@pytest.mark.parametrize("size", [1000, 30])
def test_the_size_of_a_batch_does_not_matter(size, perceptron, plain, task):
    report = audit(perceptron, *task, epsilon=EPSILON, batch_size=size)
    assert outcomes(report) == outcomes(plain)
    assert report.decision.answer == plain.decision.answer


def test_the_order_of_the_images_does_not_matter(perceptron, plain, task):
    images, labels = task
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    report = audit(perceptron, images[order], labels[order], epsilon=EPSILON)
    for name, correct in outcomes(plain).items():
        assert outcomes(report)[name] == [correct[row] for row in order.tolist()], name
    assert replace(report.decision, reason="") == replace(plain.decision, reason="")
    assert report.robust == plain.robust


def test_any_iterable_of_batches_will_do(perceptron, plain, task):
    loader = DataLoader(TensorDataset(*task), batch_size=48)
    report = audit(perceptron, loader, epsilon="0.1")
    assert replace(report, seconds=0.0) == replace(plain, seconds=0.0)


def test_nothing_about_the_model_or_the_random_state_changes(perceptron, task):
    model = nn.Sequential(perceptron, nn.Dropout(0.1)).train()
    perceptron.eval()
    torch.manual_seed(4)
    before = torch.get_rng_state()
    report = audit(model, task[0][:50], task[1][:50], epsilon=EPSILON)
    assert torch.equal(torch.get_rng_state(), before)
    assert [model.training, model[0].training, model[1].training] == [True, False, True]
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert list(report.notes) == ["The model was in training mode; it was audited in evaluation mode."]


def test_probabilities_are_noted_and_audited_as_logits(perceptron, plain, task):
    report = audit(SoftmaxOutput(perceptron).eval(), *task, epsilon=EPSILON)
    assert "returns probabilities" in report.notes[0]
    assert report.verdict == "not masked"
    assert report.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.01)


# --- the reference attack


def by_hand(model, images, labels):
    """A user's own FGSM, as a function."""
    return FGSM(epsilon=EPSILON, loss=cross_entropy)(model, images, labels)


@dataclass(frozen=True)
class OwnSettings:
    """A user's own, as a dataclass with an epsilon and no loss."""

    epsilon: float

    def __call__(self, model, images, labels):
        return FGSM(epsilon=self.epsilon, loss=cross_entropy)(model, images, labels)


@pytest.mark.parametrize("reference", [by_hand, OwnSettings(EPSILON)])
def test_the_reference_may_be_the_users_own(reference, perceptron, plain, task):
    report = audit(perceptron, *task, epsilon=EPSILON, reference=reference)
    assert report.claimed == plain.claimed
    assert report.verdict == "not masked"
    masked = audit(ScaledLogits(perceptron, 300.0), *task, epsilon=EPSILON, reference=reference)
    assert (masked.verdict, masked.causes[0]) == ("masked", "float32 saturation")


def test_the_claim_is_that_of_the_reference(perceptron, plain, task):
    report = audit(perceptron, *task, epsilon=EPSILON, reference=PGD(epsilon=EPSILON, steps=10))
    assert report.claimed_accuracy < plain.claimed_accuracy
    assert report.reference.startswith("PGD: epsilon 0.1, steps 10")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            FGSM(epsilon=0.3),
            r"reference attack: expected images in \[0, 1\] within epsilon 0.1, got pixels moved by 0.3",
        ),
        (lambda model, images, labels: images - 0.05, r"reference attack: expected .* and in \[-0.05, "),
        (lambda model, images, labels: images * float("nan"), "reference attack: expected .* moved by nan"),
    ],
)
def test_a_reference_that_is_allowed_more_is_refused(reference, message, perceptron, task):
    with pytest.raises(ValueError, match=message):
        audit(perceptron, *task, epsilon=EPSILON, reference=reference)


# --- what is refused, and what is said


def returning(change):
    return lambda images: change(images.flatten(1)[:, :10])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (returning(lambda z: z[:, :9]), {}, r"model: expected logits \(N, 10\) for 10 classes, got \(N, 9\)"),
        (returning(lambda z: z), {"classes": "abc"}, r"labels: expected classes from 0 to 2, got 0 to 9"),
        (returning(lambda z: z * float("nan")), {}, "model: expected finite logits, got NaN on 150 of 150 images"),
        (returning(lambda z: z + float("inf")), {}, "model: expected finite logits, got infinite values on 150 of 150"),
        (
            returning(lambda z: z[:, :, None]),
            {},
            r"model: expected logits \(.*, classes\) for .*, got \(.*, 10, 1\)",
        ),
        (returning(lambda z: z), {"epsilon": 8}, r"epsilon: expected a number in \[0, 1\], got 8; .* as 8/255"),
        (returning(lambda z: z), {"epsilon": "much"}, "epsilon: expected a number in .*, got 'much'"),
        (returning(lambda z: z), {"batch_size": 0}, "batch size: expected a whole number above 0, got 0"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            {"device": "meta"},
            r"device: expected the model on meta, found it on cpu; call model.to\('meta'\) first",
        ),
    ],
)
def test_bad_input_is_refused(model, options, message, task):
    with pytest.raises(ValueError, match=message):
        audit(model, *task, **{"epsilon": EPSILON} | options)


def test_progress_never_goes_back_and_ends_at_one(perceptron, task):
    told = []
    audit(perceptron, *task, epsilon=EPSILON, batch_size=50, progress=lambda stage, share: told.append((stage, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] == pytest.approx(1)
    assert max(later - earlier for earlier, later in pairwise(shares)) < 0.25
    assert {"reference attack", "40 steps"} <= {stage for stage, _ in told}


class Stopped(BaseException):
    """As if the process had been killed."""


def test_an_audit_that_was_killed_goes_on_where_it_was(perceptron, plain, task, tmp_path):
    seen = []

    def kill(stage, share):
        seen.append(stage)
        if stage == "Auto-PGD":
            raise Stopped

    with pytest.raises(Stopped):
        audit(perceptron, *task, epsilon=EPSILON, keep=tmp_path, progress=kill)
    assert list(tmp_path.glob("*.outcome"))
    again = []
    report = audit(perceptron, *task, epsilon=EPSILON, keep=tmp_path, progress=lambda stage, share: again.append(stage))
    assert not {"reference attack", "40 steps"} & set(again)
    assert "Auto-PGD" in again
    assert replace(report, seconds=0.0) == replace(plain, seconds=0.0)
    assert not any(tmp_path.iterdir()) if tmp_path.exists() else True


def test_what_was_kept_is_not_taken_for_another_models(linear, perceptron, task, tmp_path):
    with pytest.raises(Stopped):
        audit(perceptron, *task, epsilon=EPSILON, keep=tmp_path, progress=_kill_at_many)
    report = audit(linear, *task, epsilon=EPSILON, keep=tmp_path)
    assert report.correct == audit(linear, *task, epsilon=EPSILON).correct


def test_what_was_kept_is_not_taken_for_that_of_another_wrapper(perceptron, task, tmp_path):
    """Whose settings are no weights."""
    with pytest.raises(Stopped):
        audit(normalised(perceptron, mean=0.9, std=0.3), *task, epsilon=EPSILON, keep=tmp_path, progress=_kill_at_many)
    report = audit(normalised(perceptron, mean=0.0, std=1.0), *task, epsilon=EPSILON, keep=tmp_path)
    assert report.correct == audit(perceptron, *task, epsilon=EPSILON).correct


class Stepped:
    """Somebody's attack, of whose settings its name says nothing."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, model, images, labels):
        return PGD(epsilon=EPSILON, steps=self.steps, start="clean")(model, images, labels)


class SteppedModule(nn.Module):
    """The same as a module, of whose settings its weights say nothing."""

    def __init__(self, steps):
        super().__init__()
        self.attack = Stepped(steps)

    def forward(self, model, images, labels):
        return self.attack(model, images, labels)


def on_a_network(seed):
    network = build("linear", inputs=(1, 8, 8), classes=10, seed=seed)
    return Through(attack=PGD(epsilon=EPSILON, steps=20), stand_in=network)


@pytest.mark.parametrize(
    ("role", "made"),
    [
        ("reference", Stepped),
        ("attacks", lambda steps: [Stepped(steps)]),
        ("attacks", lambda steps: [SteppedModule(steps)]),
        ("attacks", lambda seed: [on_a_network(seed)]),
    ],
    ids=["reference", "attack", "module", "on another network"],
)
def test_what_was_kept_is_not_taken_for_that_of_another_attack_of_the_same_name(role, made, perceptron, task, tmp_path):
    one, other = ({role: made(number)} for number in (1, 20))
    with pytest.raises(Stopped):
        audit(perceptron, *task, epsilon=EPSILON, keep=str(tmp_path), progress=_kill_at_many, **one)
    assert list(tmp_path.glob("*.outcome"))
    report = audit(perceptron, *task, epsilon=EPSILON, keep=str(tmp_path), **other)
    assert replace(report, seconds=0.0) == replace(audit(perceptron, *task, epsilon=EPSILON, **other), seconds=0.0)


@pytest.mark.parametrize(
    ("attack", "kept"),
    [
        (Through(attack=PGD(epsilon=EPSILON), stand_in=nn.Flatten()), False),
        (PGD(epsilon=EPSILON).__call__, False),
        (PGD(epsilon=EPSILON), True),
    ],
)
def test_only_what_is_known_of_an_attack_within_another_is_kept(attack, kept, task, tmp_path):
    folder = Kept(folder=tmp_path, task="an audit")
    for within in (attack, variant(attack), Through(attack=attack, stand_in=lambda model: model)):
        folder.save(Trial(attacks=[within]), None, Outcome.of(task[0], torch.eye(10)[task[1]], task[1]))
    assert len(list(tmp_path.glob("*.outcome"))) == 2 * kept  # the last one holds a function of the test's


@dataclass(frozen=True)
class Masked:
    """An attack with settings that mean something else than in ours, and cannot be compared."""

    mask: torch.Tensor
    targets: tuple = (0, 1)

    def steps(self):
        return 3

    def __call__(self, model, images, labels):
        return images * self.mask


@dataclass(frozen=True)
class Whole:
    """A reference with settings that it cannot be made with."""

    epsilon: float = field(init=False, default=EPSILON)

    @property
    def loss(self):
        return cross_entropy

    def steps(self):
        return 3

    def __call__(self, model, images, labels):
        return FGSM(epsilon=self.epsilon)(model, images, labels)


def test_a_reference_may_have_settings_that_cannot_be_changed(perceptron, task):
    report = audit(perceptron, *task, epsilon=EPSILON, effort=QUICK, reference=Whole())
    assert report.claimed == audit(perceptron, *task, epsilon=EPSILON, effort=QUICK).claimed


def test_an_attack_may_have_any_settings(perceptron, task):
    own = [Masked(torch.ones(8, 8)), Masked(torch.full((8, 8), 1 - EPSILON))]
    report = audit(perceptron, *task, epsilon=EPSILON, effort=QUICK, attacks=own)
    assert {"your attack 1", "your attack 2"} <= {one.name for one in report.attacks}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attacks": [PGD]}, "attacks: expected one that takes"),
        ({"reference": PGD}, "reference: expected one that takes"),
        ({"attacks": PGD(epsilon=EPSILON)}, "attacks: expected a list of attacks, got PGD"),
    ],
)
def test_what_is_no_attack_is_refused(given, message, perceptron, task):
    with pytest.raises(ValueError, match=message):
        audit(perceptron, *task, epsilon=EPSILON, **given)


def test_a_model_in_training_mode_is_not_attacked_in_it(perceptron, task):
    """By anybody's attack; what verifies the report would find otherwise."""
    modes = []

    def own(model, images, labels):
        modes.append(model.training)
        return FGSM(epsilon=EPSILON)(model, images, labels)

    model = copy.deepcopy(perceptron).train()
    audit(model, *task, epsilon=EPSILON, effort=QUICK, reference=own, attacks=[own])
    assert modes
    assert not any(modes)
    assert model.training


def _kill_at_many(stage, share):
    if stage == "Auto-PGD":
        raise Stopped


def test_a_damaged_outcome_is_made_anew(perceptron, plain, task, tmp_path):
    with pytest.raises(Stopped):
        audit(perceptron, *task, epsilon=EPSILON, keep=tmp_path, progress=_kill_at_many)
    for path in tmp_path.glob("*.outcome"):
        path.write_bytes(path.read_bytes()[:-9])
    assert audit(perceptron, *task, epsilon=EPSILON, keep=tmp_path).correct == plain.correct


def test_what_there_was_no_time_for_is_said(perceptron, task):
    report = audit(perceptron, *task, epsilon=0.02, budget=1e-6)
    assert report.verdict == "inconclusive"
    for name in ("single-step attack too weak", "Auto-PGD", "curves over epsilon"):
        assert report.not_run[name] == "no time"
    assert not report.curves
    assert "no time" in report.decision.reason
    assert [attack.name for attack in report.attacks] == ["reference attack"]


def test_time_enough_changes_nothing(perceptron, plain, task):
    report = audit(perceptron, *task, epsilon=EPSILON, budget=3600.0)
    assert replace(report, seconds=0.0) == replace(plain, seconds=0.0)


def test_a_quick_audit_decides_alike_where_the_matter_is_plain(perceptron, plain, task):
    quick = audit(perceptron, *task, epsilon=EPSILON, effort=QUICK)
    assert quick.verdict == plain.verdict
    assert len(quick.attacks) < len(plain.attacks)
    masked = audit(ScaledLogits(perceptron, 300.0), *task, epsilon=EPSILON, effort=QUICK)
    assert (masked.verdict, masked.causes[0]) == ("masked", "float32 saturation")


def test_a_quick_audit_looks_at_some_of_the_images_the_same_in_any_order(perceptron, task):
    images, labels = task
    few, back = replace(QUICK, images=100), torch.arange(len(labels)).flip(0)
    one, two = (audit(perceptron, *pair, epsilon=EPSILON, effort=few) for pair in (task, (images[back], labels[back])))
    assert (one.samples, one.claimed, one.robust) == (100, two.claimed, two.robust)
    assert one.correct["claimed"] == two.correct["claimed"][::-1]
    assert f"100 of the {len(labels)} images were audited." in one.notes


def test_a_report_goes_to_json_and_back_and_onto_a_page(plain, tmp_path):
    plain.to_json(tmp_path / "report.json")
    assert Report.from_json(tmp_path / "report.json") == plain
    plain.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Not masked" in page
    assert f"{100 * plain.robust_accuracy:.1f}" in page


def test_a_model_that_fails_on_attacked_images_only_still_gets_a_report(perceptron, task, tmp_path):
    """It returns NaN wherever a pixel is no sixteenth, as in all images but the given ones."""

    def model(images):
        odd = ((16 * images).frac() != 0).flatten(1).any(1, keepdim=True)
        return torch.where(odd, torch.nan, perceptron(images))

    report = audit(model, *task, epsilon=EPSILON)
    report.to_json(tmp_path / "report.json")
    report.to_html(tmp_path / "report.html")
    assert report.clean.value > 0.9


# --- what a verdict may say


@pytest.mark.parametrize("wrap", [ZeroBackward, Quantised])
def test_a_model_without_gradients_is_not_cleared(wrap, perceptron, task):
    report = audit(wrap(perceptron), *task, epsilon=0.01)
    assert report.verdict == "inconclusive"
    assert "What was run in place of gradients settles nothing" in report.decision.reason


def test_an_operation_without_a_backward_pass_is_seen_through(perceptron, task):
    report = audit(lambda x: perceptron(x * 16 // 1 / 16), *task, epsilon=EPSILON)
    assert report.verdict == "masked"
    assert report.causes[0] == "non-differentiable operations"
    assert report.claimed == report.clean
    assert "backward pass fails (derivative for aten::floor_divide is not implemented)" in report.notes[0]


# --- what the user brings


def test_transfer_from_a_twin_unmasks_what_hides_its_gradient(perceptron, task):
    report = audit(RandomSignBackward(perceptron, seed=0), *task, epsilon=EPSILON, twin=perceptron)
    assert "transfer beats gradients" in report.causes
    assert report.robust.count <= audit(perceptron, *task, epsilon=EPSILON).robust.count + 1


def test_a_twin_that_hides_nothing_is_no_cause(perceptron, linear, task):
    for twin in (perceptron, linear):
        assert audit(perceptron, *task, epsilon=EPSILON, twin=twin).verdict == "not masked"


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda model: lambda images: model(images)[:, :3],
            r"twin: expected logits \(N, 10\), as the model's, got \(N, 3\)",
        ),
        (lambda model: black_box(lambda images: np.eye(10)[: len(images)]), "twin: expected gradients"),
        (lambda model: lambda images: model(images)[0], "twin: expected logits"),
    ],
)
def test_a_twin_that_cannot_stand_in_is_refused_at_once(perceptron, task, wrap, message):
    with pytest.raises(ValueError, match=message):
        audit(perceptron, *task, epsilon=EPSILON, twin=wrap(perceptron))


def test_a_twin_speaks_for_a_black_box_too(perceptron, task):
    model = black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())
    report = audit(model, *task, epsilon=EPSILON, twin=perceptron, reference=FRSM(epsilon=EPSILON))
    assert "transfer beats gradients" in {finding.name for finding in report.findings}
    assert report.robust.count <= audit(perceptron, *task, epsilon=EPSILON).robust.count + 3


def test_an_attack_of_the_users_takes_part(perceptron, task):
    masked = RandomSignBackward(perceptron, seed=0)
    report = audit(
        masked,
        *task,
        epsilon=EPSILON,
        attacks=[Through(attack=FGSM(epsilon=EPSILON), stand_in=lambda model: perceptron)],
    )
    assert "your attack beats gradients" in report.causes
    assert "your attack" in [attack.name for attack in report.attacks]
    plain = audit(
        perceptron,
        *task,
        epsilon=EPSILON,
        attacks=[lambda model, images, labels: images, PGD(epsilon=EPSILON, steps=2)],
    )
    assert plain.verdict == "not masked"
    assert {"your attack 1", "your attack 2"} <= {attack.name for attack in plain.attacks}


def thorough(model, images, labels):
    """Nothing but gradients, many of them."""
    found = images
    for seed in range(3):
        for attack in (APGD(epsilon=0.12, steps=30, seed=seed), TargetedAPGD(epsilon=0.12, steps=20, seed=seed)):
            left = predict(model, found) == labels
            if left.any():
                found = found.clone()
                found[left] = attack(model, images[left], labels[left])
    return found


def test_a_thorough_attack_along_gradients_is_no_sign_of_masking(perceptron, task):
    """It is held against as many gradients as it takes, which its settings do not tell."""
    report = audit(perceptron, *task, epsilon=0.12, attacks=[thorough], effort=QUICK)
    assert report.verdict == "not masked"


def test_an_attack_of_the_users_is_run_on_however_few_are_left(perceptron, task):
    seen = []

    def watched(model, images, labels):
        seen.append(len(images))
        return images

    report = audit(perceptron, *task, epsilon=0.18, attacks=[watched], effort=QUICK)
    assert 0 < sum(seen) < 20
    assert report.verdict == "not masked"


@dataclass(frozen=True, kw_only=True)
class Fussy:
    """Refuses epsilon 0, and any loss but its own."""

    epsilon: float
    loss: str = "ce"

    def __call__(self, model, images, labels):
        if not self.epsilon or self.loss != "ce":
            raise KeyError(self.loss)
        return FGSM(epsilon=self.epsilon, loss=cross_entropy)(model, images, labels)


def test_a_reference_that_cannot_be_changed_is_audited_all_the_same(perceptron, plain, task):
    report = audit(ScaledLogits(perceptron, 300.0), *task, epsilon=EPSILON, reference=Fussy(epsilon=EPSILON))
    assert (report.verdict, report.causes[0]) == ("masked", "float32 saturation")


class OnlyFloat32(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        assert images.dtype == torch.float32
        return self.model(images)


def test_a_model_that_refuses_float64_is_audited(perceptron, task):
    report = audit(OnlyFloat32(perceptron), *task, epsilon=EPSILON, effort=QUICK)
    assert report.not_run["too little precision"].startswith("a float64 copy of the model fails: ")


def test_the_order_of_the_images_decides_nothing(perceptron, task):
    """Operations that only some images need a stand-in for are found on whichever comes first."""

    def clamped(images):
        return perceptron(images).clamp(-6, 6)

    images, labels = task
    lead = perceptron(images).detach().amax(1).argsort()
    one, two = (audit(clamped, images[way], labels[way], epsilon=EPSILON, effort=QUICK) for way in (lead, lead.flip(0)))
    assert (one.verdict, one.causes, one.robust) == (two.verdict, two.causes, two.robust)


def test_an_attack_of_the_users_that_goes_too_far_is_refused(perceptron, task):
    with pytest.raises(
        ValueError, match=r"your attack: expected images in \[0, 1\] within epsilon 0.1, got pixels moved by 0.3"
    ):
        audit(perceptron, *task, epsilon=EPSILON, attacks=[FGSM(epsilon=0.3)])


# --- models that answer at random


def test_a_model_that_answers_at_random_is_judged_by_its_mean(perceptron, task):
    """Over two dozen attacks nearly every image meets an unlucky draw; that is no attack's doing."""
    model = InputNoise(perceptron, 0.5)
    report = audit(model, *task, epsilon=0.001)
    single = sum((examined(model, task[0], seed=seed).argmax(1) == task[1]).sum().item() for seed in range(8)) / 8
    assert report.clean.count > single
    assert report.clean.count >= report.claimed.count >= report.robust.count > report.clean.count - 0.2 * report.samples
    assert any("decide by the mean of its probabilities" in note for note in report.notes)
    assert report.verdict == "not masked"


class OneWeakness:
    """Errs where a pixel is exactly an eighth, which no gradient and no search will find."""

    def __call__(self, images):
        sound = (images.flatten(1) != 0.125).float()
        return torch.cat([sound, 1 - sound], dim=1)


@pytest.mark.parametrize(("hits", "tried", "left"), [(True, 40, 0), (False, 10, 40)])
def test_a_stage_of_the_search_goes_on_as_long_as_examples_fall(hits, tried, left, monkeypatch):
    seen = []

    def attack(model, images, labels):
        seen.append(len(images))
        return torch.full_like(images, 0.125) if hits else images

    def one_stage(battery, findings):
        yield Stage(battery.kit.ledger.trial("a stage", 1, attack), share=0.25)

    monkeypatch.setattr(Battery, "search", one_stage)
    images, labels = torch.linspace(0.2, 1, 40).view(40, 1, 1, 1), torch.zeros(40, dtype=torch.int64)
    report = audit(OneWeakness(), images, labels, epsilon=1.0, effort=QUICK)
    assert sum(seen) == tried
    assert sum(report.correct["worst case"]) == left
