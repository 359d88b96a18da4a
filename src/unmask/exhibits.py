"""Exhibits for a report: the histogram of log-odds, examples to look at, and what the audit ran on."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Sequence

import torch
from torch import Tensor

from unmask import __version__
from unmask.attacks import Outcome
from unmask.evidence import Worst
from unmask.record import Histogram, Specimen

SPECIMENS = 8
BINS = 40

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
    """Examples worth a look: first those that the reference attack left standing and another felled, then the rest.

    Args:
        clean: the outcome without attack; ``claimed``: that of the reference attack.
        attacks: names of the attacks whose worst case it is.
        classes: names of the classes; by default their numbers.
    """
    exposed = clean.correct & claimed.correct & ~worst.correct
    order = torch.cat([kind.nonzero().flatten() for kind in (exposed, clean.correct & ~claimed.correct, worst.correct)])

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
        for index in order[:SPECIMENS].tolist()
    ]


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


def _encoded(image: Tensor) -> str:
    """An image as base64 of uint8."""
    return base64.b64encode((image * 255).round().to(torch.uint8).numpy().tobytes()).decode()
