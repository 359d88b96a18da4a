"""The reference attack itself: one that does not move, does not use what it may, or moves when it may not."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from unmask.attacks import Trial
from unmask.auditing.settings import RefusedError
from unmask.gradients import NoGradientError, input_gradient
from unmask.losses import cross_entropy
from unmask.numerics import Batches, Model, undisturbed
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Symptom: what the reference attack does shows a mistake in it. Remedy: one step of an attack known to work.

    Of the images it leaves standing: those it did not move although cross entropy has a gradient there (``unmoved``),
    and those it moved by less than half of epsilon (``timid``). Of all images: those it moved at epsilon 0, and those
    it does not move in a single step, where it has such a setting: then the last step is not used. ``value`` is the
    largest of these shares. A mistake makes a claim worthless, but does not mean that gradients are masked.

    Attributes:
        reference: must keep its images; ``still``: the same at epsilon 0; ``single``: with one step.
        repair_by: an attack that is known to work.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> idle, step = Trial(attacks=[lambda model, x, y: x]), Trial(attacks=[FGSM(epsilon=0.2)])
        >>> probe = Broken(reference=idle, repair_by=step, epsilon=0.2)
        >>> probe(lambda x: x.flatten(1), torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])).fired
        True
    """

    reference: Trial
    repair_by: Trial
    epsilon: float
    clean: Trial | None = None
    still: Trial | None = None
    single: Trial | None = None
    name: str = "reference attack broken"
    threshold: float = 0.05
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Look at what the reference attack did, and at what a sound one wins over it."""
        held = self.reference(model, images, labels)
        moved = (held.images - images).abs().flatten(1).amax(1)
        (steep,) = self.batches(lambda x, y: _has_gradient(model, x, y), images, labels)
        idle, timid = held.correct & steep & (moved == 0), held.correct & steep & (moved < self.epsilon / 2)
        shares = {
            "it does not move images that have a gradient": _share(idle, held.correct) if not moved.any() else 0.0,
            "it uses less than half of epsilon": _share(timid & ~idle, held.correct),
        }
        right = held.correct if self.clean is None else self.clean(model, images, labels).correct
        for fault, trial in (("it moves images at epsilon 0", self.still), ("its last step is not used", self.single)):
            if trial is not None:
                try:
                    went = (trial(model, images, labels).images != images).flatten(1).any(1)
                except RefusedError:
                    continue
                shares[fault] = float((went if trial is self.still else ~went & steep & right).double().mean())
        faults = [f"{fault} ({100 * share:.0f} %)" for fault, share in shares.items() if share > self.threshold]
        before, after = held.correct.tolist(), self.repair_by(model, images, labels).correct.tolist()
        return Finding(
            name=self.name,
            kind="weak attack",
            value=max(shares.values()),
            threshold=self.threshold,
            fired=bool(faults),
            symptom=f"Of the reference attack: {'; '.join(faults)}."
            if faults
            else "The reference attack moves images.",
            intervention=f"an attack that is known to work ({self.repair_by.name})",
            control=f"the reference attack ({self.reference.name})",
            before=before,
            after=after,
            advice="Mend the attack before anything is concluded from it: apply every step, return the last point, "
            "let it use all of epsilon, and nothing at epsilon 0.",
        )


def _has_gradient(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    try:
        with undisturbed(model):
            gradient = input_gradient(model, images, labels, loss=cross_entropy).gradient
    except NoGradientError:
        gradient = images  # a search may be expected to move any image that is not black
    return (gradient != 0).flatten(1).any(1)


def _share(those: Tensor, among: Tensor) -> float:
    return int(those.sum()) / max(int(among.sum()), 1)
