"""Exhibits for a report: the histogram of log-odds, examples to look at, and what the audit ran on."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unmask import __version__
from unmask.attacks import Outcome
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
    images: Tensor, labels: Tensor, outcomes: Mapping[str, Outcome], *, classes: Sequence[str] | None = None
) -> list[Specimen]:
    """Examples worth a look: first those that the reference attack left standing and another felled, then the rest.

    Args:
        outcomes: by attack; the first is no attack, the second the reference attack.
        classes: names of the classes; by default their numbers.
    """
    clean, claimed, *_ = outcomes.values()
    names = list(outcomes)
    felled_by = torch.stack([~outcome.correct for outcome in outcomes.values()]).double().argmax(0)
    exposed = clean.correct & claimed.correct & (felled_by > 0)
    fooled, standing = clean.correct & ~claimed.correct, clean.correct & (felled_by == 0)
    order = torch.cat([kind.nonzero().flatten() for kind in (exposed, fooled, standing)])[:SPECIMENS]

    def name(label: Tensor) -> str:
        return str(int(label)) if classes is None else classes[int(label)]

    chosen = []
    for index in order.tolist():
        attack = names[int(felled_by[index])] if felled_by[index] > 0 else None
        outcome = outcomes[attack] if attack else claimed
        chosen.append(
            Specimen(
                index=index,
                shape=list(images.shape[1:]),
                clean=_encoded(images[index]),
                adversarial=_encoded(outcome.images[index]),
                label=name(labels[index]),
                prediction=name(clean.predictions[index]),
                adversarial_prediction=name(outcome.predictions[index]),
                attack=attack,
            )
        )
    return chosen


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
