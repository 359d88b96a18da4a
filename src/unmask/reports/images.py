"""Examples as images for a page: the clean image, the perturbation and the adversarial image, as PNG in text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from unmask.reports.record import Example
from unmask.reports.svg import PALETTE

SIDE = 256
"""Pixels; of images that are higher or wider, every second (third, ...) pixel is shown."""

NEUTRAL = "#f2f2f2"
"""The colour of an unchanged pixel, in the picture of a perturbation of one channel."""


class Pictures(NamedTuple):
    """An example with its three images as PNG data URIs.

    Attributes:
        factor: the number by which the perturbation was amplified.
        largest: its largest change of a pixel, in 255ths.
        size: width and height of what is shown.
        apart: the distance between the pixels that are shown.
    """

    example: Example
    clean: str
    change: str
    adversarial: str
    factor: int
    largest: int
    size: tuple[int, int]
    apart: int


def pictures(example: Example) -> Pictures:
    """Return the images of an example, one pixel each for one pixel.

    Three channels are red, green and blue; of any other number the first is shown, in grey.

    Raises:
        ValueError: an image does not have the size that the example says.

    Example:
        >>> one = Example(
        ...     index=3, shape=[1, 1, 2], clean="CQk=", adversarial="CRM=", label="a", prediction="a",
        ...     adversarial_prediction="b", attack="FGSM",
        ... )
        >>> pictures(one).factor, pictures(one).largest, pictures(one).size
        (12, 10, (2, 1))
    """
    clean, adversarial = _pixels(example, example.clean), _pixels(example, example.adversarial)
    apart = -(-max(clean.shape[1:]) // SIDE)
    change, factor = amplified(clean, adversarial)
    shown = [one[:, ::apart, ::apart] for one in (clean, change, adversarial)]
    return Pictures(
        example=example,
        clean=_png(_grey_or_colour(shown[0])),
        change=_png(_grey_or_colour(shown[1]) if len(change) == 3 else signs_in_colour(shown[1][0])),
        adversarial=_png(_grey_or_colour(shown[2])),
        factor=factor,
        largest=int(np.abs(adversarial.astype(int) - clean).max()),
        size=(shown[0].shape[2], shown[0].shape[1]),
        apart=apart,
    )


def fitting(examples: Sequence[Example], size: int) -> list[Pictures]:
    """Return the pictures of the first examples, as many as take no more than ``size`` characters on the page.

    Example:
        >>> fitting([], 1000)
        []
    """
    shown: list[Pictures] = []
    for example in examples:
        one = pictures(example)
        size -= len(one.clean) + len(one.change) + len(one.adversarial)
        if size < 0:
            break
        shown.append(one)
    return shown


def amplified(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Return the perturbation around middle grey, and the whole factor by which it was amplified to be seen.

    Example:
        >>> change, factor = amplified(np.array([9, 9], dtype=np.uint8), np.array([9, 19], dtype=np.uint8))
        >>> change.tolist(), factor
        ([128, 248], 12)
    """
    change = adversarial.astype(int) - clean.astype(int)
    factor = max(1, 127 // max(1, int(np.abs(change).max())))
    return np.clip(128 + factor * change, 0, 255).astype(np.uint8), factor


def signs_in_colour(change: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an amplified perturbation (H, W) in colours (H, W, 3): orange where a pixel rose, blue where it fell.

    Example:
        >>> signs_in_colour(np.array([[1, 128, 255]], dtype=np.uint8)).tolist()
        [[[0, 114, 178], [242, 242, 242], [213, 94, 0]]]
    """
    strength = np.clip((change.astype(float) - 128) / 127, -1, 1)[..., None]
    up, down, neutral = (255 * np.array(to_rgb(colour)) for colour in (PALETTE["vermilion"], PALETTE["blue"], NEUTRAL))
    colours = neutral + np.abs(strength) * (np.where(strength > 0, up, down) - neutral)
    picture: NDArray[np.uint8] = colours.round().astype(np.uint8)
    return picture


def _pixels(example: Example, encoded: str) -> NDArray[np.uint8]:
    content, shape = base64.b64decode(encoded), tuple(example.shape)
    if len(shape) != 3 or len(content) != np.prod(shape):
        raise ValueError(
            f"example {example.index}: expected channels x height x width bytes, got {len(content)} for {shape}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _grey_or_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image.transpose(1, 2, 0) if len(image) == 3 else image[0]


def _png(image: NDArray[np.uint8]) -> str:
    """Return the image as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
