"""The evaluator: rows by index, each trial once, images where they are kept, time, cache, and work counted once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unmask.adapters import black_box
from unmask.attacks import FGSM, PGD, predict
from unmask.auditing import curves, runner
from unmask.auditing.cache import Cache
from unmask.auditing.clock import Clock
from unmask.auditing.evaluator import Evaluator, Omission, OutOfTimeError, RefusedError
from unmask.auditing.trial import Proxy, Trial
from unmask.models.masked import Quantised
from unmask.numerics import Batches
from unmask.threats import Linf

IMAGES = torch.linspace(0.1, 0.9, 40).view(20, 1, 1, 2)
LABELS = torch.ones(20, dtype=torch.int64)
ROWS = torch.tensor([3, 4, 11])


def flat(images):
    """The two pixels as logits."""
    return images.flatten(1)


def unchanged(model, images, labels):
    return images


def darker(model, images, labels):
    """Darken the second pixel by 0.05, which is more than the lead."""
    return images - torch.tensor([0.0, 0.05])


class Noted:
    """An attack that notes the images it is given, and returns them darker."""

    def __init__(self):
        self.given = []

    def __call__(self, model, images, labels):
        self.given.extend(images[:, 0, 0, 0].tolist())
        return darker(model, images, labels)


def evaluator_of(model=flat, *, size=7, **options):
    """An evaluator that has run no attack, in batches of seven."""
    evaluator = Evaluator(
        model=model, images=IMAGES, labels=LABELS, threat=Linf(0.06), batches=Batches(size=size), **options
    )
    evaluator.run(evaluator.trial("no attack", unchanged, keep_images=True))
    return evaluator


# --- rows


def test_trial_is_run_on_rows_by_index():
    evaluator, attack = evaluator_of(), Noted()
    trial = evaluator.trial("darker", attack, keep_images=True)
    outcome = evaluator.run(trial, ROWS)
    assert attack.given == IMAGES[ROWS, 0, 0, 0].tolist()
    assert torch.equal(outcome.images, darker(None, IMAGES[ROWS], None))
    assert (~evaluator.worst.correct).nonzero().flatten().tolist() == ROWS.tolist()
    assert evaluator.entries[-1].rows is ROWS
    evaluator.run(trial, ROWS.clone())
    assert len(attack.given) == len(ROWS)
    evaluator.run(trial)
    assert len(attack.given) == len(ROWS) + len(IMAGES)


def test_outcome_on_all_is_sliced_for_rows():
    evaluator, attack = evaluator_of(), Noted()
    trial = evaluator.trial("darker", attack, keep_images=True)
    whole = evaluator.run(trial)
    assert len(attack.given) == len(IMAGES)
    part = evaluator.run(trial, ROWS)
    assert len(attack.given) == len(IMAGES)
    assert len(evaluator.entries) == 2
    for one, other in zip(part, whole, strict=True):
        assert torch.equal(one, other[ROWS])


def test_outcome_has_images_only_where_they_are_kept():
    evaluator = evaluator_of()
    outcome = evaluator.run(evaluator.trial("darker", darker))
    assert outcome.images.shape == (0, 1, 1, 2)
    assert outcome.correct.shape == (20,)
    assert evaluator.run(evaluator.trial("darker", darker), ROWS).images.shape == (0, 1, 1, 2)
    kept = evaluator.run(evaluator.trial("darker, kept", darker, keep_images=True))
    assert torch.equal(kept.images, darker(None, IMAGES, None))
    assert {len(entry.outcome.images) for entry in evaluator.entries} == {0}


def test_measure_takes_all_rows_or_other_images():
    evaluator = evaluator_of()

    def measure(images, labels):
        return images[:, 0, 0, 0], labels

    assert torch.equal(evaluator.measure(measure)[0], IMAGES[:, 0, 0, 0])
    assert torch.equal(evaluator.measure(measure, ROWS)[0], IMAGES[ROWS, 0, 0, 0])
    assert torch.equal(evaluator.measure(measure, images=1 - IMAGES)[0], 1 - IMAGES[:, 0, 0, 0])


def test_sample_is_drawn_by_content_in_any_order():
    evaluator, back = evaluator_of(), torch.arange(19, -1, -1)
    other = Evaluator(model=flat, images=IMAGES[back], labels=LABELS, threat=Linf(0.06))
    rows = evaluator.sample(5, seed=3)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert torch.equal(other.images[other.sample(5, seed=3)].flip(0), IMAGES[rows])
    assert set(evaluator.sample(2, ROWS, seed=0).tolist()) < set(ROWS.tolist())
    assert evaluator.sample(9, ROWS, seed=0).tolist() == ROWS.tolist()


# --- trials


def test_equal_attacks_share_a_trial():
    evaluator = evaluator_of()
    trial = evaluator.trial("a step", FGSM(0.05))
    assert evaluator.trial("the same step", FGSM("0.05")) is trial
    assert evaluator.trial("another step", FGSM(0.04)) is not trial
    assert evaluator.trial("two steps", FGSM(0.05), FGSM(0.05)) is not trial
    assert evaluator.trial("a step, kept", FGSM(0.05), keep_images=True) is not trial
    network = nn.Flatten()
    on_proxy = evaluator.trial("a step elsewhere", FGSM(0.05), proxy=Proxy("one", network))
    assert on_proxy is not trial
    assert evaluator.trial("again", FGSM(0.05), proxy=Proxy("another name", network)) is on_proxy
    assert evaluator.trial("again", FGSM(0.05), proxy=Proxy("one", nn.Flatten())) is not on_proxy


def test_trial_that_keeps_images_serves_one_that_does_not():
    evaluator = evaluator_of()
    trial = evaluator.trial("a step", FGSM(0.05), keep_images=True)
    assert evaluator.trial("a step", FGSM(0.05)) is trial


def test_attack_that_is_no_attack_is_refused_at_the_door():
    with pytest.raises(ValueError, match="attack: expected one that takes"):
        evaluator_of().trial("a class", PGD)


def test_images_of_a_proxy_are_judged_by_the_model():
    """The proxy errs everywhere and the model nowhere; and the other way round."""
    evaluator, wrong = evaluator_of(), nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    found = evaluator.run(evaluator.trial("on a proxy", unchanged, proxy=Proxy("wrong", lambda x: -wrong(x))))
    assert found.correct.all()
    found = evaluator.run(evaluator.trial("on a rounded one", darker, proxy=Proxy("rounded", Quantised(flat))))
    assert not found.correct.any()


def test_judge_decides_in_place_of_the_model():
    evaluator = evaluator_of(judge=lambda images: -flat(images))
    assert not evaluator.run(evaluator.trial("no attack", unchanged, keep_images=True)).correct.any()


def test_attack_that_exceeds_the_threat_model_is_refused():
    evaluator = evaluator_of()
    with pytest.raises(ValueError, match=r"too far: expected images in .* within epsilon 0.06, got pixels moved"):
        evaluator.run(evaluator.trial("too far", lambda m, x, y: x + 0.1))
    assert len(evaluator.entries) == 1


def test_unrecorded_trial_counts_for_nothing():
    evaluator = evaluator_of()
    trial = Trial(name="far", attacks=evaluator.trial("far", FGSM(1.0)).attacks)
    assert not evaluator.run_unrecorded(trial, ROWS).correct.any()
    assert len(evaluator.entries) == 1
    assert evaluator.worst.correct.all()


def test_unrecorded_trial_that_fails_is_refused_and_not_out_of_memory():
    """Memory that runs out halves the batch, down to a single example."""
    evaluator, sizes = evaluator_of(), []

    def fussy(model, images, labels):
        raise KeyError("loss")

    def hungry(model, images, labels):
        sizes.append(len(images))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RefusedError, match="KeyError: 'loss'"):
        evaluator.run_unrecorded(evaluator.trial("fussy", fussy))
    with pytest.raises(torch.OutOfMemoryError):
        evaluator.run_unrecorded(evaluator.trial("hungry", hungry))
    assert sizes == [7, 3, 1]


def test_worst_images_need_the_clean_trial():
    evaluator = Evaluator(model=flat, images=IMAGES, labels=LABELS, threat=Linf(0.1))
    with pytest.raises(RuntimeError, match="evaluator: expected the clean trial to have been run"):
        _ = evaluator.worst


# --- time


class Ticking(Clock):
    """A clock on which each gradient takes a second."""

    def spent(self):
        return self.done


def test_trial_that_takes_too_long_is_not_begun():
    """The first two always are, whatever they take."""
    clock = Ticking(seconds=30.0)
    evaluator = evaluator_of(clock=clock)
    attacks = [Noted() for _ in range(3)]
    first, second, third = (evaluator.trial(f"attack {i}", attack) for i, attack in enumerate(attacks))
    assert [trial.cost for trial in (first, second, third)] == [1.4] * 3
    evaluator.run(first)
    assert clock.done == pytest.approx(2 * 28)
    with pytest.raises(OutOfTimeError, match="attack 1"):
        evaluator.run(second, ROWS)
    assert attacks[1].given == []
    clock.seconds = 56 + 3 * 1.4 + 0.01
    evaluator.run(second, ROWS)
    with pytest.raises(OutOfTimeError, match="attack 2"):
        evaluator.run(third)
    assert len(evaluator.run(first).correct) == 20  # what was run costs nothing


def test_omission_says_whether_it_leaves_the_verdict_open(perceptron, last_context, task):
    opaque = black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())
    runner.audit(opaque, task[0][:20], task[1][:20], epsilon=0.1, budget=1e-9)
    noted = last_context[-1].evaluator.not_run
    assert all(isinstance(one, Omission) for one in noted)
    assert Omission("float32 saturation", "no gradients", open=True) in noted
    assert Omission("outputs are probabilities", "scores serve a search as well", open=False) in noted
    assert Omission("dependence on the batch", "no time", open=True) in noted
    assert Omission("curves over epsilon", "no time", open=False) in noted


# --- cache


def test_outcome_is_found_on_disk(tmp_path):
    attacks = []
    for _ in range(2):
        evaluator = evaluator_of(cache=Cache(folder=tmp_path, task="a task"))
        attacks.append(evaluator.run(evaluator.trial("a step", FGSM(0.05))))
        assert len(evaluator.entries) == 2
    assert len(list(tmp_path.glob("*.outcome"))) == 1
    for one, other in zip(*attacks, strict=True):
        assert torch.equal(one, other)


def test_outcome_on_disk_is_not_made_again_and_costs_nothing(tmp_path, monkeypatch):
    first = evaluator_of(cache=Cache(folder=tmp_path, task="a task"))
    whole = first.run(first.trial("a step", FGSM(0.05)))
    part = first.run(first.trial("a longer step", FGSM(0.06)), ROWS)
    monkeypatch.setattr(FGSM, "__call__", None)
    second = evaluator_of(cache=Cache(folder=tmp_path, task="a task"))
    done = second.clock.done
    assert torch.equal(second.run(second.trial("a step", FGSM(0.05))).correct, whole.correct)
    assert torch.equal(second.run(second.trial("a longer step", FGSM(0.06)), ROWS).margin, part.margin)
    assert second.clock.done == done
    assert torch.equal(second.worst.images, first.worst.images)
    other = evaluator_of(cache=Cache(folder=tmp_path, task="another task"))
    with pytest.raises(TypeError):
        other.run(other.trial("a step", FGSM(0.05)))


# --- work is counted once


def test_batches_within_a_batch_are_not_counted():
    """An attack that has the evaluator measure something on all images, in batches, from within each batch."""
    evaluator = evaluator_of(size=5)
    counted = evaluator.clock.done

    def measuring(model, images, labels):
        (logits,) = evaluator.measure(lambda x, y: predict(model, x))
        assert len(logits) == len(IMAGES)
        return images

    trial = evaluator.trial("measuring", measuring)
    evaluator.run(trial)
    assert evaluator.clock.done - counted == pytest.approx(trial.cost * len(IMAGES))


def test_trial_within_a_trial_is_counted_as_its_own():
    evaluator, told = evaluator_of(size=5), []
    inner = evaluator.trial("a step", FGSM(0.05))
    evaluator.clock.progress, counted = lambda stage, share: told.append(stage), evaluator.clock.done

    def outer(model, images, labels):
        evaluator.run(inner)
        return images

    trial = evaluator.trial("outer", outer)
    evaluator.run(trial)
    assert evaluator.clock.done - counted == pytest.approx((trial.cost + inner.cost) * len(IMAGES))
    assert told == ["a step"] * 4 + ["outer"] * 4


def test_work_of_an_audit_is_the_cost_of_its_attacks_and_curves(tiny_audit, perceptron, last_context):
    """At an epsilon that the curves' grid lacks, so that each has a point for it."""
    tiny_audit(perceptron, epsilon=0.06, batch_size=30)
    (context,) = last_context
    evaluator = context.evaluator
    attacks = sum(entry.trial.cost * len(entry.outcome.correct) for entry in evaluator.entries)
    drawn = context.effort.shown * curves.expected_cost(context)
    assert evaluator.clock.done == pytest.approx(attacks + drawn)
    assert evaluator.clock.expected <= evaluator.clock.done * 1.2


def test_some_examples_cannot_be_attacked_before_the_clean_trial():
    fresh = Evaluator(model=flat, images=IMAGES, labels=LABELS, threat=Linf(0.06))
    with pytest.raises(RuntimeError, match="expected the clean trial to be run first"):
        fresh.run(fresh.trial("a step", FGSM(0.01)), torch.tensor([0]))
