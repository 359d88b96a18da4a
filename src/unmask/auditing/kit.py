"""What the probes of one audit share: the attacks with and without gradients, each made once, and their budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unmask.attacks import APGD, FGSM, FRSM, PGD, RFGSM, Attack, Averaged, Square, TargetedAPGD, Through, Trial
from unmask.auditing.ledger import Ledger, Part
from unmask.auditing.probes.probe import Repair
from unmask.auditing.probes.scale import LEAST, Rescaled, median_lead
from unmask.auditing.probes.sweep import unchanged
from unmask.auditing.settings import LOOK, cost_of
from unmask.auditing.verdict import EFFECT
from unmask.losses import RivalMargin
from unmask.numerics import Model, derive_seed

EOT_STEPS, EOT_DRAWS = 10, 16
"""Steps along a gradient averaged over so many draws: half the budget to get there, half to know the way."""

ELSE = 0.05
"""What an attack of another kind must win, or one on a model that answers at random: less comes and goes by itself."""

CLOSEST = 3
"""Rivals that dear attacks head for: those with the highest logits."""

OFFSET = 0.1
"""The control's single steps start this share of epsilon away from the image: in effect the same step again."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much an audit tries.

    Attributes:
        steps: gradients per image of the attack with many steps, and of its control.
        draws: random sign draws per image.
        rivals: so many of the other classes are headed for, one step each, highest logits first.
        glance: looks of the short search by queries, at each of ``few`` images.
        queries: looks of the long one, at each of ``sample`` images, or of all if that leaves the matter open.
        search: steps of the search for the worst case on all that stand, of which the nearest to falling get five
            times as many; 0 for none.
        shown: images that the curves over epsilon are drawn for.
        images: so many of the images are audited; None for all.

    Example:
        >>> Effort(steps=100).rivals
        9
    """

    steps: int = 40
    draws: int = 10
    rivals: int = 9
    glance: int = 300
    few: int = 100
    queries: int = 600
    sample: int = 250
    search: int = 20
    shown: int = 100
    images: int | None = None


FULL = Effort()
"""What an audit tries by default."""

QUICK = Effort(steps=10, draws=4, rivals=3, glance=100, few=50, queries=300, sample=100, search=0, shown=25, images=400)
"""For a first look: the same probes with fewer steps, on at most 400 images, and no search for the worst case."""


@dataclass(frozen=True, kw_only=True)
class Kit:
    """The trials that probes share. Each is made when it is first asked for, and run when a probe first needs it.

    Attributes:
        random: whether the model answers at random.
        given: what the user handed over, of which ``model`` was made; ``twin``: the model without its defence, if any.
        own: attacks of the user's that take part.

    Example:
        >>> import torch
        >>> from unmask.numerics import Batches
        >>> ledger = Ledger(images=torch.zeros(1, 1, 1, 2), labels=torch.tensor([0]), batches=Batches())
        >>> task = {"model": (model := torch.nn.Flatten()), "given": model, "ledger": ledger, "classes": 2}
        >>> Kit(reference=FGSM(epsilon=0.1), epsilon=0.1, seed=0, **task).many.name
        '40 steps'
    """

    reference: Attack
    model: Model
    given: Model
    ledger: Ledger
    epsilon: float
    seed: int
    classes: int
    effort: Effort = FULL
    random: bool = False
    twin: Model | None = None
    own: Sequence[Attack] = ()

    @cached_property
    def clean(self) -> Trial:
        """No attack."""
        return self.ledger.trial("no attack", LOOK, unchanged, keep_images=True)

    @cached_property
    def claimed(self) -> Trial:
        """The reference attack, on what the user handed over."""
        attack = self.as_claimed(self.reference)
        return self.ledger.trial("reference attack", cost_of(self.reference), attack, keep_images=True)

    def as_claimed(self, attack: Attack) -> Attack:
        """The attack on what the user handed over, in place of the model that was made of it."""
        return attack if self.given is self.model else Through(attack=attack, stand_in=self.as_given)

    def as_given(self, model: Model) -> Model:
        """What the user handed over."""
        return self.given

    @cached_property
    def lead(self) -> float:
        """The median lead of the highest logit over the next, in nats; above 0."""
        ledger = self.ledger
        return max(median_lead(self.model, ledger.images, ledger.labels, ledger.batches), LEAST)

    def with_lead(self, nats: float, model: Model) -> Model:
        """A model like the audited one, with logits rescaled as if for such a median lead."""
        return Rescaled(model, nats / self.lead)

    @cached_property
    def one(self) -> Trial:
        """One step along the gradient of the log-odds."""
        return self.ledger.trial("one step, log-odds", 1 + LOOK, FGSM(epsilon=self.epsilon))

    @cached_property
    def started(self) -> Trial:
        """A random start half of epsilon away, and one step."""
        step = RFGSM(epsilon=self.epsilon, alpha=self.epsilon / 2, seed=self.seed)
        return self.ledger.trial("one step from a random start", 1 + LOOK, step)

    @cached_property
    def many(self) -> Trial:
        """That step, and then many small ones from a random start."""
        path = PGD(epsilon=self.epsilon, steps=self.effort.steps - 1, seed=self.seed)
        cost, name = self.effort.steps + 2 * LOOK, f"{self.effort.steps} steps"
        return self.ledger.trial(name, cost, FGSM(epsilon=self.epsilon), path, keep_images=True)

    @cached_property
    def singles(self) -> Trial:
        """One step again and again, from next to the image, with as many gradients as the many steps."""
        steps, step = self.effort.steps, FGSM(epsilon=self.epsilon)
        again = [
            RFGSM(epsilon=self.epsilon, alpha=OFFSET * self.epsilon, seed=derive_seed(self.seed, "again", i))
            for i in range(steps - 1)
        ]
        return self.ledger.trial(f"one step from {steps} starts", steps * (1 + LOOK), step, *again)

    @cached_property
    def rivals(self) -> Trial:
        """One step towards each rival: the exact worst case of a linear model."""
        ranks = range(1, min(self.effort.rivals, self.classes - 1) + 1)
        aimed = [FGSM(epsilon=self.epsilon, loss=RivalMargin(rank=rank)) for rank in ranks]
        return self.ledger.trial("one step towards each rival", len(aimed) * (1 + LOOK), *aimed)

    @cached_property
    def noise(self) -> Trial:
        """Random signs."""
        draws = self.effort.draws
        attacks = [FRSM(epsilon=self.epsilon, seed=derive_seed(self.seed, "draw", i)) for i in range(draws)]
        return self.ledger.trial(f"random signs, {draws} draws", draws * LOOK, *attacks)

    @cached_property
    def blind(self) -> Repair:
        """A search by queries, against gradients from many starts."""
        effort = self.effort
        return Repair(
            does="a search that uses no gradient",
            against="gradients with as many looks",
            control=self.restarted(effort.queries * LOOK),
            remedy=self.search(effort.queries),
            some=self.sample,
            claimed=self.claimed,
        )

    def restarted(self, budget: float) -> Trial:
        """The many steps from several starts, and one towards each rival; all together take ``budget`` gradients."""
        steps, aimed = self.effort.steps, self.rivals.attacks
        starts = max(1, round((budget - len(aimed) * (1 + LOOK)) / (steps + LOOK)) - 1)
        seed = derive_seed(self.seed, "restarts")
        again = PGD(epsilon=self.epsilon, steps=steps, restarts=starts, seed=seed)
        name = f"{steps} steps from {starts + 1} starts"
        return self.ledger.trial(name, budget, *self.many.attacks, *aimed, again)

    def steepest(self, budget: float) -> Trial:
        """The best that gradients do with ``budget`` of them: the many steps, and Auto-PGD, also towards each rival."""
        rest, targets = max(budget - self.effort.steps, 0), min(CLOSEST, self.classes - 1)
        auto = APGD(epsilon=self.epsilon, steps=max(self.effort.steps, round(rest / 2)), seed=self.seed)
        attacks: list[Attack] = [*self.many.attacks, *self.rivals.attacks, auto]
        if self.classes >= 4:
            steps = max(self.effort.steps, round(rest / 2 / targets))
            attacks.append(TargetedAPGD(epsilon=self.epsilon, steps=steps, targets=targets, seed=self.seed))
        cost = budget + 2 * self.effort.steps
        return self.ledger.trial(f"gradients, {budget:.0f} for each image and more", cost, *attacks)

    def search(self, queries: int) -> Trial:
        """A search by so many queries."""
        square = Square(epsilon=self.epsilon, queries=queries, seed=derive_seed(self.seed, "search"))
        return self.ledger.trial(f"{queries} queries", queries * LOOK, square)

    def repeated(self, stand_in: Callable[[Model], Model], how: str, *, factor: float = 1.0) -> Trial:
        """The many steps again on a stand-in of the model, whose gradients cost ``factor`` times as much."""
        attacks = [Through(attack=attack, stand_in=stand_in) for attack in self.many.attacks]
        return self.ledger.trial(f"{self.many.name} {how}", factor * (self.effort.steps + 2 * LOOK), *attacks)

    @cached_property
    def averaged(self) -> Repair:
        """A few steps along gradients averaged over draws, against many along single ones."""
        return Repair(
            does="gradients averaged over draws",
            against="gradients of single draws",
            control=self.restarted(EOT_STEPS * EOT_DRAWS),
            remedy=self.mean("averaged over draws", lambda model: model),
            some=self.sample,
            claimed=self.claimed,
            effect=ELSE,
        )

    def mean(self, how: str, stand_in: Callable[[Model], Model], *, factor: float = 1.0) -> Trial:
        """A few steps along gradients of a stand-in, each averaged over draws."""
        attack = PGD(epsilon=self.epsilon, steps=EOT_STEPS, step_size=self.epsilon / 4, seed=self.seed)
        mean = Through(attack=attack, stand_in=lambda model: Averaged(stand_in(model), draws=EOT_DRAWS))
        name = f"{EOT_STEPS} steps of {EOT_DRAWS} draws, {how}"
        return self.ledger.trial(name, factor * EOT_STEPS * EOT_DRAWS, mean)

    def instead(self, stand_in: Model, name: str, *, factor: float) -> Repair:
        """The many steps on a stand-in, against those on the model; of gradients averaged over draws, if there are any.

        A stand-in's gradient costs ``factor`` times as much as the model's.
        """
        if self.random:
            control, remedy = self.averaged.remedy, self.mean(f"on {name}", lambda model: stand_in, factor=factor)
        else:
            control, remedy = self.many, self.repeated(lambda model: stand_in, f"on {name}", factor=factor)
        return Repair(
            does=f"the same steps on {name}",
            against="the steps on the model itself",
            control=control,
            remedy=remedy,
            some=self.sample if self.random else None,
            claimed=self.claimed,
            effect=ELSE if self.random else EFFECT,
        )

    def sample(self, images: Tensor, labels: Tensor) -> Part:
        """Some of the images, for what costs much."""
        return self.ledger.sample(self.effort.sample, seed=derive_seed(self.seed, "sample"))

    def glance(self, images: Tensor, labels: Tensor) -> Part:
        """A few of the images, for what costs much and decides nothing, or is seen at a glance."""
        return self.ledger.sample(self.effort.few, seed=derive_seed(self.seed, "glance"))
