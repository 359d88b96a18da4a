"""The replay of a claim: what lies in the ball, what is an image, and what fools the model, each by itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from unmask.reports import replay as module
from unmask.reports.replay import replay

CLEAN = torch.tensor([0.75, 0.25]).view(1, 1, 1, 2)
LABEL = torch.tensor([0])


def flat(images):
    """The two pixels as the logits of two classes."""
    return images.flatten(1)


def look(*pixels, epsilon=0.3, clean=CLEAN, dtype=torch.float32):
    adversarial = torch.tensor(pixels, dtype=dtype).view(1, 1, 1, 2)
    outcome = replay(flat, clean.to(dtype), adversarial, LABEL, epsilon=epsilon)
    return tuple(bool(test) for test in outcome[:3])


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        ((0.45, 0.55), (True, True, True)),
        ((0.75, 0.25), (True, True, False)),
        ((0.4, 0.55), (False, True, True)),
        ((0.45, 0.5500019), (False, True, True)),
        ((1.0000001, 0.25), (True, False, False)),
        ((0.75, -1e-30), (True, False, False)),
        ((float("nan"), 0.55), (False, False, False)),
    ],
)
def test_each_test_is_for_itself(pixels, found):
    """A pixel that is no number is in no ball; the model takes it for the highest logit, here of class 0."""
    assert look(*pixels) == found


@pytest.mark.parametrize(
    ("dtype", "excess", "inside"),
    [
        (torch.float32, 0.9e-6, True),
        (torch.float32, 1.2e-6, False),
        (torch.float64, 0.9e-6, True),
        (torch.bfloat16, 2.0**-8, True),
        (torch.bfloat16, 2.0**-5, False),
    ],
)
def test_the_ball_allows_for_rounding_only(dtype, excess, inside):
    clean = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    assert look(0.5, 0.75 + excess, epsilon=0.25, clean=clean, dtype=dtype)[0] == inside


def test_every_float32_image_of_a_ball_is_inside():
    """Whatever epsilon and pixel are: the sum, its rounding and the cut to [0, 1], as attacks make them."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(500, 1, 10, 10, generator=generator)
    for epsilon in (8 / 255, 0.1, 0.3, 1 / 3):
        for sign in (-1, 1):
            found = replay(flat, clean, (clean + sign * epsilon).clamp(0, 1), torch.zeros(500), epsilon=epsilon)
            assert found.inside.all()
            assert found.valid.all()


def test_the_size_of_a_batch_does_not_matter():
    images = torch.rand(7, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels, seen = torch.zeros(7, dtype=torch.int64), []

    def model(batch):
        seen.append(len(batch))
        return flat(batch)

    together = replay(model, images, images, labels, epsilon=0.0)
    apart = replay(model, images, images, labels, epsilon=0.0, batch_size=3)
    assert seen == [7, 3, 3, 1]
    assert all(torch.equal(one, other) for one, other in zip(together, apart, strict=True))


def test_it_stands_alone_and_is_short():
    """Whoever reads it need not trust, nor read, the rest."""
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not any(name.startswith("unmask") for name in imported)
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert function.end_lineno - function.body[1].lineno < 20
