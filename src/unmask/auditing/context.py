"""The context of an audit: what every probe may ask for, computed before the first probe is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import EOT, FGSM, Attack, Square, as_attack
from unmask.attacks.attack import FORWARD, check_attacks
from unmask.auditing.cache import Cache, task_of
from unmask.auditing.clock import Clock, Progress
from unmask.auditing.effort import FULL, Effort
from unmask.auditing.evaluator import Evaluator
from unmask.auditing.preflight import Audited, check_surrogate, chosen, gather, preflight
from unmask.auditing.proxies import LEAST, Rescaled, bpda_proxy, float64_proxy, median_lead
from unmask.auditing.repair import Repair
from unmask.auditing.trial import Proxy
from unmask.auditing.trials import EOT_DRAWS, EOT_STEPS, SCORES, Trials
from unmask.auditing.verdict import EFFECT
from unmask.data.dataset import images_digest
from unmask.numerics import Batches, Model, derive_seed
from unmask.threats import threat_model

ELSE = 0.05
"""What an attack of another kind must win, or one on a model that answers at random: less comes and goes by itself."""

TRIED = 64
"""Images on which a proxy is tried before it is used."""


PRECISION = "too little precision"
"""The cause that a float64 copy of the model repairs."""

OPERATIONS = "non-differentiable operations"
"""The cause that a BPDA model repairs."""


DRAWS = 8
"""A model that answers at random is taken to decide by the mean over so many draws."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The values that the probes of one audit share. Nothing here is computed later than the context itself.

    Attributes:
        audited: the model, its images, and what the preflight found.
        evaluator: runs trials and measures on the images.
        trials: the attacks that probes share.
        reference: the attack whose claim is audited.
        effort, seed: as given to the audit.
        lead: the median lead of the highest logit over the next, in nats.
        proxies: models to attack in place of the audited one, by the name of the cause that they repair.
        missing: why there is no such proxy, by the same names; empty where none is needed.
        replaced: the operations without a useful derivative that the BPDA model replaces, by torch's names.
        surrogate: another network to make attacks on, the user's; ``attacks``: the user's own attacks.
        images_digest: SHA-256 of the audited images and labels; ``images_given``: the number they were drawn from.

    Example:
        >>> images = torch.tensor([0.75, 0.5]).view(1, 1, 1, 2)
        >>> prepare(torch.nn.Flatten(), images, torch.tensor([0]), epsilon=0.1).lead
        0.25
    """

    audited: Audited
    evaluator: Evaluator
    trials: Trials
    reference: Attack
    effort: Effort
    seed: int
    lead: float
    proxies: Mapping[str, Proxy]
    missing: Mapping[str, str]
    replaced: Sequence[str]
    surrogate: Model | None
    attacks: Sequence[Attack]
    images_digest: str
    images_given: int

    @property
    def model(self) -> Model:
        """The audited model, from images to logits."""
        return self.audited.model

    @property
    def gradients(self) -> bool:
        """True where the model can be asked for gradients."""
        return self.audited.gradients

    @property
    def epsilon(self) -> float:
        """The bound of the threat model."""
        return self.evaluator.threat.epsilon

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.audited.classes

    def sample(self, count: int, purpose: str, among: Tensor | None = None) -> Tensor:
        """Return the rows of ``count`` images drawn for a purpose."""
        return self.evaluator.sample(count, among, seed=derive_seed(self.seed, purpose))

    def few(self) -> Tensor:
        """Return the rows of a few images, for what costs much and decides nothing, or is seen at a glance."""
        return self.sample(self.effort.few, "glance")

    def with_lead(self, nats: float, model: Model | None = None) -> Model:
        """Return a model, by default the audited one, with logits rescaled as if for such a median lead."""
        return Rescaled(self.model if model is None else model, nats / max(self.lead, LEAST))

    def queries_against_gradients(self) -> Repair:
        """Return a search by queries as the remedy, against gradients from many starts."""
        queries = self.effort.queries
        return Repair(
            does="a search that uses no gradient",
            against="gradients with as many looks",
            control=self.trials.restarted(queries * FORWARD),
            remedy=self.trials.queries(queries),
            sample=self.sample(self.effort.sample, "sample"),
            claimed=self.trials.claimed,
        )

    def eot_against_draws(self) -> Repair:
        """Return gradients averaged over draws as the remedy, against many along single draws."""
        return Repair(
            does="gradients averaged over draws",
            against="gradients of single draws",
            control=self.trials.restarted(EOT_STEPS * EOT_DRAWS),
            remedy=self.trials.averaged,
            sample=self.sample(self.effort.sample, "sample"),
            claimed=self.trials.claimed,
            effect=ELSE,
        )

    def proxy_against_model(self, proxy: Proxy) -> Repair:
        """Return the many steps on a proxy as the remedy, against those on the model.

        Of a model that answers at random both are averaged over draws.
        """
        trials, random = self.trials, self.audited.random
        if random:
            control, remedy = trials.averaged, trials.eot(f"on {proxy.name}", proxy.model, factor=proxy.factor)
        else:
            control, remedy = trials.many, trials.many_on(proxy)
        return Repair(
            does=f"the same steps on {proxy.name}",
            against="the steps on the model itself",
            control=control,
            remedy=remedy,
            sample=self.sample(self.effort.sample, "sample") if random else None,
            claimed=trials.claimed,
            effect=ELSE if random else EFFECT,
        )


def prepare(
    model: Model,
    images: Tensor | Iterable[tuple[Tensor, Tensor]],
    labels: Tensor | None = None,
    *,
    epsilon: float | str | None,
    reference: Callable[[Model, Tensor, Tensor], Tensor] | None = None,
    attacks: Sequence[Callable[[Model, Tensor, Tensor], Tensor]] = (),
    surrogate: Model | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 128,
    budget: float | None = None,
    effort: Effort = FULL,
    seed: int = 0,
    classes: int | None = None,
    progress: Progress | None = None,
    cache: Path | str | None = None,
) -> Context:
    """Check the arguments of an audit, ask the model what the preflight asks, and compute what the probes share.

    The arguments are those of ``unmask.audit``.

    Raises:
        ValueError: as ``unmask.audit``.

    Example:
        >>> images = torch.tensor([0.75, 0.5]).view(1, 1, 1, 2)
        >>> prepare(torch.nn.Flatten(), images, torch.tensor([0]), epsilon="1/4").trials.many.name
        '40 steps'
    """
    threat = threat_model(epsilon)
    if not isinstance(effort, Effort):
        raise ValueError(f"effort: expected unmask.FULL, unmask.QUICK or an unmask.Effort, got {effort!r}")
    if budget is not None and not (isinstance(budget, int | float) and budget > 0):
        raise ValueError(f"budget: expected seconds, a number above 0, got {budget!r}")
    check_attacks("attacks", attacks)
    check_attacks("reference", [] if reference is None else [reference])
    batches = Batches(size=batch_size, device=_device(model, device))
    images, labels = gather(images, labels)
    given = len(labels)
    if effort.images is not None:
        rows = chosen(images, effort.images, seed)
        images, labels = images[rows], labels[rows]
    audited = preflight(model, images, labels, batches=batches, classes=classes)
    if surrogate is not None:
        check_surrogate(surrogate, audited.images, audited.labels, batches=batches, classes=audited.classes)
    settings = (threat, seed, effort, surrogate, audited.answers)
    evaluator = Evaluator(
        model=audited.model,
        images=audited.images,
        labels=audited.labels,
        threat=threat,
        batches=batches,
        clock=Clock(seconds=budget, progress=progress),
        judge=EOT(audited.model, draws=DRAWS) if audited.random else None,
        cache=Cache(folder=Path(cache), task=task_of(model, images, labels, *settings)) if cache else None,
    )
    return _context(
        audited,
        evaluator,
        as_attack(reference or _usual_reference(threat.epsilon, audited.gradients, seed)),
        effort=effort,
        seed=seed,
        surrogate=surrogate,
        attacks=[as_attack(attack) for attack in attacks],
        images_digest=images_digest(images, labels),
        images_given=given,
    )


def _context(audited: Audited, evaluator: Evaluator, reference: Attack, **given: Any) -> Context:
    """Compute what the probes share, in a fixed order: the logits' lead, then the proxies, then the trials."""
    proxies: dict[str, Proxy] = {}
    missing: dict[str, str] = {}
    replaced: Sequence[str] = ()
    lead = 0.0
    if audited.gradients:
        lead = median_lead(audited.model, evaluator)
        rows = evaluator.sample(TRIED, seed=derive_seed(given["seed"], "stand-ins"))
        try:
            proxies[PRECISION] = Proxy("a float64 copy", float64_proxy(audited.model, evaluator, rows), factor=2)
        except ValueError as error:
            missing[PRECISION] = str(error)
        try:
            model, replaced = bpda_proxy(audited.given, evaluator, rows)
            if replaced:
                proxies[OPERATIONS] = Proxy("the BPDA model", model, factor=2)
            else:
                missing[OPERATIONS] = ""
        except ValueError as error:
            missing[OPERATIONS] = str(error)
    trials = Trials(
        evaluator=evaluator,
        reference=reference,
        classes=audited.classes,
        effort=given["effort"],
        seed=given["seed"],
        given=None if audited.given is audited.model else Proxy("the model as it was given", audited.given),
        gradients=audited.gradients,
    )
    return Context(
        audited=audited,
        evaluator=evaluator,
        trials=trials,
        reference=reference,
        lead=lead,
        proxies=proxies,
        missing=missing,
        replaced=replaced,
        **given,
    )


def _usual_reference(epsilon: float, gradients: bool, seed: int) -> Attack:
    """Return what most people take: one step along the gradient, or a search where there is none."""
    return FGSM(epsilon) if gradients else Square(epsilon, queries=SCORES, seed=seed)


def _device(model: Model, device: str | torch.device | None) -> torch.device:
    """Return the device asked for, else where the model is. A model that is elsewhere is refused, not moved."""
    here = next((one.device for one in model.parameters()), None) if isinstance(model, nn.Module) else None
    wanted = torch.device(device) if device is not None else here or torch.device("cpu")
    if here is not None and here.type != wanted.type:
        raise ValueError(
            f"device: expected the model on {wanted}, found it on {here}; call model.to({str(wanted)!r}) first"
        )
    return wanted
