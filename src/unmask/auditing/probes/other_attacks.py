"""Another attack against the model's gradients: queries, transfer from a surrogate, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import Attack, attacked
from unmask.attacks.attack import FORWARD
from unmask.auditing.context import ELSE, Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.repair import Repair
from unmask.auditing.trial import Proxy, Trial
from unmask.auditing.trials import SCORES, names_of
from unmask.auditing.verdict import EFFECT
from unmask.reports.record import Finding

FEWEST = 20
"""With fewer images that withstand gradients there is nothing to measure."""

COUNTED = 8
"""Images on which the passes that a user's attack takes are counted."""


@dataclass(frozen=True, kw_only=True)
class Queries(Probe):
    """Symptom: of the images that withstand gradients, more than ``threshold`` fall to a short search by queries.

    It is measured on a sample; ``value`` is the share that falls. Remedy: a longer search; the control is the gradient
    attack with as many looks, from many starts. A search is another attack, not a repaired one, and finds some images
    that gradients miss on honest networks too; so the remedy must win five points, more than other remedies.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
        >>> Queries()(prepare(lambda x: x.flatten(1), images, torch.tensor([0]), epsilon=0.2)).fired
        False
    """

    name: str = "queries beat gradients"
    threshold: float = 0.1
    calls_for_queries: bool = True

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return the attacks along gradients."""
        return [context.trials.many, context.trials.rivals]

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on a sample, and what the remedy gains."""
        return _against_gradients(
            self,
            context,
            other=context.trials.queries(context.effort.glance),
            sample=lambda rows: context.sample(context.effort.few, "few", rows),
            repair=lambda rows: replace(context.queries_against_gradients(), effect=ELSE),
            what="which use no gradient",
            advice="Something makes the gradients useless that no other check names: report the search's figure, and "
            "look for code whose backward pass does not match its forward pass.",
        )


@dataclass(frozen=True, kw_only=True)
class OtherAttack(Probe):
    """Symptom: an attack of the user's, or transfer from a surrogate, fools images that withstand gradients.

    At a model without gradients they are compared with a search by queries. ``value`` is the share of those images that
    falls. Remedy: that attack; the control is the steepest gradient attack with as many gradients.

    Attributes:
        trial: the other attack.
        attack: whose passes are counted for the control's budget; by default the trial's declared cost counts.
        what: the other attack in words; ``advice``: what to do if it wins.

    Example:
        >>> from unmask.attacks import FGSM
        >>> from unmask.auditing.context import prepare
        >>> task = (torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0]))
        >>> context = prepare(lambda x: x.flatten(1), *task, epsilon=0.2, attacks=[FGSM(0.2)])
        >>> [probe.name for probe in others(context)]
        ['your attack beats gradients']
    """

    trial: Trial
    attack: Attack | None = None
    what: str
    advice: str
    threshold: float = EFFECT
    needs_gradients: bool = False

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return the attacks along gradients, or queries where there are none."""
        return [context.trials.many, context.trials.rivals] if context.gradients else [context.trials.queries(SCORES)]

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images that withstand gradients, and what the remedy gains."""
        return _against_gradients(
            self,
            context,
            other=self.trial,
            sample=lambda rows: rows,
            repair=lambda rows: self._repair(context, rows),
            what=self.what,
            advice=self.advice,
        )

    def _repair(self, context: Context, rows: Tensor | None) -> Repair:
        cost = 0.0
        if rows is not None:
            cost = self.trial.cost if self.attack is None else passes_of(self.attack, context, rows)
        budget = max(cost, context.effort.steps)
        return Repair(
            does="the other attack",
            against="gradients with as many looks" if context.gradients else "queries",
            control=context.trials.steepest(budget) if context.gradients else context.trials.queries(SCORES),
            remedy=self.trial,
            effect=ELSE,
        )


def others(context: Context) -> Iterator[OtherAttack]:
    """Yield a probe for the user's surrogate, and one for each attack of the user's."""
    if (surrogate := context.surrogate) is not None:
        proxy = Proxy("the surrogate", surrogate, derived=False)
        yield OtherAttack(
            name="transfer beats gradients",
            trial=context.trials.many_on(proxy),
            what="found on the surrogate",
            advice="The model hides the way to errors that the surrogate shows: report the lower figure.",
        )
    for number, attack in enumerate(context.attacks, 1):
        name = f"your attack {number}" if len(context.attacks) > 1 else "your attack"
        yield OtherAttack(
            name=f"{name} beats gradients",
            trial=context.evaluator.trial(name, attack),
            attack=attack,
            what="which was given",
            advice="Your attack knows what gradients alone do not: report its figure.",
        )


def passes_of(attack: Attack, context: Context, rows: Tensor) -> float:
    """Return the gradients per image that an attack takes, counted on a few images; a forward pass counts ``FORWARD``.

    It is at least the declared cost, which is all that is known of a model that is no module.
    """
    model, passes, few = context.model, 0.0, rows[:COUNTED]
    if not len(few) or not isinstance(model, nn.Module):
        return attack.cost

    def count(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal passes
        images = next((one for one in (*arguments, *named.values()) if isinstance(one, Tensor)), torch.empty(0))
        asked = torch.is_grad_enabled() and images.requires_grad
        passes += len(images) * (1.0 if asked else FORWARD)

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        context.evaluator.measure(lambda x, y: attacked(attack, model, x, y), few)
    finally:
        hook.remove()
    return max(passes / len(few), attack.cost)


def _against_gradients(
    probe: Probe,
    context: Context,
    *,
    other: Trial,
    sample: Callable[[Tensor], Tensor],
    repair: Callable[[Tensor | None], Repair],
    what: str,
    advice: str,
) -> Finding:
    """Return the finding that compares another attack with the probe's trials, on images that withstand those."""
    evaluator, gradients = context.evaluator, probe.trials(context)
    standing = torch.stack([evaluator.run(trial).correct for trial in gradients]).all(0).nonzero().flatten()
    value, rows = 0.0, sample(standing)
    if len(rows):
        value = (~evaluator.run(other, rows).correct).double().mean().item()
    fired = value > probe.threshold and len(standing) >= FEWEST
    return Finding(
        name=probe.name,
        kind="masking",
        value=value,
        threshold=probe.threshold,
        fired=fired,
        symptom=f"Of {len(rows)} images that withstand {names_of(gradients)}, {100 * value:.1f} % fall to "
        f"{other.name}, {what}.",
        advice=advice,
        **repair(rows if fired else None)(fired, evaluator),
    )
