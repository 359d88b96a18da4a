"""Auto-PGD: gradient ascent with momentum that sets its own step sizes; towards any other class, or each in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from unmask.attacks.best import Best, as_images, misclassified
from unmask.gradients import At, input_gradient, recordable
from unmask.losses import Loss, log_odds, targeted_dlr
from unmask.numerics import Model, derive_seed, fastest_layout, laid_out, undisturbed
from unmask.threats import Linf, check_batch

ALPHA = 0.75
"""Share of the gradient step in a move; the rest is the previous move."""

RHO = 0.75
"""A step size is halved unless at least this share of its steps has raised the loss."""


@dataclass(frozen=True, kw_only=True)
class APGD:
    """Auto-PGD (Croce & Hein 2020, algorithm 1): the step size of each example follows what its steps achieve.

    ``z = project(x_k + eta sign(grad_x loss))``; ``x_(k+1) = project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_(k-1)))``.
    ``eta`` starts at ``2 epsilon``. At the paper's checkpoints it is halved, and the example goes back to the best
    point of its run, if fewer than three quarters of the steps since the last checkpoint raised the loss, or if neither
    ``eta`` nor the highest loss has changed since. An example leaves as soon as it is misclassified; one that is so
    from the outset comes back as it is. Of the others, the point of highest loss comes back.

    A run costs ``steps`` gradients and one look without; one more look is at the image itself.

    Attributes:
        restarts: how often it begins anew, from a random start of its own, for the examples still standing.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = APGD(epsilon=0.125, steps=10)
        >>> attack(model, torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.6250, 0.3750])
    """

    epsilon: float
    steps: int = 100
    restarts: int = 1
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epsilon, self.steps, self.restarts)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        return _attack(self, lambda logits: [lambda rows: self.loss], model, images, labels)

    @classmethod
    def sweep(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        epsilons: Sequence[float],
        steps: int = 100,
        restarts: int = 1,
        loss: Loss = log_odds,
        seed: int = 0,
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn; one attack each."""
        settings = cls(epsilon=0, steps=steps, restarts=restarts, loss=loss, seed=seed)
        for epsilon in epsilons:
            yield replace(settings, epsilon=epsilon)(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class TargetedAPGD:
    """Auto-PGD towards one other class after another, with the targeted DLR loss (Croce & Hein 2020, section 4.2).

    The targets are the classes with the highest logits at the image itself, the true one left out; each has a run of
    its own. Otherwise as ``APGD``.

    Attributes:
        targets: how many classes; more than there are means all of them.
        restarts: how often it goes through the targets, from random starts of their own.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind, or fewer than four
            classes.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = TargetedAPGD(epsilon=0.125, steps=10)
        >>> attack(model, torch.tensor([0.75, 0.25, 0.5, 0.25]).view(1, 1, 1, 4), torch.tensor([0])).flatten()
        tensor([0.6250, 0.1250, 0.6250, 0.1250])
    """

    epsilon: float
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epsilon, self.steps, self.restarts)
        if self.targets < 1:
            raise ValueError(f"targets: expected at least 1, got {self.targets}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""

        def plan(logits: Tensor) -> list[Callable[[Tensor], Loss]]:
            others = logits.scatter(1, labels[:, None], -torch.inf)
            ranked = others.topk(min(self.targets, logits.shape[1] - 1), dim=1).indices
            return [partial(_towards, targets) for targets in ranked.T]

        return _attack(self, plan, model, images, labels)

    @classmethod
    def sweep(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        epsilons: Sequence[float],
        steps: int = 100,
        targets: int = 9,
        restarts: int = 1,
        seed: int = 0,
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn; one attack each."""
        settings = cls(epsilon=0, steps=steps, targets=targets, restarts=restarts, seed=seed)
        for epsilon in epsilons:
            yield replace(settings, epsilon=epsilon)(model, images, labels)


def _check(epsilon: float, steps: int, restarts: int) -> None:
    Linf(epsilon=epsilon)
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps and restarts: expected at least 1, got {steps} and {restarts}")


def _towards(targets: Tensor, rows: Tensor) -> Loss:
    return lambda logits, labels: targeted_dlr(logits, labels, targets=recordable(targets[rows]))


def _attack(
    settings: APGD | TargetedAPGD,
    plan: Callable[[Tensor], Iterable[Callable[[Tensor], Loss]]],
    model: Model,
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    """One run after another, each on those still standing.

    ``plan`` takes the logits at the images to what each run climbs: a function from rows to the loss of those rows.
    """
    check_batch(images, labels)
    images = images.detach()
    best = Best(images)
    with undisturbed(model, seed=settings.seed):
        layout = fastest_layout(model, images)
        with torch.no_grad():
            logits = model(laid_out(images, layout))
        best.offer(images, misclassified(logits, labels), best.loss)
        for restart in range(settings.restarts):
            for number, loss_of in enumerate(plan(logits)):
                seed = derive_seed(settings.seed, "restart", restart, number)
                _climb(settings, best, model, images, labels, loss_of, layout=layout, seed=seed)
    return best.images


def _climb(
    settings: APGD | TargetedAPGD,
    best: Best,
    model: Model,
    images: Tensor,
    labels: Tensor,
    loss_of: Callable[[Tensor], Loss],
    *,
    layout: torch.memory_format,
    seed: int,
) -> None:
    """One run; what it finds goes to ``best``."""
    threat, windows = Linf(epsilon=settings.epsilon), _windows(settings.steps)
    run = _begin(threat, images, best.standing(), seed=seed)
    if not len(run.rows):
        return
    for step in range(settings.steps):
        true = labels[run.rows]
        at = input_gradient(model, run.x, true, loss=loss_of(run.rows), layout=layout)
        run.note(at)
        fallen = misclassified(at.logits, true)
        if fallen.any():
            best.offer(run.x, fallen, at.loss, run.rows)
            run.keep(~fallen)
        if fallen.all():
            return
        if step in windows:
            run.halve(windows[step])
        run.move(threat, share=ALPHA if step else 1.0)
    true = labels[run.rows]
    with torch.no_grad():
        logits = model(laid_out(run.x, layout))
    best.offer(run.x_max, torch.zeros_like(run.halved), run.f_max, run.rows)
    best.offer(run.x, misclassified(logits, true), loss_of(run.rows)(logits, true), run.rows)


def _windows(steps: int) -> dict[int, int]:
    """The checkpoints ``ceil(p_j steps)``, each with the number of steps since the one before.

    ``p`` is 0, 0.22 and so on: each gap is 0.03 less than the one before, but at least 0.06.
    """
    percent = [0, 22]
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    points = sorted({-(-one * steps // 100) for one in percent})
    return {0: 0} | {point: point - before for before, point in pairwise(points)}


@dataclass
class _Run:
    """The state of a run in the paper's letters; a row per example still standing."""

    rows: Tensor
    origin: Tensor
    x: Tensor
    x_before: Tensor
    f: Tensor
    gradient: Tensor
    x_max: Tensor
    f_max: Tensor
    gradient_max: Tensor
    eta: Tensor
    rises: Tensor  # how many steps since the last checkpoint raised f
    f_checked: Tensor  # f_max at the last checkpoint
    halved: Tensor  # whether eta was halved there

    def note(self, at: At) -> None:
        """What the model says at ``x``."""
        self.rises += at.loss > self.f
        self.f, self.gradient = at.loss, at.gradient
        higher = at.loss > self.f_max
        self.f_max = torch.where(higher, at.loss, self.f_max)
        self.x_max = torch.where(as_images(higher), self.x, self.x_max)
        self.gradient_max = torch.where(as_images(higher), at.gradient, self.gradient_max)

    def keep(self, rows: Tensor) -> None:
        """Let the other examples go."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name)[rows])

    def halve(self, window: int) -> None:
        """At a checkpoint: where the last ``window`` steps did too little, halve eta and go back to ``x_max``."""
        few = self.rises < RHO * window
        stuck = ~self.halved & (self.f_max == self.f_checked)
        self.halved = few | stuck
        self.eta = torch.where(as_images(self.halved), self.eta / 2, self.eta)
        self.x = torch.where(as_images(self.halved), self.x_max, self.x)
        self.f = torch.where(self.halved, self.f_max, self.f)
        self.gradient = torch.where(as_images(self.halved), self.gradient_max, self.gradient)
        self.rises, self.f_checked = torch.zeros_like(self.rises), self.f_max

    def move(self, threat: Linf, *, share: float) -> None:
        """A gradient step from ``x``, of which ``share`` is taken, the rest being the last move again."""
        z = threat.step(self.x, self.gradient, size=self.eta, origin=self.origin)
        moved = self.x + share * (z - self.x) + (1 - share) * (self.x - self.x_before)
        self.x, self.x_before = threat.project(moved, self.origin), self.x


def _begin(threat: Linf, images: Tensor, rows: Tensor, *, seed: int) -> _Run:
    """The start of a run: a random point for each row."""
    origin = images[rows]
    start = threat.random_start(origin, seed=seed)
    lowest = torch.full((len(rows),), -torch.inf, dtype=images.dtype, device=images.device)
    return _Run(
        rows=rows,
        origin=origin,
        x=start,
        x_before=start,
        f=-lowest,
        gradient=torch.zeros_like(start),
        x_max=start,
        f_max=lowest,
        gradient_max=torch.zeros_like(start),
        eta=as_images(torch.full_like(lowest, 2 * threat.epsilon)),
        rises=torch.zeros_like(rows),
        f_checked=lowest,
        halved=torch.zeros_like(rows, dtype=torch.bool),
    )
