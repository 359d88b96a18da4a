"""The worst image found of each example over all attacks, from which the robust accuracy follows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unmask.attacks import Outcome
from unmask.reports.adversarial_examples import AdversarialExamples


class Worst:
    """The worst image of each example over several attacks: misclassified before classified correctly, then by margin.

    Of several misclassified images the one with the highest margin is kept, so that another machine's rounding does
    not undo it. An example that is misclassified without any attack keeps its clean image.

    Attributes:
        images: (N, C, H, W); ``predictions`` (N,) on them; ``correct`` (N,) bool.
        attack: the outcome that each image came from, by number; 0 is the clean outcome.

    Example:
        >>> images, label = torch.zeros(1, 1, 1, 2), torch.tensor([0])
        >>> worst = Worst(Outcome.of(images, torch.tensor([[1.0, 0.0]]), label))
        >>> worst.add(Outcome.of(images + 0.25, torch.tensor([[0.0, 1.0]]), label))
        >>> worst.attack.item(), worst.images.flatten().tolist()
        (1, [0.25, 0.25])
    """

    def __init__(self, clean: Outcome) -> None:
        self.images, self.predictions, self.correct = (part.clone() for part in clean[:3])
        self._margin = clean.margin.clone()
        self.attack = torch.zeros_like(self.predictions)
        self._right = clean.correct
        self._added = 0

    def add(self, outcome: Outcome, rows: Tensor | None = None) -> None:
        """Take what this attack did worse than those before; ``rows`` are the examples attacked, by default all."""
        self._added += 1
        rows = torch.arange(len(self.correct)) if rows is None else rows
        stood = self.correct[rows]
        worse = (stood & ~outcome.correct) | ((stood == outcome.correct) & (outcome.margin > self._margin[rows]))
        new = (worse & self._right[rows]).nonzero().squeeze(1)
        for held, found in (
            (self.images, outcome.images),
            (self.predictions, outcome.predictions),
            (self.correct, outcome.correct),
            (self._margin, outcome.margin),
        ):
            held[rows[new]] = found[new]
        self.attack[rows[new]] = self._added

    def nearest(self, share: float, *, among: Tensor) -> Tensor:
        """Return the rows, rising, nearest to the boundary by margin, of the examples that ``among`` marks.

        They are at most that share of all examples.

        Example:
            >>> logits, label = torch.tensor([[9.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 0])
            >>> worst = Worst(Outcome.of(torch.zeros(2, 1, 1, 2), logits, label))
            >>> worst.nearest(0.5, among=worst.correct)
            tensor([1])
        """
        rows = among.nonzero().flatten()
        nearest = self._margin[rows].abs().argsort(stable=True)[: math.ceil(share * len(among))]
        return rows[nearest].sort().values


def evaluated_again(worst: Worst, claimed: Tensor, images: Tensor, evaluate: Callable[[Tensor], Outcome]) -> Worst:
    """Return the worst of each example when clean, claimed and worst image are evaluated once more.

    For models that answer at random: the worst over many attacks is also the unluckiest of as many draws. New draws
    take that bias out.

    Example:
        >>> images, label, right, wrong = torch.zeros(1, 1, 1, 2), torch.tensor([0]), *torch.eye(2).split(1)
        >>> worst = Worst(Outcome.of(images, right, label))
        >>> worst.add(Outcome.of(images + 0.5, wrong, label))
        >>> lucky = lambda found: Outcome.of(found, right, label)
        >>> worst.correct.item(), evaluated_again(worst, images, images, lucky).correct.item()
        (False, True)
    """
    anew = Worst(evaluate(images))
    for found in (claimed, worst.images):
        anew.add(evaluate(found))
    anew.attack = torch.where(anew.attack == 2, worst.attack, anew.attack)
    return anew


def adversarial_examples(worst: Worst, images: Tensor, labels: Tensor) -> AdversarialExamples:
    """Return the examples that are misclassified, next to their clean images.

    Example:
        >>> images, label = torch.zeros(1, 1, 1, 2), torch.tensor([0])
        >>> worst = Worst(Outcome.of(images, torch.tensor([[0.0, 0.5]]), label))
        >>> adversarial_examples(worst, images, label).attack
        tensor([-1])
    """
    index = (~worst.correct).nonzero().squeeze(1)
    return AdversarialExamples(
        index=index,
        clean=images[index],
        adversarial=worst.images[index],
        labels=labels[index],
        predictions=worst.predictions[index],
        attack=worst.attack[index] - 1,
    )
