"""The same network for less work: the pool before ReLU, and the gradient in grey images as one matrix product."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["fold_grey", "pool_first"]


def pool_first(model: nn.Module) -> nn.Module:
    """The network with every ReLU that max-pooling follows moved behind it; layers and weights are shared, not copied.

    ReLU never falls, so that max(relu(a), relu(b)) = relu(max(a, b)): outputs and gradients are the same to the last
    bit, and ReLU has as many times fewer numbers to go over as a pool has places. Looks at the layers of an
    ``nn.Sequential``; any other network is returned as it is. Weights keep their names in the state dictionary.

    Example:
        >>> pool_first(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)))
        Sequential(
          (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))
          (1): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
          (2): ReLU()
        )
    """
    if type(model) is not nn.Sequential:
        return model
    layers = list(model)
    for place in range(len(layers) - 1):
        one, after = layers[place : place + 2]
        if type(one) is nn.ReLU and type(after) is nn.MaxPool2d and not after.return_indices:
            layers[place : place + 2] = after, one
    return _with(model, layers)


def fold_grey(model: nn.Module) -> nn.Module:
    r"""The network with convolutions of grey images whose gradient in them is one product of matrices.

    For filters W (filters, places) and the gradient g (N, filters, positions) at the outputs, Wᵀ g holds what each
    filter place sends back from each position; it is then added up at the pixels. A processor's convolutions work on
    blocks of channels, of which a grey image has one: this gradient, which every step of an attack needs and training
    alone does not, comes several times as fast so, and differs only by rounding. Outputs and the weights' gradient are
    the same to the last bit, under autocast too. Away from the CPU the layer is the convolution that it was.
    ``torch.func`` cannot take it, and an audit would name its backward pass as one that may mask: audit the network
    that it was made of.

    Looks at the layers of an ``nn.Sequential``, for 2-d convolutions of one channel, padded by numbers of zeros, with
    no fewer filters than a filter has places, so that Wᵀ g takes no more memory than the outputs; all else is left as
    it is. Weights are shared and keep their names in the state dictionary.

    Example:
        >>> fold_grey(nn.Sequential(nn.Conv2d(1, 9, 3), nn.ReLU()))
        Sequential(
          (0): FoldedConv2d(1, 9, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
        )
    """
    if type(model) is not nn.Sequential:
        return model
    return _with(model, [_folded(layer) for layer in model])


def _with(model: nn.Sequential, layers: list[nn.Module]) -> nn.Sequential:
    """The same container, with the same names, around other layers."""
    changed = copy(model)
    changed._modules = dict(zip(model._modules, layers, strict=True))
    return changed


def _folded(layer: nn.Module) -> nn.Module:
    if type(layer) is not nn.Conv2d or layer.in_channels > 1 or layer.padding_mode != "zeros":
        return layer
    if isinstance(layer.padding, str) or layer.out_channels < layer.weight[0].numel():
        return layer
    folded = copy(layer)  # the same parameters, hooks and options
    folded.__class__ = FoldedConv2d
    folded._parameters = dict(layer._parameters)
    return folded


class FoldedConv2d(nn.Conv2d):
    """A 2-d convolution of one channel whose gradient in its input is a matrix product: see ``fold_grey``.

    Example:
        >>> layer = FoldedConv2d(1, 1, 2, bias=False)
        >>> images = torch.zeros(1, 1, 2, 3, requires_grad=True)
        >>> _ = nn.init.ones_(layer.weight)
        >>> torch.autograd.grad(layer(images).sum(), images)[0].tolist()
        [[[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]]
    """

    def forward(self, images: Tensor) -> Tensor:
        wanted = torch.is_grad_enabled() and images.requires_grad and images.ndim == 4
        if not wanted or images.device.type != "cpu":
            return super().forward(images)
        weight, bias, options = self.weight, self.bias, (self.stride, self.padding, self.dilation)
        if torch.is_autocast_enabled("cpu") and images.dtype != torch.float64:  # which autocast leaves as they are
            coarser = torch.get_autocast_dtype("cpu")
            images, weight, bias = images.to(coarser), weight.to(coarser), None if bias is None else bias.to(coarser)
        with torch.autocast("cpu", enabled=False):
            output = _Convolved.apply(weight, bias, [images], *options)  # type: ignore[no-untyped-call]
            folded: Tensor = _Folded.apply(output, images, weight, *options)  # type: ignore[no-untyped-call]
        return folded


class _Convolved(torch.autograd.Function):
    """The convolution with its gradients in the weights. The images are in a list, where autograd does not see them."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, images: list[Tensor], *options: Any) -> Tensor:
        ctx.save_for_backward(weight, images[0])
        ctx.options = options
        return F.conv2d(images[0], weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, images = ctx.saved_tensors
        options = (*ctx.options, False, (0, 0), 1, (False, *ctx.needs_input_grad[:2]))
        _, *of_weights = torch.ops.aten.convolution_backward(gradient, images, weight, weight.shape[:1], *options)
        return *of_weights, None, None, None, None


class _Folded(torch.autograd.Function):
    """The outputs as they come, with their gradient in the images: a step of its own, so that it can be had alone."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, images: Tensor, weight: Tensor, *options: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.options = images.shape[2:], options
        ctx.mark_dirty(output)  # the same tensor, and no view of it, which a layer that works in place may change
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        images, filters, height, width = gradient.shape
        places = weight.reshape(filters, -1).t() @ gradient.reshape(images, filters, -1)
        sent = places.reshape(images, *weight.shape[2:], height, width)
        finer = torch.promote_types(sent.dtype, torch.float32)  # for the sum, as a convolution has it
        return gradient, _added_up(sent.to(finer), ctx.size, *ctx.options).to(sent.dtype), None, None, None, None


def _added_up(
    sent: Tensor, size: torch.Size, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> Tensor:
    """Add up at the pixels the gradients of filter places (N, rows, columns, positions down, positions across).

    As ``fold`` does it, but place by place and not image by image: two thirds of its time at 32 images of MNIST.
    """

    def pixels(place: int, axis: int) -> slice:
        start = place * dilation[axis]
        return slice(start, start + stride[axis] * (sent.shape[3 + axis] - 1) + 1, stride[axis])

    padded = sent.new_zeros(len(sent), *(length + 2 * edge for length, edge in zip(size, padding, strict=True)))
    for row, of_row in enumerate(sent.unbind(1)):
        for column, of_place in enumerate(of_row.unbind(1)):
            padded[:, pixels(row, 0), pixels(column, 1)] += of_place
    inner = (slice(edge, edge + length) for length, edge in zip(size, padding, strict=True))
    return padded[:, None, *inner]
