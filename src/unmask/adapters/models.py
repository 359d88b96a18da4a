"""Classifiers of other libraries as models: images in [0, 1] in, logits out, gradients intact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmask.numerics import Model


class Normalised(nn.Module):
    """``model((x - mean) / std)``, channel by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)
        self.training = _in_training(model)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        if self.mean.shape[1] not in (1, images.shape[1]):
            raise ValueError(f"mean: expected one per channel ({images.shape[1]}) or one, got {self.mean.shape[1]}")
        return self.model((images - self.mean.to(images)) / self.std.to(images))


def normalised(model: Model, mean: float | Sequence[float], std: float | Sequence[float]) -> nn.Module:
    """Make a model that wants normalised images take images in [0, 1]: ``model((x - mean) / std)``.

    Args:
        mean: one for each channel, or one for all; likewise ``std``. In units of [0, 1]: grey levels divided by 255.

    Raises:
        ValueError: they do not fit each other, or a std is not above 0.

    Example:
        >>> model = normalised(nn.Flatten(), mean=0.5, std=0.25)
        >>> model(torch.tensor([0.5, 0.75]).view(1, 1, 1, 2))
        tensor([[0., 1.]])
    """
    centre, spread = (torch.as_tensor(one, dtype=torch.float64).flatten() for one in (mean, std))
    if len(centre) != len(spread):
        raise ValueError(f"mean and std: expected as many of each, got {len(centre)} and {len(spread)}")
    if not (spread > 0).all():
        raise ValueError(f"std: expected numbers above 0, got {spread.tolist()}")
    return Normalised(model, centre, spread)


def timm(model: nn.Module) -> nn.Module:
    """Make a classifier of timm take images in [0, 1]: they are normalised as its ``pretrained_cfg`` says.

    Images must have the size that the network takes.

    Raises:
        ValueError: the model has no such configuration.

    Example:
        >>> network = nn.Flatten()
        >>> network.pretrained_cfg = {"mean": (0.5,), "std": (0.25,)}
        >>> timm(network)(torch.tensor([0.5, 0.75]).view(1, 1, 1, 2))
        tensor([[0., 1.]])
    """
    settings = getattr(model, "pretrained_cfg", None) or {}
    if not {"mean", "std"} <= set(settings):
        raise ValueError(
            "model: expected one of timm's, with mean and std in its pretrained_cfg, got "
            f"{type(model).__name__}; use normalised(model, mean, std)"
        )
    return normalised(model, settings["mean"], settings["std"])


class Logits(nn.Module):
    """An image classifier of transformers: its ``.logits``, from images that are resized if it wants a size."""

    def __init__(self, model: nn.Module, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.training = _in_training(model)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        if self.size and images.shape[2:] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def hugging_face(model: nn.Module, processor: Any = None) -> nn.Module:
    """Make an image classifier of transformers take images in [0, 1] and return its logits.

    With the model's image processor, images are resized (bilinear; a part of the model, so that epsilon is in the
    pixels of your own images) and normalised as it says, in torch, so that gradients pass. What else a processor may
    do, such as cropping, is yours to do beforehand.

    Raises:
        ValueError: the processor wants a size that is neither height and width nor the shortest edge.

    Example:
        >>> from types import SimpleNamespace
        >>> class Network(nn.Module):
        ...     def forward(self, pixel_values):
        ...         return SimpleNamespace(logits=pixel_values.flatten(1))
        >>> processor = SimpleNamespace(image_mean=[0.5], image_std=[0.25], size={"height": 1, "width": 2})
        >>> hugging_face(Network(), processor)(torch.tensor([0.5, 0.75]).view(1, 1, 1, 2))
        tensor([[0., 1.]])
    """
    size = None
    if processor is not None and getattr(processor, "do_resize", True):
        size = _size(processor)
    network = Logits(model, size)
    if processor is None or not getattr(processor, "do_normalize", True):
        return network
    return normalised(network, processor.image_mean, processor.image_std)


def _size(processor: Any) -> tuple[int, int] | None:
    """Return height and width of the network's input: after the crop, where there is one."""
    cropped = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
    wanted = cropped or getattr(processor, "size", None)
    if wanted is None:
        return None
    sides = {name: wanted[name] for name in ("height", "width", "shortest_edge") if name in wanted}
    if {"height", "width"} <= set(sides):
        return int(sides["height"]), int(sides["width"])
    if "shortest_edge" in sides:
        return int(sides["shortest_edge"]), int(sides["shortest_edge"])
    raise ValueError(f"processor: expected a size with height and width or shortest_edge, got {wanted}")


def _in_training(model: Model) -> bool:
    """Return True where a model is in training mode: its wrapper is then too, and an audit says so."""
    return isinstance(model, nn.Module) and model.training
