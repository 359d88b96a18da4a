"""Evaluate attacks on a model: what becomes of each example under one attack, or under several in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.attacks.attack import as_attack
from unmask.losses import log_odds, margin
from unmask.numerics import Batches, Model, derive_seed, evaluating, undisturbed


class Outcome(NamedTuple):
    """The result of an attack: ``images`` (N, C, H, W), ``predictions`` (N,) on them, and ``correct`` (N,) bool.

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
        """Return the outcome of an attack that came to these images, which the model answers with these logits."""
        predictions = logits.argmax(1)
        loss, lead = log_odds(logits, labels).to(images), margin(logits, labels).to(images)
        return cls(images, predictions, predictions == labels, loss, lead)

    def at(self, rows: Tensor) -> Outcome:
        """Return the outcome of some of the examples."""
        return Outcome(*(one[rows] if len(one) else one for one in self))

    def without_images(self) -> Outcome:
        """Return it with no images, (0, C, H, W); a part of a tensor would hold all of it, so a new one is made."""
        return self._replace(images=self.images[:0].clone())


def evaluate(
    model: Model,
    images: Tensor,
    labels: Tensor,
    attacks: Callable[[Model, Tensor, Tensor], Tensor] | Sequence[Callable[[Model, Tensor, Tensor], Tensor]],
    *,
    batches: Batches | None = None,
    judge: Model | None = None,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Attack all examples in batches: each attack in turn, on the examples that are still classified correctly.

    Of each example the first adversarial image that is misclassified comes back, else the last that was tried. Attacks
    see the model in evaluation mode; each starts from a random state of its own. The model and the global random state
    are afterwards as they were.

    Args:
        attacks: one attack or several, any callables ``attack(model, images, labels) -> images``.
        batches: the batch size and the device; 128 images on the CPU by default.
        judge: decides whether an image is misclassified, where that is not the model itself.
        progress: called after each batch with its number of examples.

    Raises:
        ValueError: there is no attack, one cannot be called as one, or returns no images of the shape it was given.

    Example:
        >>> from unmask.attacks import FGSM
        >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).view(2, 1, 1, 2)
        >>> evaluate(lambda x: x.flatten(1), images, torch.tensor([0, 0]), FGSM(0.2)).correct
        tensor([ True, False])
    """
    listed = list(attacks) if isinstance(attacks, Sequence) else [attacks]
    if not listed:
        raise ValueError("attacks: expected at least one, got none")
    for attack in listed:
        as_attack(attack)
    run = partial(attack_batch, model, listed, judge=judge)
    return Outcome(*(batches or Batches())(run, images, labels, progress=progress))


def attack_batch(
    model: Model,
    attacks: Sequence[Callable[[Model, Tensor, Tensor], Tensor]],
    images: Tensor,
    labels: Tensor,
    *,
    proxy: Model | None = None,
    judge: Model | None = None,
) -> Outcome:
    """Attack one batch as ``evaluate`` does; with a ``proxy``, the attacks are made on it and tried on the model.

    Example:
        >>> from unmask.attacks import FGSM
        >>> image, label = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])
        >>> rounded, smooth = lambda x: x.flatten(1).round(), lambda x: x.flatten(1)
        >>> attack_batch(rounded, [FGSM(0.2)], image, label, proxy=smooth).correct
        tensor([False])
    """
    target, judge = model if proxy is None else proxy, judge or model
    rows, found, answers = torch.arange(len(images), device=images.device), images.clone(), None
    for place, attack in enumerate(attacks):
        part, truth = images[rows], labels[rows]
        with undisturbed(model, seed=derive_seed(place, "attack")), evaluating(target):
            found[rows] = checked(attack(target, part.clone(), truth), attack, part)
        logits = logits_of(judge, found[rows])
        answers = logits.clone() if answers is None else answers
        answers[rows] = logits
        rows = rows[logits.argmax(1) == truth]
        if not len(rows):
            break
    assert answers is not None
    return Outcome.of(found, answers, labels)


def attacked(
    attack: Callable[[Model, Tensor, Tensor], Tensor], model: Model, images: Tensor, labels: Tensor, *, seed: int = 0
) -> Tensor:
    """Return the images that any attack makes of a model in evaluation mode, which is left as it was.

    The global random state starts from ``seed``, and is afterwards as it was.

    Raises:
        ValueError: as ``checked``.

    Example:
        >>> from unmask.attacks import FGSM
        >>> attacked(FGSM(0.5), lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.0000, 0.5000])
    """
    with undisturbed(model, seed=derive_seed(seed, "attack")):
        return checked(attack(model, images.clone(), labels), attack, images)


def checked(found: object, attack: object, images: Tensor) -> Tensor:
    """Return what an attack made of images: without history, in their dtype and on their device.

    Raises:
        ValueError: these are no images of the shape that the attack was given.

    Example:
        >>> checked(torch.zeros(1, 1, 2), print, torch.zeros(1, 1, 1, 2))
        Traceback (most recent call last):
            ...
        ValueError: print: expected images of shape (1, 1, 1, 2) from the attack, got shape (1, 1, 2)
    """
    if not isinstance(found, Tensor) or found.shape != images.shape:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        name = getattr(attack, "__name__", None) or getattr(attack, "name", None) or type(attack).__name__
        raise ValueError(f"{name}: expected images of shape {tuple(images.shape)} from the attack, got {got}")
    return found.detach().to(images)


def predict(model: Model, images: Tensor, *, seed: int = 0) -> Tensor:
    """Return the class with the highest logit for each image, int64 (N,); evaluation mode, no gradient.

    Example:
        >>> predict(lambda x: x.flatten(1), torch.tensor([0.1, 0.9]).view(1, 1, 1, 2))
        tensor([1])
    """
    return logits_of(model, images, seed=seed).argmax(1)


def logits_of(model: Model, images: Tensor, *, seed: int = 0) -> Tensor:
    """Return the model's logits, in evaluation mode, without gradient, with random numbers that no attack has met.

    Example:
        >>> logits_of(lambda x: x.flatten(1), torch.tensor([0.25, 0.75]).view(1, 1, 1, 2))
        tensor([[0.2500, 0.7500]])
    """
    with undisturbed(model, seed=derive_seed(seed, "examiner")), torch.no_grad():
        return model(images)
