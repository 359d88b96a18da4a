"""The replay of adversarial examples in plain torch, to be read in one look, with no other part of unmask."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Replay(NamedTuple):
    """The three tests of each adversarial image, with what they rest on.

    Attributes:
        inside: within epsilon of the clean image, bool (N,); ``valid``: in [0, 1]; ``fooled``: not classified as its
            label.
        moved: the largest change of a pixel, (N,).
        logits: the model's, (N, K).
    """

    inside: Tensor
    valid: Tensor
    fooled: Tensor
    moved: Tensor
    logits: Tensor


def replay(
    model: Callable[[Tensor], Tensor],
    clean: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    batch_size: int = 128,
) -> Replay:
    """Test that each image is within epsilon of the clean one, in [0, 1], and not classified as its label.

    The ball may be exceeded by 1e-6, a 4,000th of a grey level (by twice the spacing at 1 in coarser precisions than
    float32): an attack that adds epsilon to a pixel rounds the sum, in float32 by up to 6e-8, once or several times.
    The change itself is computed in float64, where it is exact. [0, 1] has no tolerance: its ends are float32 numbers.

    Args:
        model: images (N, C, H, W) in [0, 1] to logits (N, K), in evaluation mode.

    Example:
        >>> clean, adversarial = torch.tensor([[0.6, 0.4], [0.45, 0.55]]).view(2, 1, 1, 2)[:, None]
        >>> replay(lambda x: x.flatten(1), clean, adversarial, torch.tensor([0]), epsilon=0.15).fooled
        tensor([True])
    """
    rounding = max(1e-6, 2 * torch.finfo(adversarial.dtype).eps)
    moved = (adversarial.double() - clean.double()).abs().flatten(1).amax(1)
    lowest, highest = adversarial.flatten(1).aminmax(dim=1)
    with torch.no_grad():
        logits = torch.cat([model(batch).cpu() for batch in torch.split(adversarial, batch_size)])
    return Replay(
        inside=moved <= epsilon + rounding,
        valid=(lowest >= 0) & (highest <= 1),
        fooled=logits.argmax(1) != labels,
        moved=moved,
        logits=logits,
    )
