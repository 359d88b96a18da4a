"""Classifiers that the papers use, by name, with weights that are a function of a seed.

| file        | content                                                                                    |
|-------------|--------------------------------------------------------------------------------------------|
| mlp.py      | fully connected networks, down to the linear model                                         |
| lenet.py    | LeNet+ and the networks A to D of Vivek, Baburaj and Babu                                  |
| resnet.py   | ResNet-18 and ResNet-34 for small images                                                   |
| vgg.py      | VGG-11, VGG-16 and VGG-19 for small images                                                 |
| geometry.py | checks of image shapes and layer widths                                                    |
| weights.py  | weights in files                                                                           |
| masked/     | models whose truth is known: wrappers and activations that mask gradients on purpose       |

Each takes images (N, C, H, W) in [0, 1] and returns logits (N, classes). A new network is a function in a file of its
own, called with ``inputs`` and ``classes``, and a line in ``MODELS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from unmask.models import lenet, mlp, resnet, vgg
from unmask.models.geometry import Shape
from unmask.models.weights import digest, load_weights, save_weights

__all__ = [
    "MODELS",
    "Initialisation",
    "Shape",
    "build",
    "digest",
    "initialise",
    "load_weights",
    "save_weights",
    "widths_of",
]

Initialisation = Literal["torch", "xavier"]
"""Torch's own initialisation, or Xavier-uniform weights with zero biases."""

MODELS: dict[str, Callable[..., nn.Sequential]] = {
    "mlp": mlp.mlp,
    "linear": mlp.linear,
    "lenet+": lenet.lenet_plus,
    "lenet-a": lenet.lenet_a,
    "lenet-b": lenet.lenet_b,
    "lenet-b-strided": partial(lenet.lenet_b, strides=(2, 2, 1)),
    "lenet-c": lenet.lenet_c,
    "lenet-d": lenet.lenet_d,
    "resnet-18": partial(resnet.resnet, depth=18),
    "resnet-34": partial(resnet.resnet, depth=34),
    "vgg-11": partial(vgg.vgg, depth=11),
    "vgg-16": partial(vgg.vgg, depth=16),
    "vgg-19": partial(vgg.vgg, depth=19),
}
"""The function that makes each network, by name."""


def build(
    name: str,
    *,
    inputs: Shape,
    classes: int,
    widths: tuple[int, ...] | None = None,
    width: int | None = None,
    initialisation: Initialisation = "torch",
    seed: int = 0,
) -> nn.Module:
    """Make a network by name, on the CPU and in training mode; the global random state stays as it was.

    Args:
        name: a key of ``MODELS``.
        inputs: channels, height and width of one image.
        classes: number of classes.
        widths: units of each hidden layer; for ``"mlp"`` alone.
        width: channels (``"lenet-d"``: units) of the first layer, to which the others keep their proportion.
        initialisation: see ``initialise``.
        seed: the weights are a function of it and of the other arguments.

    Raises:
        ValueError: the name is not known, the network does not take an option, or an option is not possible.

    Example:
        >>> model = build("lenet+", inputs=(1, 8, 8), classes=10, width=4, initialisation="xavier", seed=1)
        >>> model(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    maker = _maker(name)
    given = {option: value for option, value in (("widths", widths), ("width", width)) if value is not None}
    taken = [option for option in ("widths", "width") if option in signature(maker).parameters]
    for option, value in given.items():
        if option not in taken:
            raise ValueError(f"{option}: expected none ({name} takes {taken[0] if taken else 'neither'}), got {value}")
    # Not torch.manual_seed, which would also reseed every GPU, and those states are not restored here.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        model = maker(inputs=inputs, classes=classes, **given)
    initialise(model, initialisation, seed)
    return model


def widths_of(name: str, tensors: Mapping[str, Tensor], *, inputs: Shape, classes: int) -> dict[str, Any]:
    """Return the ``width`` or ``widths`` with which ``build`` makes the network that has these weights.

    The result is empty where the network has none, or where the weights are another network's.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> saved = build("lenet+", inputs=(1, 8, 8), classes=10, width=4).state_dict()
        >>> widths_of("lenet+", saved, inputs=(1, 8, 8), classes=10)
        {'width': 4}
    """
    taken = signature(_maker(name)).parameters
    if "widths" in taken:
        matrices = sorted((key for key, tensor in tensors.items() if tensor.ndim == 2), key=lambda key: (len(key), key))
        return {"widths": tuple(len(tensors[key]) for key in matrices[:-1])} if matrices else {}
    if "width" in taken:
        narrow = build(name, inputs=inputs, classes=classes, width=1).state_dict()
        first = next(iter(narrow))
        if narrow.keys() == tensors.keys() and tensors[first].ndim:
            return {"width": len(tensors[first])}
    return {}


def _maker(name: str) -> Callable[..., nn.Sequential]:
    if name not in MODELS:
        raise ValueError(f"name: expected one of {', '.join(MODELS)}, got {name}")
    return MODELS[name]


def initialise(model: nn.Module, method: Initialisation, seed: int) -> None:
    r"""Set a model's weights in place: ``"torch"`` leaves them as they are, ``"xavier"`` draws them anew.

    Xavier-uniform: in every linear layer and 2-d convolution, w ~ U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), and
    biases 0 (Glorot & Bengio 2010, eq. 16). Drawn in float32 on the CPU, so that the same seed gives the same weights
    on every device and, rounding aside, in every precision.

    Raises:
        ValueError: the method is not known.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> initialise(model, "xavier", seed=0)
        >>> bool((model.weight.abs() <= 1).all()), model.bias.tolist()
        (True, [0.0, 0.0])
    """
    if method not in get_args(Initialisation):
        raise ValueError(f"initialisation: expected one of {', '.join(get_args(Initialisation))}, got {method}")
    if method == "torch":
        return
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weight = torch.empty(layer.weight.shape, dtype=torch.float32, device="cpu")
            nn.init.xavier_uniform_(weight, generator=generator)
            with torch.no_grad():
                layer.weight.copy_(weight)
                if layer.bias is not None:
                    layer.bias.zero_()
