"""The same model with a backward pass where it has none: what stops gradients is found while it runs, and replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from unmask.attacks.bpda.tracing import Shadows, Squashed
from unmask.numerics import Model


def straight_through(model: Model) -> StraightThrough:
    """The model with the same outputs and a useful gradient, for attacks (Athalye et al. 2018: BPDA).

    While the model runs, each call of torch is looked at. Roundings and casts to whole numbers pass the gradient
    straight through; signs, comparisons, conditions and the winners of ``topk`` jump, and get a slope in place of the
    jump; ``slopes.py`` has the rule for each. ``detach``, ``no_grad`` and autograd functions with a backward of their
    own get the derivative of what was computed inside. Where the outputs are probabilities, or squashed otherwise, what
    went in is returned: the same order of classes, without saturation. All else stays as it is, gradient included.

    Out of reach is what torch's Python functions do not see: numpy, compiled and scripted parts, other people's
    kernels. There nothing is replaced. Parameters get no gradient. It takes up to twice the time and memory.

    Example:
        >>> model = straight_through(lambda x: (x.flatten(1) > 0.5).float())
        >>> images = torch.tensor([0.4, 0.8]).view(1, 1, 1, 2).requires_grad_()
        >>> scores = model(images)
        >>> scores, model.replaced
        (tensor([[0., 1.]], grad_fn=<_PinnedBackward>), Counter({'float': 1, 'gt': 1}))
        >>> torch.autograd.grad(scores[0, 0], images)[0].flatten() > 0
        tensor([ True, False])
    """
    return StraightThrough(model)


class StraightThrough(nn.Module):
    """What ``straight_through`` returns.

    Attributes:
        model: the model itself.
        replaced: what was met on the way to the last logits with a gradient and given another backward, by torch's
            name for it, with counts. ``"custom backward, kept"`` counts autograd functions that stayed as they are.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.replaced: Counter[str] = Counter()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        wanted = images.requires_grad and torch.is_grad_enabled()
        shadows = Shadows(wanted=wanted, rows=len(images))
        with _frozen(self.model), shadows:
            # A model that writes into its images would otherwise write into a leaf, which autograd forbids.
            outputs = self.model(images.clone() if wanted else images)
        outputs = shadows.soft(outputs)
        name, logits = _unsquashed(outputs, shadows.squashed)
        if wanted:
            self.replaced = Counter(_replaced(logits)) + Counter([name] if name else [])
        return logits


@contextmanager
def _frozen(model: Model) -> Iterator[None]:
    """Ask for no gradient of the parameters, so that what has one depends on the images."""
    free = [one for one in model.parameters() if one.requires_grad] if isinstance(model, nn.Module) else []
    for one in free:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in free:
            one.requires_grad_(True)


def _unsquashed(outputs: Tensor, squashed: list[Squashed]) -> tuple[str, Tensor]:
    """What went into the last function, if that squashed it; of probabilities made otherwise, the logarithm."""
    values = outputs.detach()
    if values.ndim != 2 or not values.is_floating_point():
        return "", outputs
    near = 64 * torch.finfo(values.dtype).eps
    for name, seen, inputs in reversed(squashed):
        if seen.shape == values.shape and torch.allclose(seen, values, rtol=near, atol=near):
            return name, inputs
    sums, certain = values.sum(1), ((values == 0) | (values == 1)).all()
    likely = torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=values.shape[1] * near)
    if likely and not certain and bool((values >= 0).all()):
        return "probabilities", outputs.clamp_min(torch.finfo(values.dtype).tiny).log()
    return "", outputs


def _replaced(outputs: Tensor) -> Iterator[str]:
    """The names of the changes on the way from the outputs to the images."""
    waiting, seen = [outputs.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = getattr(node, "replaced", "custom backward, kept") if isinstance(node, BackwardCFunction) else ""
        if name:
            yield name
        waiting.extend(parent for parent, _ in node.next_functions)
