"""The trials that an audit's probes and its search share: attacks with and without gradients, and their budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from unmask.attacks import APGD, EOT, FGSM, FRSM, PGD, RFGSM, Attack, Square, TargetedAPGD, as_attack
from unmask.attacks.attack import FORWARD
from unmask.auditing.effort import Effort
from unmask.auditing.evaluator import Evaluator, RefusedError
from unmask.auditing.trial import Proxy, Trial
from unmask.losses import RivalMargin, log_odds
from unmask.numerics import Model, derive_seed

EOT_STEPS, EOT_DRAWS = 10, 16
"""Steps along a gradient averaged over so many draws: half the budget to get there, half to know the way."""

CLOSEST = 3
"""The number of rivals that dear attacks head for: those with the highest logits."""

OFFSET = 0.1
"""The control's single steps start this share of epsilon away from the image: in effect the same step again."""

SCORES = 1000
"""Queries of the search at a model that gives no gradients."""


@dataclass(kw_only=True, eq=False)
class Trials:
    """The trials that several probes use. Making one runs nothing; the evaluator runs it when a probe first needs it.

    Attributes:
        clean: no attack.
        claimed: the reference attack, on what the user handed over.
        reference_on_logits: the reference attack on the audited model, which returns logits.
        one: one step along the gradient of the log-odds.
        many: that step, then many small ones from a random start.
        singles: one step again and again from next to the image, with as many gradients as ``many``.
        started: a random start half of epsilon away, then one step.
        rivals: one step towards each rival class: the exact worst case of a linear model.
        noise: random signs, several draws.
        averaged: a few steps along gradients averaged over draws of the model.
        sound: an attack that is known to work: one step, or queries at a model without gradients.

    Example:
        >>> import torch
        >>> from unmask.threats import Linf
        >>> images, labels, model = torch.zeros(1, 1, 1, 2), torch.tensor([0]), torch.nn.Flatten()
        >>> evaluator = Evaluator(model=model, images=images, labels=labels, threat=Linf(0.1))
        >>> Trials(evaluator=evaluator, reference=FGSM(0.1), classes=2, effort=Effort(), seed=0).many.name
        '40 steps'
    """

    evaluator: Evaluator
    reference: Attack
    classes: int
    effort: Effort
    seed: int
    given: Proxy | None = None
    gradients: bool = True
    clean: Trial = field(init=False)
    claimed: Trial = field(init=False)
    reference_on_logits: Trial = field(init=False)
    one: Trial = field(init=False)
    many: Trial = field(init=False)
    singles: Trial = field(init=False)
    started: Trial = field(init=False)
    rivals: Trial = field(init=False)
    noise: Trial = field(init=False)
    averaged: Trial = field(init=False)
    sound: Trial = field(init=False)

    def __post_init__(self) -> None:
        trial, epsilon, steps, draws = self.evaluator.trial, self.epsilon, self.effort.steps, self.effort.draws
        step = FGSM(epsilon, loss=log_odds)
        nothing = as_attack(unchanged, cost=FORWARD, needs_gradients=False)
        self.clean = trial("no attack", nothing, keep_images=True)
        self.one = trial("one step, log-odds", step)
        self.sound = self.one if self.gradients else self.queries(SCORES)
        self.reference_on_logits = trial("reference, on log probabilities", self.reference)
        self.claimed = trial("reference attack", self.reference, proxy=self.given, keep_images=True)
        path = PGD(epsilon, steps=max(steps - 1, 1), loss=log_odds, seed=self.seed)
        self.many = trial(f"{steps} steps", step, path, keep_images=True)
        near = [self._started(OFFSET, derive_seed(self.seed, "again", i)) for i in range(steps - 1)]
        self.singles = trial(f"one step from {steps} starts", step, *near)
        self.started = trial("one step from a random start", self._started(0.5, self.seed))
        ranks = range(1, min(self.effort.rivals, self.classes - 1) + 1)
        self.rivals = trial(
            "one step towards each rival", *(FGSM(epsilon, loss=RivalMargin(rank=rank)) for rank in ranks)
        )
        signs = [FRSM(epsilon, seed=derive_seed(self.seed, "draw", i)) for i in range(draws)]
        self.noise = trial(f"random signs, {draws} draws", *signs)
        self.averaged = self.eot("averaged over draws", self.evaluator.model)

    @property
    def epsilon(self) -> float:
        """The bound of the threat model."""
        return self.evaluator.threat.epsilon

    def _started(self, share: float, seed: int) -> Attack:
        """One step from random signs of a share of epsilon."""
        return RFGSM(self.epsilon, alpha=share * self.epsilon, loss=log_odds, seed=seed)

    def queries(self, count: int) -> Trial:
        """A search by so many queries per image."""
        square = Square(self.epsilon, queries=count, seed=derive_seed(self.seed, "search"))
        return self.evaluator.trial(f"{count} queries", square)

    def restarted(self, budget: float) -> Trial:
        """The many steps from several starts, and one towards each rival; all together take ``budget`` gradients."""
        steps, targeted = self.effort.steps, self.rivals.attacks
        starts = max(1, round((budget - len(targeted) * (1 + FORWARD)) / (steps + FORWARD)) - 1)
        again = PGD(self.epsilon, steps=steps, restarts=starts, loss=log_odds, seed=derive_seed(self.seed, "restarts"))
        name = f"{steps} steps from {starts + 1} starts"
        return self.evaluator.trial(name, *self.many.attacks, *targeted, again)

    def steepest(self, budget: float) -> Trial:
        """The best that gradients do with ``budget`` of them: the many steps, and Auto-PGD, also towards each rival."""
        steps, targets = self.effort.steps, min(CLOSEST, self.classes - 1)
        rest = max(budget - steps, 0)
        attacks: list[Attack] = [*self.many.attacks, *self.rivals.attacks]
        attacks.append(APGD(self.epsilon, steps=max(steps, round(rest / 2)), loss=log_odds, seed=self.seed))
        if self.classes >= 4:
            each = max(steps, round(rest / 2 / targets))
            attacks.append(TargetedAPGD(self.epsilon, steps=each, targets=targets, seed=self.seed))
        return self.evaluator.trial(f"gradients, {budget:.0f} for each image and more", *attacks)

    def many_on(self, proxy: Proxy) -> Trial:
        """The many steps again, on a proxy."""
        return self.evaluator.trial(f"{self.many.name} on {proxy.name}", *self.many.attacks, proxy=proxy)

    def eot(self, how: str, model: Model, *, factor: float = 1.0) -> Trial:
        """A few steps along gradients averaged over draws of a randomised model."""
        attack = PGD(self.epsilon, steps=EOT_STEPS, step_size=self.epsilon / 4, loss=log_odds, seed=self.seed)
        mean = Proxy(f"the mean over {EOT_DRAWS} draws", EOT(model, draws=EOT_DRAWS), factor=factor * EOT_DRAWS)
        return self.evaluator.trial(f"{EOT_STEPS} steps of {EOT_DRAWS} draws, {how}", attack, proxy=mean)

    def reference_with(self, name: str, **settings: float) -> Trial:
        """The reference attack with some settings changed, on what the user handed over; it is to be run unrecorded.

        Raises:
            RefusedError: the attack does not take these settings.
        """
        try:
            attack = self.reference.replace(**settings)
        except Exception as error:  # the checks of anybody's settings
            raise RefusedError(f"{type(error).__name__}: {error}") from error
        return Trial(name=name, attacks=(attack,), proxy=self.given)


def unchanged(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """The attack that does nothing: its outcome are the clean predictions."""
    return images


def names_of(trials: Sequence[Trial]) -> str:
    """Return the names of several trials, joined by "and"."""
    return " and ".join(trial.name for trial in trials)
