"""Exhibits for a report: the histogram of log-odds, examples and the loss around them, and what the audit ran on."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Sequence
from itertools import chain, zip_longest

import torch
from torch import Tensor

from unmask import __version__
from unmask.attacks import Outcome
from unmask.attacks.trial import examined
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.numerics import Batches, Model, derive_seed, random_signs, undisturbed
from unmask.reports.adversarial_examples import Worst
from unmask.reports.record import Histogram, Specimen, Surface

SPECIMENS = (18, 6, 6)
"""How many of those that the reference attack left standing, of those it felled, and of those that withstood all."""

SPECIMEN_BYTES = 400_000
"""What the clean images of all specimens take at most: large images are fewer."""

BINS = 40
STEPS = 21
"""Points along each side of a loss surface; odd, so that the image itself is one."""

MARKS = {"p_y rounds to 1": 16.6, "gradient all zero": 104.0}
"""Where float32 cross entropy loses its direction, 24 ln 2, and all of its gradient, 150 ln 2."""


def log_odds_histogram(log_odds: Sequence[float]) -> Histogram:
    """The log-odds for the true class in 40 equal bins, with the marks of float32.

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


def specimens(
    images: Tensor,
    labels: Tensor,
    clean: Outcome,
    claimed: Outcome,
    worst: Worst,
    *,
    attacks: Sequence[str],
    classes: Sequence[str] | None = None,
) -> list[Specimen]:
    """Examples worth a look: those that the reference attack left standing and another felled, and some of the rest.

    Of each kind the attacks that felled them take turns, so that as many attacks as possible can be seen at work; how
    many there are is in ``SPECIMENS`` and ``SPECIMEN_BYTES``.

    Args:
        clean: the outcome without attack; ``claimed``: that of the reference attack.
        attacks: names of the attacks whose worst case it is.
        classes: names of the classes; by default their numbers.
    """
    exposed = clean.correct & claimed.correct & ~worst.correct
    kinds = [_in_turn(kind, worst.attack) for kind in (exposed, clean.correct & ~claimed.correct, worst.correct)]
    first = [row for kind, most in zip(kinds, SPECIMENS, strict=True) for row in kind[:most]]
    rest = [row for kind, most in zip(kinds, SPECIMENS, strict=True) for row in kind[most:]]
    count = min(sum(SPECIMENS), max(1, SPECIMEN_BYTES // math.prod(images.shape[1:])))

    def name(label: Tensor) -> str:
        return str(int(label)) if classes is None else classes[int(label)]

    return [
        Specimen(
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


def loss_surfaces(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    rows: Sequence[int],
    epsilon: float,
    seed: int,
    batches: Batches,
) -> list[Surface]:
    """The log-odds on a plane through each of these images: along the sign of its gradient, and along random signs.

    Both run from ``-epsilon`` to ``epsilon`` in ``STEPS`` steps, so that the corners lie outside the ball. A surface
    that is not finite everywhere is left out, and at epsilon 0 there is none. Cost: one gradient and 441 passes for
    each image.

    Example:
        >>> images, labels = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
        >>> settings = {"rows": [0], "epsilon": 0.25, "seed": 0, "batches": Batches()}
        >>> (one,) = loss_surfaces(lambda x: x.flatten(1), images, labels, **settings)
        >>> one.loss[0][10], one.loss[10][10], one.loss[20][10]
        (-0.5, 0.0, 0.5)
    """
    if not epsilon or not rows:
        return []
    chosen, classes = images[list(rows)], labels[list(rows)]
    with undisturbed(model, seed=derive_seed(seed, "surface")):
        (gradients,) = batches(lambda x, y: input_gradient(model, x, y).gradient, chosen, classes)
    along, across = torch.nan_to_num(gradients).sign(), random_signs(chosen, seed=derive_seed(seed, "surface"))
    half = STEPS // 2
    steps = torch.arange(-half, half + 1, dtype=chosen.dtype) / half * epsilon
    found = []
    for number, row in enumerate(rows):
        plane = chosen[number] + steps[:, None, None, None, None] * along[number]
        points = (plane + steps[:, None, None, None] * across[number]).clamp(0, 1).flatten(0, 1)
        truth = classes[number].expand(len(points))
        (loss,) = batches(lambda x, y: log_odds(examined(model, x), y), points, truth)
        if loss.isfinite().all():
            grid = [_rounded(line) for line in loss.view(STEPS, STEPS)]
            found.append(Surface(index=row, gradient=_rounded(steps), random=_rounded(steps), loss=grid))
    return found


def environment(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """What an audit ran on, in words.

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
