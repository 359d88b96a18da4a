"""The loop one would write without unmask: nothing in it but what training needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    updates: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    channels_last: bool = False,
) -> None:
    """Minimise cross entropy with Adam over shuffled batches, in place."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    done = 0
    while done < updates:
        for rows in torch.split(torch.randperm(len(images), generator=generator), batch_size)[: updates - done]:
            batch = images.index_select(0, rows).to(memory_format=layout)
            loss = functional.cross_entropy(model(batch), labels.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
