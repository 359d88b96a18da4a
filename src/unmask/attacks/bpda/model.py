"""The same model with a useful backward pass: what stops gradients is found while it runs, and replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from unmask.attacks.bpda.slopes import replaced_by
from unmask.attacks.bpda.tracing import Squashed, Tracing
from unmask.numerics import Model

KEPT = "custom backward, kept"
"""The name for an autograd function whose own backward pass stays, since nothing of its inside was traced."""


def bpda(model: Model) -> BPDA:
    """Return the model with the same outputs and a useful gradient, for attacks (BPDA, Athalye et al. 2018).

    Each call of torch is traced while the model runs. Roundings and casts to whole numbers get the straight-through
    estimator, which is the identity; signs, comparisons, conditions and the winners of ``topk`` jump, and get a slope;
    ``functions.py`` has the approximation of each. ``detach``, ``no_grad`` and autograd functions with a backward of
    their own get the derivative of their forward pass. If the outputs are probabilities, or squashed otherwise, the
    input of the squashing is returned: the same order of classes, without saturation. All else stays as it is, gradient
    included.

    Torch's Python functions do not see numpy, compiled and scripted parts and foreign kernels: there nothing is
    replaced. Parameters get no gradient. It takes up to twice the time and memory.

    Example:
        >>> model = bpda(lambda x: (x.flatten(1) > 0.5).float())
        >>> images = torch.tensor([0.4, 0.8]).view(1, 1, 1, 2).requires_grad_()
        >>> scores = model(images)
        >>> scores.tolist(), model.replaced
        ([[0.0, 1.0]], Counter({'float': 1, 'gt': 1}))
        >>> torch.autograd.grad(scores[0, 0], images)[0].flatten() > 0
        tensor([ True, False])
    """
    return BPDA(model)


class BPDA(nn.Module):
    """The model that ``bpda`` returns.

    Attributes:
        model: the model itself.
        replaced: the operations on the way to the last logits with a gradient that got another backward pass, by
            torch's names, with counts. ``"custom backward, kept"`` counts autograd functions that stayed as they are.

    Example:
        >>> model = BPDA(lambda x: x.flatten(1).round())
        >>> logits = model(torch.zeros(1, 1, 1, 2, requires_grad=True))
        >>> model.replaced
        Counter({'round': 1})
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.replaced: Counter[str] = Counter()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        wanted = images.requires_grad and torch.is_grad_enabled()
        tracing = Tracing(wanted=wanted, rows=len(images))
        with _frozen(self.model), tracing:
            # A model may write into its images: the caller's stay, and autograd forbids it for leaves.
            outputs = self.model(images.clone())
        outputs = tracing.counterpart(outputs)
        name, logits = _unsquashed(outputs, tracing.squashed)
        if wanted:
            self.replaced = Counter(_replaced(logits)) + Counter([name] if name else [])
        return logits


@contextmanager
def _frozen(model: Model) -> Iterator[None]:
    """Switch off the parameters' gradients, so that a tensor with a gradient depends on the images."""
    free = [one for one in model.parameters() if one.requires_grad] if isinstance(model, nn.Module) else []
    for one in free:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in free:
            one.requires_grad_(True)


def _unsquashed(outputs: Tensor, squashed: list[Squashed]) -> tuple[str, Tensor]:
    """Return the input of the last squashing and its name; of probabilities made otherwise, the logarithm."""
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
    """Yield the names of the replacements on the way from the outputs to the images."""
    waiting, seen = [outputs.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = replaced_by(node)
        if name is None and isinstance(node, BackwardCFunction):
            name = KEPT
        if name:
            yield name
        waiting.extend(parent for parent, _ in node.next_functions)
