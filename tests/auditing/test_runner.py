"""The audit, end to end: right where theory has the answer, the same however it is cut up, plain about bad input."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unmask.adapters import black_box
from unmask.attacks import FRSM, predict
from unmask.auditing import FULL, QUICK, audit
from unmask.models.masked import Quantised, ScaledLogits, SoftmaxOutput, ZeroBackward
from unmask.reports import Report

EPSILON = 0.1


@pytest.fixture(scope="module")
def followed(perceptron, task):
    """The report of a full audit of the perceptron in two batches, and its progress: stages and shares."""
    told = []
    report = audit(
        perceptron, *task, epsilon=EPSILON, batch_size=50, progress=lambda stage, share: told.append((stage, share))
    )
    return report, told


@pytest.fixture(scope="module")
def plain(followed):
    """The report of a full audit of the perceptron."""
    return followed[0]


@pytest.fixture
def expected(effort, request):
    """The report of an audit of the perceptron with this effort."""
    return request.getfixturevalue("plain" if effort is FULL else "tiny_plain")


@pytest.fixture
def unsearched(tiny):
    """Little effort without the search for the robust accuracy."""
    return replace(tiny, search=0)


def slow(case):
    """Return a case for the slow tier alone."""
    return pytest.param(case, marks=pytest.mark.slow)


def outcomes(report):
    """Return for each attack which examples withstood it; those that were not attacked withstood."""
    found = {}
    for attack in report.attacks:
        held = dict(zip(attack.rows or range(report.samples), attack.correct, strict=True))
        found[attack.name, len(held)] = [held.get(row, True) for row in range(report.samples)]
    return found


# --- one full audit for each verdict


def test_full_audit_of_a_plain_network_finds_nothing(plain):
    assert (plain.verdict, plain.causes) == ("not masked", [])
    assert plain.claimed_accuracy - plain.robust_accuracy < 0.08
    assert plain.not_run == {}


def test_full_audit_finds_saturation_and_takes_it_away(perceptron, plain, task):
    report = audit(ScaledLogits(perceptron, 300.0), *task, epsilon=EPSILON)
    assert (report.verdict, report.causes[0]) == ("masked", "float32 saturation")
    assert report.claimed_accuracy > 0.9
    assert report.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.01)


def test_full_audit_leaves_it_open_where_nothing_but_scores_can_be_asked_for(perceptron, task):
    opaque = black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())
    report = audit(opaque, task[0][:40], task[1][:40], epsilon=0.01, reference=FRSM(0.01))
    assert report.verdict == "inconclusive"
    assert "checks could not be run (no gradients)" in report.decision.reason


# --- what it finds


@pytest.mark.parametrize("wrap", [ZeroBackward, Quantised])
def test_model_with_useless_gradients_is_not_cleared(wrap, perceptron, task, effort):
    effort = effort if effort is FULL else replace(effort, search=0)
    report = audit(wrap(perceptron), *task, epsilon=0.01, effort=effort)
    assert report.verdict == "inconclusive"
    assert "What was run in place of gradients settles nothing" in report.decision.reason


@pytest.mark.parametrize("epsilon", [0.05, 0.2])
def test_linear_model_has_its_closed_form(epsilon, linear, task, effort):
    """An image is robust if for each rival k the maximum of z_k - z_y over its box, pixel by pixel, is below 0."""
    images, labels = task
    weight, bias = linear[1].weight.detach().double(), linear[1].bias.detach().double()
    x = images.flatten(1).double()
    low, high = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)
    slope = weight - weight[labels][:, None]  # (N, K, pixels)
    most = torch.where(slope > 0, slope * high[:, None], slope * low[:, None]).sum(2) + bias - bias[labels][:, None]
    robust = most.scatter(1, labels[:, None], -1.0).amax(1) < 0
    report = audit(linear, images, labels, epsilon=epsilon, effort=effort)
    assert report.correct["robust"] == robust.tolist()
    assert report.robust.count == int(robust.sum())
    assert report.clean.count == int((predict(linear, images) == labels).sum())
    assert (report.verdict, report.causes) == ("not masked", [])


@pytest.mark.parametrize("wrap", [ScaledLogits, *map(slow, (ZeroBackward, Quantised, SoftmaxOutput))])
def test_robust_accuracy_is_the_lowest(wrap, perceptron, task, effort):
    report = audit(wrap(perceptron), *task, epsilon=EPSILON, effort=effort)
    standing = zip(*outcomes(report).values(), strict=True)
    assert report.robust.count <= sum(map(all, standing))
    assert report.robust_accuracy <= min(attack.accuracy.value for attack in report.attacks)
    assert report.robust_accuracy <= report.claimed_accuracy
    assert report.interval[0] <= report.robust_accuracy <= report.interval[1]


def test_model_no_better_than_guessing_has_no_robustness_to_judge(tiny_audit, unsearched):
    report = tiny_audit(lambda x: 0 * x.flatten(1)[:, :10], effort=unsearched)
    assert report.verdict == "inconclusive"
    assert "no better than guessing one of 10 classes" in report.decision.reason


def test_operation_without_a_backward_pass_is_seen_through(perceptron, tiny_audit, unsearched):
    report = tiny_audit(lambda x: perceptron(x * 16 // 1 / 16), effort=unsearched)
    assert report.verdict == "masked"
    assert report.causes[0] == "non-differentiable operations"
    assert report.claimed == report.clean
    assert "backward pass fails (derivative for aten::floor_divide is not implemented)" in report.notes[0]


def test_probabilities_are_noted_and_audited_as_logits(perceptron, tiny_plain, tiny_audit):
    report = tiny_audit(SoftmaxOutput(perceptron).eval())
    assert "returns probabilities" in report.notes[0]
    assert report.causes == []
    assert report.robust_accuracy == pytest.approx(tiny_plain.robust_accuracy, abs=0.01)


@pytest.mark.slow
def test_probabilities_without_more_are_not_masked(perceptron, held_out):
    images, labels = held_out.images[:150], held_out.labels[:150]
    plain, report = (audit(model, images, labels, epsilon=EPSILON) for model in (perceptron, SoftmaxOutput(perceptron)))
    assert report.verdict == "not masked"
    assert report.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.01)


def test_float64_decides_as_float32(perceptron, tiny_plain, tiny_audit):
    layers = [nn.Linear(*layer.weight.shape[::-1]) for layer in perceptron[1::2]]
    model = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1]).double().eval()
    model.load_state_dict(perceptron.state_dict())
    report = tiny_audit(model)
    assert report.environment["precision"] == "float64"
    assert report.verdict == tiny_plain.verdict
    assert report.robust_accuracy == pytest.approx(tiny_plain.robust_accuracy, abs=0.01)


def test_model_that_fails_on_attacked_images_only_still_gets_a_report(perceptron, tiny_audit, unsearched, tmp_path):
    """It returns NaN wherever a pixel is no sixteenth, as in all images but the given ones."""

    def model(images):
        odd = ((16 * images).frac() != 0).flatten(1).any(1, keepdim=True)
        return torch.where(odd, torch.nan, perceptron(images))

    report = tiny_audit(model, effort=unsearched)
    report.to_json(tmp_path / "report.json")
    report.to_html(tmp_path / "report.html")
    assert report.clean.value > 0.9


# --- the same however it is cut up


@pytest.mark.parametrize("size", [30, slow(1000)])
def test_batch_size_does_not_matter(size, perceptron, expected, task, effort):
    report = audit(perceptron, *task, epsilon=EPSILON, effort=effort, batch_size=size)
    assert outcomes(report) == outcomes(expected)
    assert report.decision.answer == expected.decision.answer


def test_order_of_the_images_does_not_matter(perceptron, expected, task, effort):
    images, labels = task
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    report = audit(perceptron, images[order], labels[order], epsilon=EPSILON, effort=effort)
    for name, correct in outcomes(expected).items():
        assert outcomes(report)[name] == [correct[row] for row in order.tolist()], name
    assert replace(report.decision, reason="") == replace(expected.decision, reason="")
    assert report.robust == expected.robust


def test_order_of_the_images_does_not_matter_to_the_proxies(perceptron, task):
    """Operations that only some images need BPDA for are found on whichever comes first."""

    def clamped(images):
        return perceptron(images).clamp(-6, 6)

    images, labels = task
    lead = perceptron(images).detach().amax(1).argsort()
    one, two = (
        audit(clamped, images[way], labels[way], epsilon=EPSILON, effort=replace(QUICK, queries=100))
        for way in (lead, lead.flip(0))
    )
    assert (one.verdict, one.causes, one.robust) == (two.verdict, two.causes, two.robust)


def test_any_iterable_of_batches_will_do(perceptron, tiny_plain, task, tiny):
    loader = DataLoader(TensorDataset(*task), batch_size=48)
    report = audit(perceptron, loader, epsilon="0.1", effort=tiny)
    assert replace(report, seconds=0.0) == replace(tiny_plain, seconds=0.0)


def test_nothing_about_the_model_or_the_random_state_changes(perceptron, task, tiny):
    model = nn.Sequential(perceptron, nn.Dropout(0.1)).train()
    perceptron.eval()
    torch.manual_seed(4)
    before, images = torch.get_rng_state(), task[0][:50].clone()
    report = audit(model, images, task[1][:50], epsilon=EPSILON, effort=replace(tiny, shown=50))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, task[0][:50])
    assert [model.training, model[0].training, model[1].training] == [True, False, True]
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert list(report.notes) == ["The model was in training mode; it was audited in evaluation mode."]


# --- what is refused


def returning(change):
    return lambda images: change(images.flatten(1)[:, :10])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (returning(lambda z: z[:, :9]), {}, r"model: expected logits \(N, 10\) for 10 classes, got \(N, 9\)"),
        (returning(lambda z: z), {"classes": "abc"}, r"labels: expected classes from 0 to 2, got 0 to 9"),
        (returning(lambda z: z * float("nan")), {}, "model: expected finite logits, got NaN on 100 of 100 images"),
        (returning(lambda z: z + float("inf")), {}, "model: expected finite logits, got infinite values on 100 of 100"),
        (
            returning(lambda z: z[:, :, None]),
            {},
            r"model: expected logits \(.*, classes\) for .*, got \(.*, 10, 1\)",
        ),
        (returning(lambda z: z), {"epsilon": 8}, r"epsilon: expected a number in \[0, 1\], got 8; .* as 8/255"),
        (returning(lambda z: z), {"epsilon": "much"}, "epsilon: expected a number in .*, got 'much'"),
        (returning(lambda z: z), {"epsilon": None}, "epsilon: expected .*, got None"),
        (returning(lambda z: z), {"batch_size": 0}, "batch size: expected a whole number above 0, got 0"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            {"device": "meta"},
            r"device: expected the model on meta, found it on cpu; call model.to\('meta'\) first",
        ),
    ],
)
def test_bad_input_is_refused(model, options, message, tiny_audit):
    with pytest.raises(ValueError, match=message):
        tiny_audit(model, **options)


# --- progress, time and effort


def test_progress_never_goes_back_and_ends_at_one(followed):
    _, told = followed
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] == pytest.approx(1)
    assert max(later - earlier for earlier, later in pairwise(shares)) < 0.25
    assert {"reference attack", "40 steps"} <= {stage for stage, _ in told}


def test_what_there_was_no_time_for_is_said(perceptron, task):
    report = audit(perceptron, *task, epsilon=0.02, budget=1e-6)
    assert report.verdict == "inconclusive"
    for name in ("single-step attack too weak", "Auto-PGD", "curves over epsilon"):
        assert report.not_run[name] == "no time"
    assert not report.curves
    assert "no time" in report.decision.reason
    assert [attack.name for attack in report.attacks] == ["reference attack"]


def test_time_enough_changes_nothing(perceptron, tiny_plain, tiny_audit):
    report = tiny_audit(perceptron, budget=3600.0)
    assert replace(report, seconds=0.0) == replace(tiny_plain, seconds=0.0)


def test_quick_audit_decides_alike_where_the_matter_is_plain(perceptron, plain, task):
    quick = audit(perceptron, *task, epsilon=EPSILON, effort=QUICK)
    assert quick.verdict == plain.verdict
    assert len(quick.attacks) < len(plain.attacks)
    masked = audit(ScaledLogits(perceptron, 300.0), *task, epsilon=EPSILON, effort=QUICK)
    assert (masked.verdict, masked.causes[0]) == ("masked", "float32 saturation")


def test_audit_of_some_of_the_images_takes_the_same_in_any_order(perceptron, task, tiny):
    images, labels = task
    few, back = replace(tiny, images=60, shown=25), torch.arange(len(labels)).flip(0)
    one, two = (audit(perceptron, *pair, epsilon=EPSILON, effort=few) for pair in (task, (images[back], labels[back])))
    assert (one.samples, one.images_given, one.claimed, one.robust) == (60, 100, two.claimed, two.robust)
    assert one.correct["claimed"] == two.correct["claimed"][::-1]
    assert "60 of the 100 images were audited." in one.notes
    assert "The curves over epsilon rest on 25 of the images." in one.notes


def test_report_goes_to_json_and_back_and_onto_a_page(plain, tmp_path):
    plain.to_json(tmp_path / "report.json")
    assert Report.from_json(tmp_path / "report.json") == plain
    plain.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Not masked" in page
    assert f"{100 * plain.robust_accuracy:.1f}" in page
