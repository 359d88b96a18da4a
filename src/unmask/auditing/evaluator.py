"""The evaluator of an audit: it runs each attack once, and holds images, batching, cache, clock and worst images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.attacks import Outcome, as_attack
from unmask.attacks.evaluation import attack_batch
from unmask.auditing.cache import Cache
from unmask.auditing.clock import Clock
from unmask.auditing.trial import Proxy, Trial
from unmask.auditing.worst import Worst
from unmask.numerics import Batches, Model, drawn, out_of_memory
from unmask.threats import Threat, check_adversarial

ALWAYS = 2
"""The number of trials that a time budget cannot leave out: the clean one, and the reference attack."""


class OutOfTimeError(Exception):
    """An attack was not begun because the time that is left is not enough for it.

    Example:
        >>> str(OutOfTimeError("1000 queries"))
        '1000 queries'
    """


class RefusedError(Exception):
    """The reference attack with changed settings, such as another epsilon or fewer steps, fails.

    Example:
        >>> str(RefusedError("ValueError: eps must be above 0"))
        'ValueError: eps must be above 0'
    """


class Omission(NamedTuple):
    """Something that was not run: its name, the reason, and whether it leaves the verdict's question open."""

    name: str
    reason: str
    open: bool = False


class Entry(NamedTuple):
    """A trial that was run: the rows it was run on (None: all), and its outcome without images."""

    trial: Trial
    rows: Tensor | None
    outcome: Outcome


@dataclass(kw_only=True, eq=False)
class Evaluator:
    """Runs trials on the audited model: each once, in batches, within the time budget.

    Attributes:
        model: the audited model, from images to logits.
        images, labels: all that are audited, on the CPU.
        threat: what an attack may do; images that exceed it are refused.
        batches: the batch size and the device.
        judge: decides whether an image is misclassified, where that is not the model itself.
        cache: keeps outcomes on disk, and finds them again after a kill.
        entries: the trials that were run, in order.
        not_run: everything that was left out, and why.

    Example:
        >>> from unmask.attacks import FGSM
        >>> from unmask.threats import Linf
        >>> images, labels = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])
        >>> evaluator = Evaluator(model=lambda x: x.flatten(1), images=images, labels=labels, threat=Linf(0.2))
        >>> for trial in (evaluator.trial("clean", lambda m, x, y: x), evaluator.trial("step", FGSM(0.2))):
        ...     _ = evaluator.run(trial)
        >>> evaluator.worst.correct.item()
        False
    """

    model: Model
    images: Tensor
    labels: Tensor
    threat: Threat
    batches: Batches = field(default_factory=Batches)
    clock: Clock = field(default_factory=Clock)
    judge: Model | None = None
    cache: Cache | None = None
    entries: list[Entry] = field(default_factory=list, init=False)
    not_run: list[Omission] = field(default_factory=list, init=False)
    _worst: Worst | None = field(default=None, init=False)
    _trials: list[Trial] = field(default_factory=list, init=False)
    _outcomes: dict[tuple[int, bytes | None], Outcome] = field(default_factory=dict, init=False)

    @property
    def worst(self) -> Worst:
        """The worst image of each example so far; the clean trial must have been run first."""
        if self._worst is None:
            raise RuntimeError("evaluator: expected the clean trial to have been run")
        return self._worst

    def trial(
        self,
        name: str,
        *attacks: Callable[[Model, Tensor, Tensor], Tensor],
        proxy: Proxy | None = None,
        keep_images: bool = False,
    ) -> Trial:
        """Return a trial of these attacks: the one there is, under whatever name, or a new one."""
        declared = tuple(as_attack(attack) for attack in attacks)
        for trial in self._trials:
            if trial.equals(declared, proxy) and trial.keep_images >= keep_images:
                return trial
        self._trials.append(Trial(name=name, attacks=declared, proxy=proxy, keep_images=keep_images))
        return self._trials[-1]

    def run(self, trial: Trial, rows: Tensor | None = None) -> Outcome:
        """Run a trial on all examples, or on those in ``rows``; what was run before is returned at once.

        The outcome has images only where the trial keeps them, (0, C, H, W) otherwise.

        Raises:
            OutOfTimeError: the time that is left is presumably not enough.
            ValueError: an attack exceeds the threat model, or returns no images.
        """
        key = None if rows is None else rows.numpy().tobytes()
        if known := self._outcomes.get((id(trial), key)):
            return known
        if rows is not None and (whole := self._outcomes.get((id(trial), None))):
            return whole.at(rows)
        if rows is not None and self._worst is None:
            raise RuntimeError("evaluator: expected the clean trial to be run first, on all examples")
        images = self.images if rows is None else self.images[rows]
        if len(self.entries) >= ALWAYS and not self.clock.allows(trial.cost * len(images)):
            raise OutOfTimeError(trial.name)
        outcome = self.cache.load(trial, key) if self.cache else None
        if outcome is None:
            labels, progress = self.labels_of(rows), self.clock.work(trial.name, cost=trial.cost)
            outcome = Outcome(*self.batches(self._function(trial), images, labels, progress=progress))
            check_adversarial(trial.name, outcome.images, images, self.threat)
            if self.cache:
                self.cache.save(trial, key, outcome)
        return self._enter(trial, rows, key, outcome)

    def run_unrecorded(self, trial: Trial, rows: Tensor | None = None) -> Outcome:
        """Run a trial that counts for nothing, such as an attack with another epsilon.

        Raises:
            RefusedError: the attack fails, which is no fault of who gave it with other settings.
        """
        images = self.images if rows is None else self.images[rows]
        try:
            return Outcome(*self.batches(self._function(trial), images, self.labels_of(rows)))
        except Exception as error:  # it may be anybody's code
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            raise RefusedError(f"{type(error).__name__}: {error}") from error

    def measure(
        self,
        function: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...]],
        rows: Tensor | None = None,
        *,
        images: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Apply a function of images and labels in batches: to all, to those in ``rows``, or to other images."""
        if images is None:
            images = self.images if rows is None else self.images[rows]
        return self.batches(function, images, self.labels_of(rows))

    def labels_of(self, rows: Tensor | None) -> Tensor:
        """Return the labels of all examples, or of those in ``rows``."""
        return self.labels if rows is None else self.labels[rows]

    def sample(self, count: int, among: Tensor | None = None, *, seed: int) -> Tensor:
        """Return the rows, rising, of at most ``count`` examples, drawn by their content from all or from ``among``."""
        rows = torch.arange(len(self.images)) if among is None else among
        return rows[drawn(self.images[rows], count, seed=seed)]

    def _function(self, trial: Trial) -> Callable[[Tensor, Tensor], Outcome]:
        proxy = trial.proxy.model if trial.proxy else None
        return partial(attack_batch, self.model, trial.attacks, proxy=proxy, judge=self.judge)

    def _enter(self, trial: Trial, rows: Tensor | None, key: bytes | None, outcome: Outcome) -> Outcome:
        """Remember an outcome, and take from it what is worse than the attacks before did."""
        if self._worst is None:
            self._worst = Worst(outcome)
        else:
            self._worst.add(outcome, rows)
        bare = outcome.without_images()
        self.entries.append(Entry(trial, rows, bare))
        self._outcomes[id(trial), key] = outcome if trial.keep_images else bare
        return self._outcomes[id(trial), key]
