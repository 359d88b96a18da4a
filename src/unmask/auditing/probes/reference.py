"""The reference attack itself: one that does not move, does not use what it may, or moves when it may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from unmask.auditing.context import Context
from unmask.auditing.evaluator import RefusedError
from unmask.auditing.probes.probe import Probe
from unmask.auditing.trial import Trial
from unmask.gradients import NoGradientError, input_gradient
from unmask.losses import cross_entropy
from unmask.numerics import Model, undisturbed
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class BrokenReference(Probe):
    """Symptom: the images that the reference attack returns show a mistake in it. Remedy: an attack known to work.

    Of the images that are still right: those it did not move although cross entropy has a gradient there, and those it
    moved by less than half of epsilon. Of all images: those it moved at epsilon 0, and those it does not move in a
    single step, where it has such settings: then the last step is not used. ``value`` is the largest of these shares.
    A mistake makes a claim worthless, but does not mean that gradients are masked.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> task = (torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0]))
        >>> idle = lambda model, images, labels: images
        >>> BrokenReference()(prepare(lambda x: x.flatten(1), *task, epsilon=0.2, reference=idle)).fired
        True
    """

    name: str = "reference attack broken"
    threshold: float = 0.05
    needs_gradients: bool = False

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return the reference attack, and one that is known to work."""
        return [context.trials.clean, context.trials.claimed, context.trials.sound]

    def __call__(self, context: Context) -> Finding:
        """Look at what the reference attack did, and at what a sound one wins over it."""
        trials, run = context.trials, context.evaluator.run
        shares = self._shares(context)
        faults = [f"{fault} ({100 * share:.0f} %)" for fault, share in shares.items() if share > self.threshold]
        before, after = (run(trial).correct.tolist() for trial in (trials.claimed, trials.sound))
        return Finding(
            name=self.name,
            kind="weak attack",
            value=max(shares.values()),
            threshold=self.threshold,
            fired=bool(faults),
            symptom=f"Of the reference attack: {'; '.join(faults)}."
            if faults
            else "The reference attack moves images.",
            remedy=f"an attack that is known to work ({trials.sound.name})",
            control=f"the reference attack ({trials.claimed.name})",
            before=before,
            after=after,
            advice="Mend the attack before anything is concluded from it: apply every step, return the last point, "
            "let it use all of epsilon, and nothing at epsilon 0.",
        )

    def _shares(self, context: Context) -> dict[str, float]:
        """Return the share of images that show each mistake."""
        evaluator, trials, settings = context.evaluator, context.trials, context.reference.settings
        held = evaluator.run(trials.claimed)
        size = evaluator.threat.size(held.images - evaluator.images)
        (steep,) = evaluator.measure(partial(_has_gradient, context.model))
        idle = held.correct & steep & (size == 0)
        timid = held.correct & steep & (size < context.epsilon / 2)
        shares = {
            "it does not move images that have a gradient": _share(idle, held.correct) if not size.any() else 0.0,
            "it uses less than half of epsilon": _share(timid & ~idle, held.correct),
        }
        right = evaluator.run(trials.clean).correct
        if "epsilon" in settings and (moved := _moved(context, "reference at epsilon 0", epsilon=0.0)) is not None:
            shares["it moves images at epsilon 0"] = float(moved.double().mean())
        if "steps" in settings and (moved := _moved(context, "reference, one step", steps=1)) is not None:
            shares["its last step is not used"] = float((~moved & steep & right).double().mean())
        return shares


def _moved(context: Context, name: str, **settings: float) -> Tensor | None:
    """Return which images the reference attack moves with other settings; None where it fails with them."""
    try:
        found = context.evaluator.run_unrecorded(context.trials.reference_with(name, **settings)).images
    except RefusedError:
        return None
    return (found != context.evaluator.images).flatten(1).any(1)


def _has_gradient(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    try:
        with undisturbed(model):
            gradient = input_gradient(model, images, labels, loss=cross_entropy).gradient
    except NoGradientError:
        gradient = images  # a search may be expected to move any image that is not black
    return (gradient != 0).flatten(1).any(1)


def _share(those: Tensor, among: Tensor) -> float:
    return int(those.sum()) / max(int(among.sum()), 1)
