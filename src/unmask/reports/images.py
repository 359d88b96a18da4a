"""Specimens as images for a page: the clean image, what the attack changed, and the attacked image, as PNG in text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from unmask.reports.record import Specimen
from unmask.reports.svg import PALETTE

SIDE = 256
"""Of images that are higher or wider, every second (third, ...) pixel is shown."""

NEUTRAL = "#f2f2f2"
"""What stayed as it was, in the picture of a change of one channel."""


class Strip(NamedTuple):
    """A specimen with its three images as PNG data URIs.

    ``factor`` is the number by which the change was amplified; ``largest`` the largest change, in 255ths; ``size`` is
    width and height; ``apart`` how far apart the pixels shown are.
    """

    specimen: Specimen
    clean: str
    change: str
    adversarial: str
    factor: int
    largest: int
    size: tuple[int, int]
    apart: int


def strip(specimen: Specimen) -> Strip:
    """The images of a specimen, one pixel each for one pixel.

    Three channels are red, green and blue; of any other number the first is shown, in grey.

    Raises:
        ValueError: an image does not have the size that the specimen says.

    Example:
        >>> one = Specimen(
        ...     index=3, shape=[1, 1, 2], clean="CQk=", adversarial="CRM=", label="a", prediction="a",
        ...     adversarial_prediction="b", attack="FGSM",
        ... )
        >>> strip(one).factor, strip(one).largest, strip(one).size
        (12, 10, (2, 1))
    """
    clean, adversarial = _pixels(specimen, specimen.clean), _pixels(specimen, specimen.adversarial)
    apart = -(-max(clean.shape[1:]) // SIDE)
    change, factor = amplified(clean, adversarial)
    shown = [one[:, ::apart, ::apart] for one in (clean, change, adversarial)]
    return Strip(
        specimen=specimen,
        clean=_png(_grey_or_colour(shown[0])),
        change=_png(_grey_or_colour(shown[1]) if len(change) == 3 else signs_in_colour(shown[1][0])),
        adversarial=_png(_grey_or_colour(shown[2])),
        factor=factor,
        largest=int(np.abs(adversarial.astype(int) - clean).max()),
        size=(shown[0].shape[2], shown[0].shape[1]),
        apart=apart,
    )


def within(specimens: Sequence[Specimen], size: int) -> list[Strip]:
    """The first specimens, as many as take no more than ``size`` characters on the page.

    Example:
        >>> within([], 1000)
        []
    """
    strips: list[Strip] = []
    for specimen in specimens:
        one = strip(specimen)
        size -= len(one.clean) + len(one.change) + len(one.adversarial)
        if size < 0:
            break
        strips.append(one)
    return strips


def amplified(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The change between two images around middle grey, and the whole factor by which it was amplified to be seen.

    Example:
        >>> change, factor = amplified(np.array([9, 9], dtype=np.uint8), np.array([9, 19], dtype=np.uint8))
        >>> change.tolist(), factor
        ([128, 248], 12)
    """
    change = adversarial.astype(int) - clean.astype(int)
    factor = max(1, 127 // max(1, int(np.abs(change).max())))
    return np.clip(128 + factor * change, 0, 255).astype(np.uint8), factor


def signs_in_colour(change: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An amplified change (H, W) in colours (H, W, 3): up to orange where a pixel rose, to blue where it fell.

    Example:
        >>> signs_in_colour(np.array([[1, 128, 255]], dtype=np.uint8)).tolist()
        [[[0, 114, 178], [242, 242, 242], [213, 94, 0]]]
    """
    strength = np.clip((change.astype(float) - 128) / 127, -1, 1)[..., None]
    up, down, neutral = (255 * np.array(to_rgb(colour)) for colour in (PALETTE["vermilion"], PALETTE["blue"], NEUTRAL))
    colours = neutral + np.abs(strength) * (np.where(strength > 0, up, down) - neutral)
    picture: NDArray[np.uint8] = colours.round().astype(np.uint8)
    return picture


def _pixels(specimen: Specimen, encoded: str) -> NDArray[np.uint8]:
    content, shape = base64.b64decode(encoded), tuple(specimen.shape)
    if len(shape) != 3 or len(content) != np.prod(shape):
        raise ValueError(
            f"specimen {specimen.index}: expected channels x height x width bytes, got {len(content)} for {shape}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _grey_or_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image.transpose(1, 2, 0) if len(image) == 3 else image[0]


def _png(image: NDArray[np.uint8]) -> str:
    """A data URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
