"""The ledger of an audit: every attack is run once and entered, with what it cost and what it did to each example."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks import Attack, Outcome, Trial
from unmask.auditing.cache import Kept
from unmask.auditing.worst import Worst
from unmask.numerics import Batches, Model, drawn

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of all work that has been done, in [0, 1]."""


class OutOfTimeError(Exception):
    """An attack was not begun because the time that is left is not enough for it.

    Example:
        >>> str(OutOfTimeError("1000 queries"))
        '1000 queries'
    """


ALWAYS = 2
"""So many trials are run in any case: without attack, and with the one whose claim is audited."""


class Part:
    """Some of the images with their labels, and which they are.

    Example:
        >>> Part(torch.tensor([1]), torch.zeros(2, 1, 1, 2), torch.tensor([3, 4])).labels
        tensor([4])
    """

    def __init__(self, rows: Tensor, images: Tensor, labels: Tensor) -> None:
        self.rows, self.images, self.labels = rows, images[rows], labels[rows]


@dataclass(kw_only=True)
class Ledger:
    """Makes trials, and keeps what came of each: the worst image of each example, and how much time there is left.

    A trial that has been run on all examples is not run again on some of them.

    Attributes:
        images, labels: all that are audited; ``epsilon``: how far an attack may go.
        seconds: how long attacks may take; an attack that will presumably take longer than is left is not begun.
        kept: where outcomes are kept, and found again after a kill.
        judge: what decides in place of the model, made of it, if it answers at random.
        expected: how much work is foreseen, in gradients per image; what comes on top of it stretches the whole.
        worst: the worst image of each example so far; None before the first trial, which must be without attack.
        entries: each trial that was run, with the examples it was run on (None: all) and its outcome without images.

    Example:
        >>> from unmask.attacks import FGSM
        >>> images, labels = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])
        >>> ledger = Ledger(images=images, labels=labels, batches=Batches(), expected=2.5)
        >>> clean, step = (ledger.trial("none", 0.5, lambda m, x, y: x), ledger.trial("step", 2, FGSM(epsilon=0.2)))
        >>> for trial in (clean, step):
        ...     _ = trial(lambda x: x.flatten(1), images, labels)
        >>> ledger.worst.correct.item()
        False
    """

    images: Tensor
    labels: Tensor
    batches: Batches
    epsilon: float = 1.0
    expected: float = 1.0
    seconds: float | None = None
    progress: Progress | None = None
    kept: Kept | None = None
    judge: Callable[[Model], Model] | None = None
    worst: Worst | None = None
    entries: list[tuple[Trial, Tensor | None, Outcome]] = field(default_factory=list)
    _trials: list[tuple[Trial, float]] = field(default_factory=list)
    _parts: list[Part] = field(default_factory=list)
    _started: float = field(default_factory=time.perf_counter)
    _done: float = 0.0
    _told: float = 0.0

    def trial(self, name: str, cost: float, *attacks: Attack, keep_images: bool = False) -> Trial:
        """A trial of these attacks in a row, taking ``cost`` gradients per image: the one there is, or a new one."""
        for trial, _ in self._trials:
            alike = len(trial.attacks) == len(attacks) and all(map(_same, trial.attacks, attacks))
            if alike and trial.keep_images >= keep_images:
                return trial
        trial = Trial(
            attacks=attacks,
            name=name,
            batches=self.batches,
            keep_images=keep_images,
            judge=self.judge,
            entered=self._enter,
        )
        self._trials.append((trial, cost))
        return trial

    def sample(self, count: int, among: Tensor | None = None, *, seed: int) -> Part:
        """At most ``count`` of the examples, drawn by their content, or of those ``among`` whose numbers are given."""
        rows = torch.arange(len(self.images)) if among is None else among
        rows = rows[drawn(self.images[rows], count, seed=seed)]
        known = next((part for part in self._parts if torch.equal(part.rows, rows)), None)
        return known or self.part(rows)

    def part(self, rows: Tensor) -> Part:
        """These examples; the ledger knows their images as a part of all."""
        part = Part(rows, self.images, self.labels)
        self._parts.append(part)
        return part

    def outcome(self, trial: Trial) -> Outcome | None:
        """What came of a trial on all examples, without its images, if it has been run on them."""
        return next((outcome for one, rows, outcome in self.entries if one is trial and rows is None), None)

    def reached(self) -> Worst:
        """The worst image of each example so far; the trial without attack must have been run."""
        if self.worst is None:
            raise RuntimeError("ledger: expected the trial without attack to have been run")
        return self.worst

    def spent(self) -> float:
        """Seconds since the ledger was opened."""
        return time.perf_counter() - self._started

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return self.seconds is not None and self.spent() > self.seconds

    def work(self, stage: str, cost: float) -> None:
        """From here on each image that the batches finish has cost so many gradients."""

        def advance(rows: int) -> None:
            self._done += rows * cost
            whole = max(self.expected * len(self.images), self._done)
            self._told = max(self._told, min(self._done / whole, 1.0))
            if self.progress:
                self.progress(stage, self._told)

        self.batches.progress = advance

    def close(self) -> None:
        """No more work."""
        self.batches.progress = None
        if self.progress and self._told < 1:
            self.progress("done", 1.0)

    def _enter(self, trial: Trial, images: Tensor, run: Callable[[], Outcome]) -> Outcome:
        rows = None if images is self.images else next(part.rows for part in self._parts if part.images is images)
        whole = self.outcome(trial)
        if whole is not None and rows is not None:
            return Outcome(*(one[rows] if len(one) else one for one in whole))
        cost = next(cost for one, cost in self._trials if one is trial)
        self._check_time(trial, cost * len(images))
        outcome = self.kept.load(trial, rows) if self.kept else None
        if outcome is None:
            self.work(trial.name, cost)
            outcome = run()
            check_reach(trial.name, outcome.images, images, self.epsilon)
            self.batches.progress = None
            if self.kept:
                self.kept.save(trial, rows, outcome)
        if self.worst is None:
            self.worst = Worst(outcome)
        else:
            self.worst.add(outcome, rows)
        self.entries.append((trial, rows, outcome._replace(images=outcome.images[:0].clone())))
        return outcome

    def _check_time(self, trial: Trial, work: float) -> None:
        if self.seconds is None or len(self.entries) < ALWAYS or not self._done:
            return
        spent = self.spent()
        if spent + work * spent / self._done > self.seconds:
            raise OutOfTimeError(trial.name)


def _same(one: Attack, other: Attack) -> bool:
    try:
        return one is other or bool(one == other)
    except (RuntimeError, ValueError):  # they hold tensors or arrays, which are compared entry by entry
        return False


def check_reach(name: str, found: Tensor, images: Tensor, epsilon: float) -> None:
    """Refuse an attack that took more than the audit allows: its images would count for the worst case.

    Raises:
        ValueError: it left the ball, or [0, 1].

    Example:
        >>> check_reach("an attack", torch.full((1, 1, 1, 1), 0.75), torch.full((1, 1, 1, 1), 0.5), epsilon=0.25)
    """
    moved, (low, high) = float((found - images).abs().max()), found.aminmax()
    rounding = max(1e-6, 2 * torch.finfo(images.dtype).eps)
    if not (moved <= epsilon + rounding and low >= 0 and high <= 1):
        raise ValueError(
            f"{name}: expected images in [0, 1] within epsilon {epsilon:.6g}, got pixels moved by {moved:.6g} and "
            f"in [{low:.4g}, {high:.4g}]; give the attack this epsilon"
        )
