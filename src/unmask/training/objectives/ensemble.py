"""Ensemble adversarial training: images made against other, finished models too."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.numerics import Model, derive_seed
from unmask.training.objectives.adversarial import Adversarial, loss_beside_clean
from unmask.training.objectives.objective import AnyAttack, in_words, made_images


@dataclass(frozen=True, kw_only=True, repr=False)
class Ensemble:
    """Ensemble adversarial training: ``Adversarial`` whose attack is on one of several models (Tramer et al. 2018).

    Each batch is attacked on one model, drawn at even odds from the sources and the one in training; so the network
    cannot weaken all attacks by masking its own gradient. Clean and adversarial images share one pass.

    Cost: that of ``Adversarial``, 8 passes with FGSM, if a source costs what the network costs; training
    the sources comes on top. Published for MNIST at epsilon 0.3, Ensemble A (Vivek et al. 2019, Table 3), accuracy on
    clean images, under FGSM and under PGD-100: 99.35, 83.48 and 3.41.

    Attributes:
        attack: makes the adversarial images; FGSM in the papers.
        sources: finished models, on the device and in the dtype of the one in training; attacked in evaluation mode
            and left as they were. A run may go on from its checkpoint only with sources of the same weights; functions
            are told apart by their names alone.

    Raises:
        ValueError: there is no source; ``clean_weight`` outside [0, 1).

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> brightest = lambda x: x.flatten(1)
        >>> objective = Ensemble(attack=FGSM(epsilon=0.25), sources=(brightest,))
        >>> objective(brightest, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]))
        tensor(0.8336)
    """

    attack: AnyAttack
    sources: tuple[Model, ...]
    clean_weight: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        Adversarial(attack=self.attack, clean_weight=self.clean_weight)
        if not self.sources:
            raise ValueError("sources: expected at least one finished model, got none")

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        models = (*self.sources, model)
        source = models[derive_seed(self.seed, "source", step) % len(models)]
        adversarial = made_images(self.attack, source, images, labels, step=step)
        return loss_beside_clean(model, adversarial, images, labels, clean_weight=self.clean_weight)

    def __repr__(self) -> str:
        """Return the settings in words, with a digest of each source's weights, which torch's own words leave out."""
        sources = ", ".join(in_words(source) for source in self.sources)
        return (
            f"Ensemble(attack={self.attack}, sources=({sources}), clean_weight={self.clean_weight}, seed={self.seed})"
        )
