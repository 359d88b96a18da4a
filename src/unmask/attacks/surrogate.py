"""A network trained to give the outputs of a model, for attacks by transfer (Papernot et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmask.attacks.attack import BoundedAttack, check_counts
from unmask.attacks.bpda.model import bpda
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models import build as built_in
from unmask.numerics import Model, derive_seed, random_signs, random_uniform, undisturbed

BATCH = 128
"""Images per update, and per forward pass of the model."""

GAP = 4.0
"""The median lead of the first class over the second, in nats, to which the model's outputs are scaled."""

LEAST = 0.05
"""A median lead below this share of the outputs' spread is rounding: then the decisions alone are learned."""


def train_surrogate(
    model: Model,
    images: Tensor,
    *,
    epsilon: str | float,
    build: Callable[[], nn.Module] | None = None,
    rounds: int = 5,
    updates: int = 400,
    seed: int = 0,
) -> nn.Module:
    """Train a network on a model's outputs, so that attacks on it transfer to the model (Papernot et al. 2017).

    The first points are the images, and the images with random signs of at most ``epsilon`` added. Each round but the
    last adds the images moved by up to ``epsilon`` along the sign of the surrogate's own gradient, so that the
    surrogate is corrected where attacks on it go (Papernot's Jacobian-based augmentation). The surrogate learns centred
    logits with squared error (Ba & Caruana 2014), scaled to a median lead of 4 nats. Probabilities are turned into
    logits; of a model that gives decisions alone, it learns the decisions.

    The model gets ``rounds + 1`` forward passes per image and no backward pass; it is left as it was.

    Args:
        images: (N, C, H, W) in [0, 1]; their labels are not needed.
        epsilon: the bound of the threat model, a number in [0, 1] or text such as ``"8/255"``.
        build: a function that makes the network; by default a narrow LeNet+, for sides of less than 16 pixels an MLP.
        rounds: rounds of adding points and learning.
        updates: Adam's updates in all rounds together, with 128 images each.
        seed: of the network, the random signs and the order of the batches.

    Raises:
        ValueError: a setting is out of range, or the network gives another number of logits than the model.

    Example:
        >>> images = torch.rand(100, 1, 1, 2, generator=torch.Generator().manual_seed(0))
        >>> network = train_surrogate(lambda x: (9 * x.flatten(1)).round(), images, epsilon=0.2)
        >>> at = input_gradient(network, images, torch.zeros(100, dtype=torch.int64))
        >>> at.gradient.sum(0).sign().flatten()
        tensor([-1.,  1.])
    """
    threat = BoundedAttack(epsilon).threat
    check_counts(rounds=rounds, updates=updates)
    if updates < rounds:
        raise ValueError(f"updates: expected at least one for each of the {rounds} rounds, got {updates}")
    images = images.detach().clone()
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(model, seed=seed):
        signs = random_signs(images, seed=derive_seed(seed, "signs"))
        sizes = threat.epsilon * random_uniform(images[:, :1, :1, :1], seed=derive_seed(seed, "sizes"))
        points = torch.cat([images, threat.step(images, signs, size=sizes)])
        outputs = _outputs(model, points)
        network = _network(build, images, outputs, seed)
        for turn in range(rounds):
            _learn(network, points, outputs, updates=updates // rounds, seed=derive_seed(seed, "order", turn))
            if turn < rounds - 1:
                decided = outputs[: len(images)].argmax(1)
                gradient = torch.cat(
                    [
                        input_gradient(network, part, labels, loss=log_odds).gradient
                        for part, labels in zip(torch.split(images, BATCH), torch.split(decided, BATCH), strict=True)
                    ]
                )
                size = threat.epsilon * (turn + 1) / (rounds - 1)
                added = threat.step(images, gradient, size=size)
                points, outputs = torch.cat([points, added]), torch.cat([outputs, _outputs(model, added)])
    return network


def _outputs(model: Model, points: Tensor) -> Tensor:
    """Return the model's outputs before a final squashing: the logits of a softmax, the logarithms of probabilities."""
    with torch.no_grad():
        return torch.cat([bpda(model)(part) for part in torch.split(points, BATCH)]).to(points.dtype)


def _network(build: Callable[[], nn.Module] | None, images: Tensor, outputs: Tensor, seed: int) -> nn.Module:
    """Return a new network in evaluation mode, of the images' precision and on their device."""
    channels, height, width = images.shape[1:]
    inputs, classes = (channels, height, width), outputs.shape[1]
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


def _learn(network: nn.Module, points: Tensor, outputs: Tensor, *, updates: int, seed: int) -> None:
    """Train with Adam on squared errors of centred logits, in random batches."""
    wanted = _scaled(outputs)
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


def _scaled(outputs: Tensor) -> Tensor:
    """Return centred outputs with a median lead of ``GAP``; where there are hardly any leads, the decisions' own."""
    top = outputs.topk(2, dim=1).values
    lead, centred = (top[:, 0] - top[:, 1]).median(), outputs - outputs.mean(1, keepdim=True)
    if lead < LEAST * centred.square().mean().sqrt():
        return _scaled(functional.one_hot(outputs.argmax(1), outputs.shape[1]).to(outputs))
    return centred * (GAP / lead.clamp_min(torch.finfo(outputs.dtype).tiny))
