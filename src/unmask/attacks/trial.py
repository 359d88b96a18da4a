"""Run an attack on a whole set in batches, and remember what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from inspect import signature
from itertools import groupby
from types import FunctionType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask.losses import log_odds, margin
from unmask.numerics import Batches, Model, derive_seed, describe, undisturbed

Attack = Callable[[Model, Tensor, Tensor], Tensor]
"""Anything called ``attack(model, images, labels) -> images``."""


class Outcome(NamedTuple):
    """What came of an attack: ``images`` (N, C, H, W), ``predictions`` (N,) on them, and ``correct`` (N,) bool.

    ``loss`` (N,) are the log-odds against the true class on those images, in nats, and ``margin`` (N,) is the highest
    other logit minus the true one, both from the pass that predicted.

    Example:
        >>> outcome = Outcome.of(torch.zeros(2, 1, 1, 2), torch.eye(2), torch.tensor([0, 0]))
        >>> outcome.correct.double().mean().item(), outcome.margin
        (0.5, tensor([-1.,  1.]))
    """

    images: Tensor
    predictions: Tensor
    correct: Tensor
    loss: Tensor
    margin: Tensor

    @classmethod
    def of(cls, images: Tensor, logits: Tensor, labels: Tensor) -> Outcome:
        """The outcome of an attack that came to these images, which the model answers with these logits."""
        predictions = logits.argmax(1)
        loss, lead = log_odds(logits, labels).to(images), margin(logits, labels).to(images)
        return cls(images, predictions, predictions == labels, loss, lead)


@dataclass(kw_only=True)
class Trial:
    """One or several attacks in a row on the same examples, in batches; each attacks only those still standing.

    The worst case per example is what comes back: the first adversarial image that was misclassified, else the last
    that was tried. Attacks see the model in evaluation mode, and each starts from a random state of its own; both are
    afterwards as they were. In an audit, whose model stays as it is, the outcome for the images last given is
    remembered, so that probes can share a trial.

    Attributes:
        attacks: any callables ``attack(model, images, labels) -> images``.
        name: what to call it in a report; by default the attacks' class names.
        batches: how the work is cut up.
        keep_images: whether the images are remembered too. Otherwise an outcome that is recalled has none of them,
            (0, C, H, W), so that a dozen trials hold no dozen copies of a data set.
        judge: makes of the model what decides whether an image fools it, where that is not the model itself.
        entered: who keeps the books: given the trial, the images and what runs it, it returns the outcome.

    Raises:
        ValueError: there is no attack, or something else among them; on the call, one returns no images of the shape
            that it was given.

    Example:
        >>> from unmask.attacks import FGSM
        >>> trial = Trial(attacks=[FGSM(epsilon=0.2)])
        >>> model = lambda x: x.flatten(1)
        >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).view(2, 1, 1, 2)
        >>> trial(model, images, torch.tensor([0, 0])).correct
        tensor([ True, False])
    """

    attacks: Sequence[Attack]
    name: str = ""
    batches: Batches = field(default_factory=Batches)
    keep_images: bool = True
    judge: Callable[[Model], Model] | None = None
    entered: Callable[[Trial, Tensor, Callable[[], Outcome]], Outcome] | None = field(default=None, repr=False)
    _remembered: tuple[tuple[object, ...], Outcome] | None = field(default=None, init=False, repr=False)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Outcome:
        """Attack all examples, or recall what came of it."""
        run = partial(self._run, model, images, labels)
        if not self.entered:
            return run()
        task = (model, images, labels)
        if self._remembered and all(held is given for held, given in zip(self._remembered[0], task, strict=True)):
            return self._remembered[1]
        outcome = self.entered(self, images, run)
        # A part of a tensor holds all of it: what is not to be kept is made anew.
        kept = outcome if self.keep_images else outcome._replace(images=outcome.images[:0].clone())
        self._remembered = (task, kept)
        return outcome

    def _run(self, model: Model, images: Tensor, labels: Tensor) -> Outcome:
        return Outcome(*self.batches(lambda x, y: self._worst(model, x, y), images, labels))

    def _worst(self, model: Model, images: Tensor, labels: Tensor) -> Outcome:
        rows, found, answers = torch.arange(len(images), device=images.device), images.clone(), None
        for place, attack in enumerate(self.attacks):
            found[rows] = attacked(attack, model, images[rows], labels[rows], seed=place)
            logits = examined(self.judge(model) if self.judge else model, found[rows])
            answers = logits.clone() if answers is None else answers
            answers[rows] = logits
            rows = rows[logits.argmax(1) == labels[rows]]
            if not len(rows):
                break
        assert answers is not None
        return Outcome.of(found, answers, labels)

    def __post_init__(self) -> None:
        check_attacks("attacks", self.attacks)
        if not self.attacks:
            raise ValueError("attacks: expected at least one, got none")
        self.name = self.name or ", then ".join(type(attack).__name__ for attack in self.attacks)

    @property
    def settings(self) -> str:
        """The attacks' settings in words; of several of one kind, their number and what they have in common."""
        listed = []
        for kind, run in groupby(self.attacks, key=type):
            alike = list(run)
            each = [settings_of(attack) for attack in alike]
            shared = [f"{key} {value}" for key, value in each[0].items() if all(one.get(key) == value for one in each)]
            name = getattr(alike[0], "__name__", "") if kind is FunctionType else kind.__name__
            times = f"{len(each)} times " if len(each) > 1 else ""
            listed.append(times + name + (": " if shared else "") + ", ".join(shared))
        return "; ".join(listed)


def check_attacks(what: str, attacks: object) -> None:
    """Refuse what is no sequence of attacks, each callable with a model, images and labels.

    Raises:
        ValueError: it is not; the message begins with ``what``.

    Example:
        >>> from unmask.attacks import FGSM
        >>> check_attacks("attacks", [FGSM])
        Traceback (most recent call last):
            ...
        ValueError: attacks: expected one that takes (model, images, labels), got FGSM; a class is to be called first
    """
    if not isinstance(attacks, Sequence):
        raise ValueError(f"{what}: expected a list of attacks, got {type(attacks).__name__}")
    for attack in attacks:
        if not callable(attack):
            raise ValueError(f"{what}: expected a callable attack(model, images, labels), got {attack!r}")
        try:
            signature(attack).bind(None, None, None)
        except TypeError as error:
            hint = "; a class is to be called first" if isinstance(attack, type) else ""
            raise ValueError(
                f"{what}: expected one that takes (model, images, labels), got {describe(attack)}{hint}"
            ) from error
        except ValueError:  # torch and the like have callables without a signature
            continue


def attacked(attack: Attack, model: Model, images: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
    """The images that anybody's attack makes, of a model in evaluation mode, which is left as it was.

    The global random state starts from ``seed``, and is afterwards as it was.

    Raises:
        ValueError: as ``made_by``.

    Example:
        >>> from unmask.attacks import FGSM
        >>> attacked(FGSM(epsilon=0.5), lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.0000, 0.5000])
    """
    with undisturbed(model, seed=derive_seed(seed, "attack")):
        return made_by(attack, model, images, labels)


def made_by(attack: Attack, model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """What an attack makes of a copy of the images: without history, in their type and where they are.

    Raises:
        ValueError: what comes back are no images of the shape that was given.

    Example:
        >>> made_by(lambda model, images, labels: images[0], lambda x: x, torch.zeros(1, 1, 1, 2), torch.tensor([0]))
        Traceback (most recent call last):
            ...
        ValueError: <lambda>: expected images of shape (1, 1, 1, 2) from the attack, got shape (1, 1, 2)
    """
    found = attack(model, images.clone(), labels)
    if not isinstance(found, Tensor) or found.shape != images.shape:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        name = getattr(attack, "__name__", type(attack).__name__)
        raise ValueError(f"{name}: expected images of shape {tuple(images.shape)} from the attack, got {got}")
    return found.detach().to(images)


def predict(model: Model, images: Tensor, *, seed: int = 0) -> Tensor:
    """The class with the highest logit for each image, int64 (N,); evaluation mode, no gradient.

    Example:
        >>> predict(lambda x: x.flatten(1), torch.tensor([0.1, 0.9]).view(1, 1, 1, 2))
        tensor([1])
    """
    return examined(model, images, seed=seed).argmax(1)


def examined(model: Model, images: Tensor, *, seed: int = 0) -> Tensor:
    """The model's logits, in evaluation mode, without gradient, and with random numbers that no attack has met.

    Example:
        >>> examined(lambda x: x.flatten(1), torch.tensor([0.25, 0.75]).view(1, 1, 1, 2))
        tensor([[0.2500, 0.7500]])
    """
    with undisturbed(model, seed=derive_seed(seed, "examiner")), torch.no_grad():
        return model(images)


def settings_of(attack: Attack) -> dict[str, str]:
    """An attack's settings in words, by name, as far as it is a dataclass.

    Example:
        >>> from unmask.attacks import FGSM
        >>> settings_of(FGSM(epsilon=0.25))
        {'epsilon': '0.25', 'loss': 'log odds'}
    """
    if not is_dataclass(attack):
        return {}
    given = {one.name.replace("_", " "): getattr(attack, one.name) for one in fields(attack)}
    return {name: _told(value) for name, value in given.items() if value is not None}


def _told(value: object) -> str:
    """A setting in words: attacks and functions with what they are given, networks by the name of their class."""
    if isinstance(value, partial):
        name, given = value.func.__name__, {name: describe(one) for name, one in value.keywords.items()}
    elif is_dataclass(value) and any(one.name == "epsilon" for one in fields(value)):
        name, given = type(value).__name__, settings_of(value)  # type: ignore[arg-type]
    else:
        return type(value).__name__ if isinstance(value, nn.Module) else describe(value)
    return f"{name}: " + ", ".join(f"{key} {one}" for key, one in given.items())
