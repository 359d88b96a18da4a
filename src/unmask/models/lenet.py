"""LeNet+ and the networks A, B, C and D of Vivek, Baburaj & Babu 2019 (Table 1).

The paper leaves padding and strides open. LeNet+ is padded so that only pooling shrinks the image; A, B and C are not
padded and move by 1, except that B can also have the strides it was first published with (Tramèr et al. 2018, Ensemble
Adversarial Training). A to D follow that work in everything but C, which is the later paper's. In all of them ``width``
is the number of channels or units of the first layer, and the other hidden layers keep their proportion to it.
"""

from __future__ import annotations

from torch import nn

from unmask.models.geometry import Shape, check, flattened

__all__ = ["lenet_a", "lenet_b", "lenet_c", "lenet_d", "lenet_plus"]


def lenet_plus(*, inputs: Shape = (1, 28, 28), classes: int = 10, width: int = 32) -> nn.Sequential:
    """Make LeNet+: conv 32 of 5x5, pool 2, conv 64 of 5x5, pool 2, dense 1024, logits (N, classes); ReLU throughout.

    Raises:
        ValueError: an option is not possible, or images are smaller than 4x4.

    Example:
        >>> sum(parameter.numel() for parameter in lenet_plus().parameters())
        3274634
    """
    check(inputs, classes, width)
    features = nn.Sequential(
        nn.Conv2d(inputs[0], width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
    )  # fmt: skip
    dense = nn.Linear(flattened("lenet+", features, inputs), 32 * width)
    return nn.Sequential(*features, dense, nn.ReLU(), nn.Linear(32 * width, classes))


def lenet_a(*, inputs: Shape = (1, 28, 28), classes: int = 10, width: int = 64) -> nn.Sequential:
    """Make A: two conv 64 of 5x5, dropout 0.25, dense 128, dropout 0.5, logits (N, classes); ReLU throughout.

    Raises:
        ValueError: an option is not possible, or images are smaller than 9x9.

    Example:
        >>> sum(parameter.numel() for parameter in lenet_a().parameters())
        3382346
    """
    check(inputs, classes, width)
    features = nn.Sequential(
        nn.Conv2d(inputs[0], width, 5), nn.ReLU(),
        nn.Conv2d(width, width, 5), nn.ReLU(),
        nn.Dropout(0.25), nn.Flatten(),
    )  # fmt: skip
    dense = nn.Linear(flattened("lenet-a", features, inputs), 2 * width)
    return nn.Sequential(*features, dense, nn.ReLU(), nn.Dropout(0.5), nn.Linear(2 * width, classes))


def lenet_b(
    *,
    inputs: Shape = (1, 28, 28),
    classes: int = 10,
    width: int = 64,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> nn.Sequential:
    """Make B: dropout 0.2, conv 64 of 8x8, conv 128 of 6x6, conv 128 of 5x5, dropout 0.5, logits (N, classes); ReLU.

    With ``strides=(2, 2, 1)``, as first published, it costs a sixteenth. The first convolution is then padded by 3, as
    it was there too: unpadded, nothing would be left of a 28x28 image for the third.

    Raises:
        ValueError: an option is not possible, or images are smaller than 17x17 (28x28 with strides 2, 2, 1).

    Example:
        >>> sum(parameter.numel() for parameter in lenet_b(strides=(2, 2, 1)).parameters())
        710218
    """
    check(inputs, classes, width)
    if len(strides) != 3 or not all(stride in range(1, 6) for stride in strides):  # beyond 5, pixels are left out
        raise ValueError(f"strides: expected three whole numbers from 1 to 5, got {strides}")
    first, second, third = strides
    features = nn.Sequential(
        nn.Dropout(0.2),
        nn.Conv2d(inputs[0], width, 8, stride=first, padding=3 if first > 1 else 0), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 6, stride=second), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 5, stride=third), nn.ReLU(),
        nn.Dropout(0.5), nn.Flatten(),
    )  # fmt: skip
    name = f"lenet-b with strides {strides}"
    return nn.Sequential(*features, nn.Linear(flattened(name, features, inputs), classes))


def lenet_c(*, inputs: Shape = (1, 28, 28), classes: int = 10, width: int = 128) -> nn.Sequential:
    """Make C: conv 128 of 3x3, pool 2, conv 64 of 3x3, pool 2, with tanh, dense 128 with ReLU, logits (N, classes).

    Raises:
        ValueError: an option is not possible, or images are smaller than 10x10.

    Example:
        >>> sum(parameter.numel() for parameter in lenet_c().parameters())
        281290
    """
    check(inputs, classes, width)
    half = max(1, width // 2)
    features = nn.Sequential(
        nn.Conv2d(inputs[0], width, 3), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(width, half, 3), nn.Tanh(), nn.MaxPool2d(2),
        nn.Flatten(),
    )  # fmt: skip
    dense = nn.Linear(flattened("lenet-c", features, inputs), width)
    return nn.Sequential(*features, dense, nn.ReLU(), nn.Linear(width, classes))


def lenet_d(*, inputs: Shape = (1, 28, 28), classes: int = 10, width: int = 300) -> nn.Sequential:
    """Make D: four times dense 300, ReLU and dropout 0.5, then logits (N, classes).

    Raises:
        ValueError: an option is not possible.

    Example:
        >>> sum(parameter.numel() for parameter in lenet_d().parameters())
        509410
    """
    check(inputs, classes, width)
    layers: list[nn.Module] = [nn.Flatten()]
    before = flattened("lenet-d", layers[0], inputs)
    for _ in range(4):
        layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(0.5)]
        before = width
    return nn.Sequential(*layers, nn.Linear(width, classes))
