"""Examples on the page: their pixels, the perturbation in colours, and no more than the page can hold."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from records import example, masked
from test_report_page import Outline, words_of
from unmask.reports.images import SIDE, amplified, fitting, pictures, signs_in_colour
from unmask.reports.page import IMAGES, render_page
from unmask.reports.record import AuditRecord, Example


def images_of(record: AuditRecord) -> list[np.ndarray]:
    sources = Outline(render_page([record], title="One")).values("src")
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))) for source in sources]


def test_examples_show_the_images_pixel_for_pixel() -> None:
    one = example(3, "8", "PGD", strength=0.1)
    clean, _, adversarial = images_of(replace(masked(), examples=[one]))
    assert clean.tobytes() == base64.b64decode(one.clean)
    assert adversarial.tobytes() == base64.b64decode(one.adversarial)


def test_colour_images_keep_their_channels() -> None:
    image = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    encoded = base64.b64encode(image.tobytes()).decode()
    one = replace(example(3, "8", "PGD"), shape=(3, 4, 5), clean=encoded, adversarial=encoded)
    clean, change, _ = images_of(replace(masked(), examples=[one]))
    np.testing.assert_array_equal(clean, image.transpose(1, 2, 0))
    assert (change == 128).all()


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1))
def test_amplified_changes_keep_sign_and_order_and_stay_in_range(pairs: list[tuple[int, int]]) -> None:
    clean, adversarial = np.array(pairs, dtype=np.uint8).T
    picture, factor = amplified(clean, adversarial)
    change = adversarial.astype(int) - clean
    assert factor >= 1
    np.testing.assert_array_equal(picture, np.clip(128 + factor * change, 0, 255))
    if np.abs(change).max() <= 127:
        np.testing.assert_array_equal(picture.astype(int) - 128, factor * change)


def test_the_sign_of_a_change_is_its_colour() -> None:
    before, after = np.array([[100, 100, 100, 100]], dtype=np.uint8), np.array([[100, 90, 110, 105]], dtype=np.uint8)
    nothing, fell, rose, half = signs_in_colour(amplified(before, after)[0])[0].astype(int)
    assert len(set(nothing)) == 1
    assert fell[2] > fell[0] + 100
    assert rose[0] > rose[2] + 100
    assert 30 < half[0] - half[2] < rose[0] - rose[2]


def large(index: int, side: int) -> Example:
    """Noise, which no format makes smaller."""
    noise = np.random.default_rng(index).integers(0, 256, (3, side, side), dtype=np.uint8)
    encoded = base64.b64encode(noise.tobytes()).decode()
    return replace(example(index, "8", "PGD"), shape=(3, side, side), clean=encoded, adversarial=encoded)


def test_large_images_are_few_and_the_page_stays_small() -> None:
    record = replace(masked(), examples=[large(index, 224) for index in range(8)])
    pages = [render_page([record] * count, title="Large images") for count in (1, 4)]
    assert 0.5 * IMAGES < len(pages[0]) < 2_000_000
    assert "2 of 8 are shown, to keep the page small" in words_of(pages[0])
    assert len(pages[1]) < len(pages[0])
    assert "The images of 8 examples are left out, to keep the page small" in words_of(pages[1])


def test_examples_beyond_the_size_are_left_out() -> None:
    one = example(3, "8", "PGD")
    length = sum(len(getattr(pictures(one), name)) for name in ("clean", "change", "adversarial"))
    assert [len(fitting([one, one, one], size)) for size in (length - 1, length, 2 * length)] == [0, 1, 2]


def test_of_very_large_images_every_second_pixel_is_shown() -> None:
    shown = pictures(large(0, 2 * SIDE))
    assert (shown.size, shown.apart) == ((SIDE, SIDE), 2)
    said = words_of(render_page([replace(masked(), examples=[large(0, SIDE + 1)])], title="One"))
    assert "One pixel in 2 is shown, each way." in said


def test_an_image_of_another_size_is_an_error() -> None:
    one = replace(example(3, "8", "PGD"), shape=(1, 24, 25))
    with pytest.raises(ValueError, match=r"example 3: expected channels x height x width bytes, got 576 for"):
        render_page([replace(masked(), examples=[one])], title="One")
