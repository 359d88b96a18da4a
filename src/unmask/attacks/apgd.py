"""Auto-PGD: gradient ascent with momentum that sets its own step sizes; towards any other class, or each in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from unmask.attacks.attack import FORWARD, BoundedAttack, check_counts
from unmask.attacks.best import Best, as_images, misclassified
from unmask.gradients import At, input_gradient, recordable
from unmask.losses import Loss, cross_entropy, targeted_dlr
from unmask.numerics import Model, derive_seed, fastest_layout, laid_out, undisturbed
from unmask.threats import Threat, check_batch

ALPHA = 0.75
"""The share of the gradient step in a move; the rest is the previous move."""

RHO = 0.75
"""A step size is halved unless at least this share of its steps has raised the loss."""


@dataclass(frozen=True, kw_only=True)
class APGD(BoundedAttack):
    """Auto-PGD (Croce & Hein 2020, algorithm 1): the step size of each example follows what its steps achieve.

    ``z = project(x_k + eta sign(grad_x loss))``; ``x_(k+1) = project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_(k-1)))``.
    ``eta`` starts at ``2 epsilon``. At the paper's checkpoints it is halved, and the example goes back to the best
    point of its run, if fewer than three quarters of the steps since the last checkpoint raised the loss, or if neither
    ``eta`` nor the highest loss has changed since. An example leaves as soon as it is misclassified; one that is so
    from the outset comes back as it is. Of the others, the point of highest loss comes back.

    A run takes ``steps`` gradients and one forward pass; one more forward pass is at the image itself.

    Attributes:
        steps: gradient steps of each restart.
        restarts: runs, each from a random start of its own, for the examples that are still classified correctly.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = APGD(0.125, steps=10)
        >>> attack(model, torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.6250, 0.3750])
    """

    steps: int = 100
    restarts: int = 1
    loss: Loss = cross_entropy
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, restarts=self.restarts)

    @property
    def cost(self) -> float:
        """At most one gradient for each step of each restart, and the prediction on the result."""
        return self.steps * self.restarts + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images, best = images.detach(), Best(images.detach())
        with undisturbed(model, seed=self.seed):
            layout = fastest_layout(model, images)
            _offer_clean(best, model, images, labels, layout)
            for restart in range(self.restarts):
                seed = derive_seed(self.seed, "restart", restart, 0)
                _climb(self, best, model, images, labels, lambda rows: self.loss, layout=layout, seed=seed)
        return best.images


@dataclass(frozen=True, kw_only=True)
class TargetedAPGD(BoundedAttack):
    """Auto-PGD towards one other class after another, with the targeted DLR loss (Croce & Hein 2020, section 4.2).

    The targets are the classes with the highest logits at the image itself, the true one left out; each has a run of
    its own. Otherwise as ``APGD``.

    Attributes:
        steps: gradient steps towards each target.
        targets: the number of classes; more than there are means all of them.
        restarts: passes through the targets, each run from a random start of its own.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind, or fewer than four
            classes.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = TargetedAPGD(0.125, steps=10)
        >>> attack(model, torch.tensor([0.75, 0.25, 0.5, 0.25]).view(1, 1, 1, 4), torch.tensor([0])).flatten()
        tensor([0.6250, 0.1250, 0.6250, 0.1250])
    """

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, targets=self.targets, restarts=self.restarts)

    @property
    def cost(self) -> float:
        """At most one gradient for each step towards each target, and the prediction on the result."""
        return self.steps * self.targets * self.restarts + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images, best = images.detach(), Best(images.detach())
        with undisturbed(model, seed=self.seed):
            layout = fastest_layout(model, images)
            logits = _offer_clean(best, model, images, labels, layout)
            others = logits.scatter(1, labels[:, None], -torch.inf)
            ranked = others.topk(min(self.targets, logits.shape[1] - 1), dim=1).indices
            for restart in range(self.restarts):
                for number, targets in enumerate(ranked.T):
                    seed = derive_seed(self.seed, "restart", restart, number)
                    _climb(self, best, model, images, labels, partial(_towards, targets), layout=layout, seed=seed)
        return best.images


def _towards(targets: Tensor, rows: Tensor) -> Loss:
    """Return the targeted loss of the examples ``rows``."""
    return lambda logits, labels: targeted_dlr(logits, labels, targets=recordable(targets[rows]))


def _offer_clean(best: Best, model: Model, images: Tensor, labels: Tensor, layout: torch.memory_format) -> Tensor:
    """Offer the images themselves to ``best``, and return their logits."""
    with torch.no_grad():
        logits = model(laid_out(images, layout))
    best.offer(images, misclassified(logits, labels), best.loss)
    return logits


def _climb(
    attack: APGD | TargetedAPGD,
    best: Best,
    model: Model,
    images: Tensor,
    labels: Tensor,
    loss_of: Callable[[Tensor], Loss],
    *,
    layout: torch.memory_format,
    seed: int,
) -> None:
    """Run the ascent once for the examples still classified correctly, and offer what it finds to ``best``.

    ``loss_of`` takes the numbers of examples and returns the loss to climb for them.
    """
    threat, windows = attack.threat, _windows(attack.steps)
    run = _begin(threat, images, best.remaining(), seed=seed)
    if not len(run.rows):
        return
    for step in range(attack.steps):
        true = labels[run.rows]
        at = input_gradient(model, run.x, true, loss=loss_of(run.rows), layout=layout)
        run.note(at)
        fooled = misclassified(at.logits, true)
        if fooled.any():
            best.offer(run.x, fooled, at.loss, run.rows)
            run.keep(~fooled)
        if fooled.all():
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
    """Return the checkpoints ``ceil(p_j steps)``, each with the number of steps since the one before.

    ``p`` is 0, 0.22 and so on: each gap is 0.03 less than the one before, but at least 0.06.
    """
    percent = [0, 22]
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    points = sorted({-(-one * steps // 100) for one in percent})
    return {0: 0} | {point: point - before for before, point in pairwise(points)}


@dataclass
class _Run:
    """The state of a run in the paper's letters; one row per example that is still classified correctly."""

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
    rises: Tensor  # steps since the last checkpoint that raised f
    f_checked: Tensor  # f_max at the last checkpoint
    halved: Tensor  # True if eta was halved there

    def note(self, at: At) -> None:
        """Record the loss and the gradient at ``x``."""
        self.rises += at.loss > self.f
        self.f, self.gradient = at.loss, at.gradient
        higher = at.loss > self.f_max
        self.f_max = torch.where(higher, at.loss, self.f_max)
        self.x_max = torch.where(as_images(higher), self.x, self.x_max)
        self.gradient_max = torch.where(as_images(higher), at.gradient, self.gradient_max)

    def keep(self, rows: Tensor) -> None:
        """Drop the other examples."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name)[rows])

    def halve(self, window: int) -> None:
        """Halve eta and go back to ``x_max`` for the examples whose last ``window`` steps did too little."""
        few = self.rises < RHO * window
        stuck = ~self.halved & (self.f_max == self.f_checked)
        self.halved = few | stuck
        self.eta = torch.where(as_images(self.halved), self.eta / 2, self.eta)
        self.x = torch.where(as_images(self.halved), self.x_max, self.x)
        self.f = torch.where(self.halved, self.f_max, self.f)
        self.gradient = torch.where(as_images(self.halved), self.gradient_max, self.gradient)
        self.rises, self.f_checked = torch.zeros_like(self.rises), self.f_max

    def move(self, threat: Threat, *, share: float) -> None:
        """Move ``x`` by ``share`` of a gradient step and ``1 - share`` of the last move."""
        z = threat.step(self.x, self.gradient, size=self.eta, origin=self.origin)
        moved = self.x + share * (z - self.x) + (1 - share) * (self.x - self.x_before)
        self.x, self.x_before = threat.project(moved, self.origin), self.x


def _begin(threat: Threat, images: Tensor, rows: Tensor, *, seed: int) -> _Run:
    """Return the start of a run: a random point for each row."""
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
