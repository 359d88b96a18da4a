"""Data for a report: the histogram of log-odds, examples and the loss around them, and the environment."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Sequence
from itertools import chain, zip_longest

import torch
from torch import Tensor

from unmask import __version__
from unmask.attacks import Outcome, logits_of
from unmask.auditing.context import Context
from unmask.auditing.worst import Worst
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.numerics import derive_seed, random_signs, undisturbed
from unmask.reports.record import Example, Histogram, Surface

EXAMPLES = (18, 6, 6)
"""Numbers of examples that only another attack fooled, that the reference attack fooled, and that withstood all."""

EXAMPLE_BYTES = 400_000
"""Bytes of the clean images of all examples, at most: large images are fewer."""

BINS = 40
STEPS = 21
"""Points along each side of a loss surface; odd, so that the image itself is one."""

MARKS = {"p_y rounds to 1": 16.6, "gradient all zero": 104.0}
"""Where float32 cross entropy loses its direction, 24 ln 2, and all of its gradient, 150 ln 2."""


def log_odds_histogram(log_odds: Sequence[float]) -> Histogram:
    """Count the log-odds for the true class in 40 equal bins, with the marks of float32.

    Example:
        >>> sum(log_odds_histogram([1.0, 2.0, 200.0]).counts)
        3
    """
    low, high = math.floor(min(log_odds)), math.floor(max(log_odds)) + 1
    counts, edges = torch.histogram(torch.tensor(log_odds, dtype=torch.float64), BINS, range=(low, high))
    return Histogram(
        name="log-odds for the true class, in nats",
        edges=edges.tolist(),
        counts=[int(count) for count in counts],
        marks=MARKS,
    )


def examples(
    images: Tensor,
    labels: Tensor,
    clean: Outcome,
    claimed: Outcome,
    worst: Worst,
    *,
    attacks: Sequence[str],
    classes: Sequence[str] | None = None,
) -> list[Example]:
    """Choose examples worth a look: those that only another attack than the reference fooled, and some of the rest.

    Of each kind the attacks that fooled the model take turns, so that as many attacks as possible can be seen at work.
    ``EXAMPLES`` and ``EXAMPLE_BYTES`` say how many there are.

    Args:
        clean: the outcome without attack; ``claimed``: that of the reference attack.
        attacks: names of the attacks whose worst case it is.
        classes: names of the classes; by default their numbers.
    """
    exposed = clean.correct & claimed.correct & ~worst.correct
    kinds = [_in_turn(kind, worst.attack) for kind in (exposed, clean.correct & ~claimed.correct, worst.correct)]
    first = [row for kind, most in zip(kinds, EXAMPLES, strict=True) for row in kind[:most]]
    rest = [row for kind, most in zip(kinds, EXAMPLES, strict=True) for row in kind[most:]]
    count = min(sum(EXAMPLES), max(1, EXAMPLE_BYTES // math.prod(images.shape[1:])))

    def name(label: Tensor) -> str:
        return str(int(label)) if classes is None else classes[int(label)]

    return [
        Example(
            index=index,
            shape=list(images.shape[1:]),
            clean=_encoded(images[index]),
            adversarial=_encoded(worst.images[index]),
            label=name(labels[index]),
            prediction=name(clean.predictions[index]),
            adversarial_prediction=name(worst.predictions[index]),
            attack=None if worst.correct[index] else attacks[int(worst.attack[index]) - 1],
        )
        for index in [*first, *rest][:count]
    ]


def loss_surfaces(context: Context, rows: Sequence[int]) -> list[Surface]:
    """Return the log-odds on a plane through each of these images: along the sign of its gradient, and random signs.

    Both run from ``-epsilon`` to ``epsilon`` in ``STEPS`` steps, so that the corners lie outside the ball. A surface
    that is not finite everywhere is left out, and at epsilon 0 there is none. Cost: one gradient and 441 passes for
    each image.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> images, labels = torch.full((1, 1, 1, 2), 0.375), torch.tensor([0])
        >>> (one,) = loss_surfaces(prepare(lambda x: x.flatten(1), images, labels, epsilon=0.25), [0])
        >>> one.loss[0][10], one.loss[10][10], one.loss[20][10]
        (-0.5, 0.0, 0.5)
    """
    if not context.epsilon or not rows:
        return []
    evaluator, model, seed = context.evaluator, context.model, derive_seed(context.seed, "surface")
    chosen = evaluator.images[list(rows)]
    with undisturbed(model, seed=seed):
        (gradients,) = evaluator.measure(lambda x, y: input_gradient(model, x, y).gradient, torch.tensor(rows))
    along, across = torch.nan_to_num(gradients).sign(), random_signs(chosen, seed=seed)
    half = STEPS // 2
    steps = torch.arange(-half, half + 1, dtype=chosen.dtype) / half * context.epsilon
    found = []
    for number, row in enumerate(rows):
        plane = chosen[number] + steps[:, None, None, None, None] * along[number]
        points = (plane + steps[:, None, None, None] * across[number]).clamp(0, 1).flatten(0, 1)
        truth = evaluator.labels[row].expand(len(points))
        (loss,) = evaluator.batches(lambda x, y: log_odds(logits_of(model, x), y), points, truth)
        if loss.isfinite().all():
            grid = [_rounded(line) for line in loss.view(STEPS, STEPS)]
            found.append(Surface(index=row, gradient=_rounded(steps), random=_rounded(steps), loss=grid))
    return found


def environment(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Describe the environment of an audit in words.

    Example:
        >>> environment(torch.device("cpu"), torch.float32)["precision"]
        'float32'
    """
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device}, {torch.get_num_threads()} threads"
    )
    return {
        "unmask": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": name,
        "precision": str(dtype).removeprefix("torch."),
    }


def _in_turn(chosen: Tensor, attack: Tensor) -> list[int]:
    """The places that are chosen, in order, but so that the attacks that found them take turns."""
    queues: dict[int, list[int]] = {}
    for row in chosen.nonzero().flatten().tolist():
        queues.setdefault(int(attack[row]), []).append(row)
    return [row for row in chain.from_iterable(zip_longest(*queues.values())) if row is not None]


def _rounded(values: Tensor) -> list[float]:
    """Six digits: more than a picture shows, and a third of the file."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def _encoded(image: Tensor) -> str:
    """An image as base64 of uint8."""
    return base64.b64encode((image * 255).round().to(torch.uint8).numpy().tobytes()).decode()
