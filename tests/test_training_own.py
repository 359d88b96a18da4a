"""Optimizers and objectives of other people: their state is kept, and their settings tell runs apart."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, RMSprop

from training_cases import RESUMED, Scaled, assert_same, dropping, run
from unmask.training import Watch
from unmask.training.objectives import Adversarial, Augmented, Ensemble


def test_functions_that_make_optimizers_are_told_apart_by_what_they_make(few, tmp_path):
    first, second = (partial(made, momentum=0.9) for made in (SGD, RMSprop))
    functions = [lambda parameters, lr, made=made, **options: made(parameters, lr=lr) for made in (first, second)]
    next(replace(RESUMED, optimizer=functions[0])(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match=r"is of a run with optimizer SGD \{.*, got RMSprop \{"):
        next(replace(RESUMED, optimizer=functions[1])(dropping(), few, checkpoint=tmp_path, resume=True))


class Counting(torch.optim.Optimizer):
    """Steps that grow shorter with a count that it keeps in its group, and one that each parameter keeps."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "k": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            for one in group["params"]:
                state = self.state[one]
                state["step"] = state.get("step", 0) + 1
                one.sub_(group["lr"] / group["k"] / state["step"] * one.grad)


class CountingInATensor(Counting):
    """The same, but for a tensor that counts."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        for group in self.param_groups:
            group["k"] = torch.zeros(())


class Free:
    """Free adversarial training: the perturbation goes on from the last update."""

    def __init__(self):
        self.noise = torch.zeros(30, 1, 8, 8)

    def __call__(self, model, images, labels, *, step):
        noise = self.noise[: len(images)].clone().requires_grad_()
        loss = functional.cross_entropy(model((images + noise).clamp(0, 1)), labels)
        (slope,) = torch.autograd.grad(loss, noise, retain_graph=True)
        self.noise = self.noise.clone()
        self.noise[: len(images)] = (noise.detach() + 0.1 * slope.sign()).clamp(-0.1, 0.1)
        return loss

    def state_dict(self):
        return {"noise": self.noise}

    def load_state_dict(self, state):
        self.noise = state["noise"]


class Bank(Free):
    """One that is empty at first, and then is not."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __len__(self):
        return len(self.seen)

    def __call__(self, model, images, labels, *, step):
        self.seen.append(step)
        return super().__call__(model, images, labels, step=step)


class Tracking(nn.Module):
    """A module that begins with chance numbers and follows the loss."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.rand(()))

    def forward(self, model, images, labels, *, step):
        loss = functional.cross_entropy(model(images), labels)
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss * self.mean


@pytest.mark.parametrize(
    "brought",
    [
        lambda: {"optimizer": Counting},
        lambda: {"optimizer": CountingInATensor},
        lambda: {"objective": Free()},
        lambda: {"objective": Bank()},
        lambda: {"objective": Augmented(objective=Free(), padding=1)},
    ],
)
def test_what_optimizers_and_objectives_count_is_resumed(brought, few, tmp_path):
    run(replace(RESUMED, weight_decay=0.0, **brought()), through := dropping(), few)
    next(replace(RESUMED, weight_decay=0.0, **brought())(dropping(), few, checkpoint=tmp_path))
    trainer = replace(RESUMED, weight_decay=0.0, **brought())
    run(trainer, resumed := dropping(seed=1), few, checkpoint=tmp_path, resume=True)
    assert_same(resumed, through)


@pytest.mark.parametrize("made", [Free, Bank, Tracking, lambda: Wrapped(Tracking())])
def test_what_an_objective_counts_is_no_setting_of_the_run(made, few, tmp_path):
    """The same object goes on, or a new one that gets the state of the checkpoint."""
    itself = made()
    start = copy.deepcopy(itself)
    run(replace(RESUMED, objective=copy.deepcopy(start)), through := dropping(), few)
    for first, second in ((itself, itself), (start, made())):
        folder = tmp_path / str(second is itself)
        next(replace(RESUMED, objective=first)(dropping(), few, checkpoint=folder))
        run(replace(RESUMED, objective=second), resumed := dropping(), few, checkpoint=folder, resume=True)
        assert_same(resumed, through)


class Wrapped:
    """An objective of one's own around another."""

    def __init__(self, objective):
        self.objective = objective

    def __call__(self, model, images, labels, *, step):
        return self.objective(model, images, labels, step=step)


class ScaledFree(Free):
    """A setting beside what it remembers."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale


@dataclass(frozen=True, repr=False)
class Quiet:
    """It shows nothing of its settings."""

    smoothing: float

    def __call__(self, model, images, labels, *, step):
        return functional.cross_entropy(model(images), labels, label_smoothing=self.smoothing)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ScaledFree(0.1), ScaledFree(0.9)),
        (Wrapped(ScaledFree(0.1)), Wrapped(ScaledFree(0.9))),
        (Wrapped(Scaled(2)), Wrapped(Scaled(3))),
        (Quiet(0.0), Quiet(0.5)),
    ],
)
def test_what_it_does_not_count_is_a_setting(one, other, few, tmp_path):
    next(replace(RESUMED, objective=copy.deepcopy(one))(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match="is of a run with objective"):
        next(replace(RESUMED, objective=other)(dropping(), few, checkpoint=tmp_path, resume=True))
    next(replace(RESUMED, objective=one)(dropping(), few, checkpoint=tmp_path, resume=True))


def with_an_empty_group(parameters, lr):
    return SGD([{"params": list(parameters)}, {"params": [], "weight_decay": 0.0}], lr=lr)


def with_another(parameters, lr):
    return SGD([*parameters, nn.Parameter(torch.zeros(3))], lr=lr)


def with_an_anchor(parameters, lr):
    own = list(parameters)
    return SGD(
        [{"params": own, "anchor": [one.detach().clone() for one in own], "by": lambda x: x, "of": {"a"}}], lr=lr
    )


@pytest.mark.parametrize("made", [with_an_empty_group, with_another, with_an_anchor])
def test_groups_may_hold_anything(made, few, tmp_path):
    trainer = replace(RESUMED, weight_decay=0.0, optimizer=made)
    run(trainer, through := dropping(), few)
    next(trainer(model := dropping(), few, checkpoint=tmp_path))
    run(trainer, model, few, checkpoint=tmp_path, resume=True)
    assert_same(model, through)
    assert " at 0x" not in (tmp_path / "checkpoint.json").read_text()


def still_in_front(parameters, lr):
    first, *others, last = parameters
    return SGD([{"params": [first], "lr": 0.0}, {"params": [*others, last]}], lr=lr)


def backwards(parameters, lr):
    return SGD(list(parameters)[::-1], lr=lr, momentum=0.9)


def decaying(decay):
    return lambda parameters, lr: SGD([{"params": [one], "weight_decay": decay} for one in parameters], lr=lr)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(SGD, momentum=0.9), backwards),
        (still_in_front, SGD),
        (decaying(0.01), decaying(5.0)),
        (partial(SGD, momentum=0.9), partial(SGD, momentum=0.8)),
    ],
)
def test_going_on_with_other_groups_is_refused(one, other, few, tmp_path):
    trainer = replace(RESUMED, weight_decay=0.0)
    next(replace(trainer, optimizer=one)(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match=r"is of a run with optimizer (\w+) \{.* got \1 \{"):
        next(replace(trainer, optimizer=other)(dropping(), few, checkpoint=tmp_path, resume=True))
    next(replace(trainer, optimizer=one)(dropping(), few, checkpoint=tmp_path, resume=True))


def test_groups_keep_learning_rates_of_their_own(few):
    model = dropping()
    before = copy.deepcopy(model)
    run(replace(RESUMED, optimizer=still_in_front, weight_decay=0.0), model, few)
    assert torch.equal(model[1].weight, before[1].weight)
    assert not torch.equal(model[5].weight, before[5].weight)


def test_a_learning_rate_within_an_optimizer_is_refused(few):
    trainer = replace(RESUMED, optimizer=partial(SGD, lr=0.1))
    with pytest.raises(ValueError, match="optimizer: expected its learning rate as learning_rate, got an lr in"):
        next(trainer(dropping(), few))


@dataclass(frozen=True)
class Taught:
    """Learns what a teacher says, or one of several."""

    teacher: object

    def __call__(self, model, images, labels, *, step):
        first = self.teacher[0] if isinstance(self.teacher, tuple) else self.teacher
        return (model(images) - first(images).detach()).square().mean()


def taught(model, images, labels, *, step, teacher):
    return Taught(teacher)(model, images, labels, step=step)


def test_going_on_with_another_teacher_or_attack_within_is_refused(few, tmp_path):
    source = dropping().eval()
    attacks = [Moving(0.1), Moving(0.2)]
    for place, (one, other) in enumerate(
        (
            [partial(taught, teacher=dropping(seed=seed).eval()) for seed in (1, 2)],
            [Ensemble(attack=attack, sources=(source,)) for attack in attacks],
            [Adversarial(attack=attack) for attack in attacks],
        )
    ):
        next(replace(RESUMED, objective=one)(dropping(), few, checkpoint=tmp_path / str(place)))
        with pytest.raises(ValueError, match="resume with the same settings"):
            next(replace(RESUMED, objective=other)(dropping(), few, checkpoint=tmp_path / str(place), resume=True))


class Moving:
    """An attack that shows nothing of what it holds."""

    def __init__(self, by):
        self.by = by

    def __call__(self, model, images, labels):
        return (images + self.by).clamp(0, 1)


@pytest.mark.parametrize("held", [lambda model: model, lambda model: (model,)])
def test_going_on_with_another_teacher_is_refused(held, few, tmp_path):
    trainers = [replace(RESUMED, objective=Taught(held(dropping(seed=seed).eval()))) for seed in (1, 1, 2)]
    next(trainers[0](dropping(), few, checkpoint=tmp_path))
    next(trainers[1](dropping(), few, checkpoint=tmp_path, resume=True))
    with pytest.raises(ValueError, match="resume with the same settings"):
        next(trainers[2](dropping(), few, checkpoint=tmp_path, resume=True))


def test_going_on_with_a_watch_of_other_images_is_refused(few, tmp_path):
    def watching(rows):
        return Watch(epsilon=0.1, images=few.images[rows], labels=few.labels[rows], every=2)

    next(RESUMED(dropping(), few, checkpoint=tmp_path, watch=watching(slice(0, 50))))
    with pytest.raises(ValueError, match="watch"):
        next(RESUMED(dropping(), few, checkpoint=tmp_path, resume=True, watch=watching(slice(50, 100))))
