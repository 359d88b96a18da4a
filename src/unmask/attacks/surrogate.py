"""A network of one's own that answers as the model does, for attacks by transfer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmask.attacks.bpda.model import straight_through
from unmask.gradients import input_gradient
from unmask.models import build as built_in
from unmask.numerics import Model, derive_seed, random_signs, random_uniform, undisturbed
from unmask.threats import Linf

BATCH = 128
"""Images per update, and per question to the model."""

GAP = 4.0
"""The median lead of the first class over the second, in nats, to which the model's answers are scaled."""

LEAST = 0.05
"""A median lead below this share of the answers' spread is rounding: their order is then all that is known."""


def surrogate(
    model: Model,
    images: Tensor,
    *,
    epsilon: float,
    build: Callable[[], nn.Module] | None = None,
    rounds: int = 5,
    updates: int = 400,
    seed: int = 0,
) -> nn.Module:
    """Train a network on a model's answers, so that attacks on the one carry over to the other (Papernot et al. 2017).

    The model is asked about the images, and about them with random signs of at most ``epsilon`` added; then, in each
    round but the last, about the points to which ``epsilon`` along the sign of the surrogate's own gradient leads, so
    that it is put right where attacks on it go (Papernot's augmentation by the Jacobian). What is learned are logits,
    centred, with squared error (Ba & Caruana 2014), scaled to a median lead of 4 nats. Probabilities are turned into
    logits; of a model that gives decisions alone, those are learned.

    It asks the model ``rounds + 1`` times per image, and for no gradient; it is left as it was.

    Args:
        build: makes the network; by default a narrow LeNet+, for sides of less than 16 pixels a perceptron.
        rounds: how often points are added and learned from.
        updates: of Adam, with 128 images each, in all rounds together.

    Raises:
        ValueError: a setting is out of range, or the network gives another number of logits than the model.

    Example:
        >>> images = torch.rand(100, 1, 1, 2, generator=torch.Generator().manual_seed(0))
        >>> network = surrogate(lambda x: (9 * x.flatten(1)).round(), images, epsilon=0.2)
        >>> at = input_gradient(network, images, torch.zeros(100, dtype=torch.int64))
        >>> at.gradient.sum(0).sign().flatten()
        tensor([-1.,  1.])
    """
    threat = Linf(epsilon=epsilon)
    if rounds < 1 or updates < rounds:
        raise ValueError(f"rounds and updates: expected at least 1, and as many updates, got {rounds} and {updates}")
    images = images.detach().clone()
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(model, seed=seed):
        signs = random_signs(images, seed=derive_seed(seed, "signs"))
        sizes = epsilon * random_uniform(images[:, :1, :1, :1], seed=derive_seed(seed, "sizes"))
        points = torch.cat([images, threat.step(images, signs, size=sizes)])
        answers = _answers(model, points)
        network = _network(build, images, answers, seed)
        for turn in range(rounds):
            _learn(network, points, answers, updates=updates // rounds, seed=derive_seed(seed, "order", turn))
            if turn < rounds - 1:
                decided = answers[: len(images)].argmax(1)
                gradient = torch.cat(
                    [
                        input_gradient(network, part, labels).gradient
                        for part, labels in zip(torch.split(images, BATCH), torch.split(decided, BATCH), strict=True)
                    ]
                )
                size = epsilon * (turn + 1) / (rounds - 1)
                added = threat.step(images, gradient, size=size)
                points, answers = torch.cat([points, added]), torch.cat([answers, _answers(model, added)])
    return network


def _answers(model: Model, points: Tensor) -> Tensor:
    """What the model says, without what may have squashed it: logits of a softmax, logarithms of probabilities."""
    with torch.no_grad():
        return torch.cat([straight_through(model)(part) for part in torch.split(points, BATCH)]).to(points.dtype)


def _network(build: Callable[[], nn.Module] | None, images: Tensor, answers: Tensor, seed: int) -> nn.Module:
    """A new network in evaluation mode, of the images' precision and on their device."""
    channels, height, width = images.shape[1:]
    inputs, classes = (channels, height, width), answers.shape[1]
    if build is not None:
        network = build()
    elif min(height, width) < 16:
        network = built_in("mlp", inputs=inputs, classes=classes, widths=(128, 128), seed=seed)
    else:
        network = built_in("lenet+", inputs=inputs, classes=classes, width=4, seed=seed)
    network = network.to(images).eval()
    with torch.no_grad():
        found = network(images[:1]).shape[1]
    if found != classes:
        raise ValueError(f"build: expected a network of {classes} logits, as many as the model's, got {found}")
    return network


def _learn(network: nn.Module, points: Tensor, answers: Tensor, *, updates: int, seed: int) -> None:
    """Adam on squared errors of centred logits; random batches."""
    wanted = _scaled(answers)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(updates):
        rows = torch.randint(len(points), (BATCH,), generator=order).to(points.device)
        logits = network(points[rows])
        loss = functional.mse_loss(logits - logits.mean(1, keepdim=True), wanted[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.zero_grad()


def _scaled(answers: Tensor) -> Tensor:
    """Centred, and with a median lead of ``GAP``; where there are hardly any leads, from the decisions alone."""
    top = answers.topk(2, dim=1).values
    lead, centred = (top[:, 0] - top[:, 1]).median(), answers - answers.mean(1, keepdim=True)
    if lead < LEAST * centred.square().mean().sqrt():
        return _scaled(functional.one_hot(answers.argmax(1), answers.shape[1]).to(answers))
    return centred * (GAP / lead.clamp_min(torch.finfo(answers.dtype).tiny))
