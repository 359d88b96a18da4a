"""The worst case of a network with nothing done to it: attacks with far more than the audit's budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import APGD, FGSM, PGD, Attack, Square, TargetedAPGD, Trial
from unmask.data import Dataset
from unmask.files import write_atomically
from unmask.losses import RivalMargin, dlr
from unmask.models.weights import digest
from unmask.numerics import Model, derive_seed
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.linear import worst_margin
from unmask_experiments.zoo.networks import audited_images, batches, kept_network
from unmask_experiments.zoo.stand_ins import attacking

NOTES = "notes.json"
"""What an unfinished run has found so far."""

CODE = ("attacks", "experiments/zoo", "models/masked", "losses.py", "numerics.py", "gradients.py")
"""Where this package says what an attack finds; notes are of no use to another version of these."""

RIVALS = 9
"""One step towards each of so many is the worst case of a linear model of ten classes."""


def strongest(case: Case, stand_in: Model, *, search: bool = True) -> list[Attack]:
    """The attacks that establish a worst case, cheapest first: each is run on what the others left standing.

    One step towards each rival, PGD, Auto-PGD on log-odds with restarts, on DLR, and towards each rival; then Square,
    which asks the audited model itself.
    """
    epsilon, seed = case.epsilon, derive_seed(case.seed, "truth")
    gradients: list[Attack] = [
        *(FGSM(epsilon=epsilon, loss=RivalMargin(rank=rank)) for rank in range(1, RIVALS + 1)),
        PGD(epsilon=epsilon, seed=seed),
        APGD(epsilon=epsilon, steps=case.steps, restarts=case.restarts, seed=seed),
        APGD(epsilon=epsilon, steps=case.steps, loss=dlr, seed=seed),
        TargetedAPGD(epsilon=epsilon, steps=case.steps, seed=seed),
    ]
    queries: list[Attack] = [Square(epsilon=epsilon, queries=case.queries, seed=seed)] if search else []
    return [*(attacking(stand_in, attack) for attack in gradients), *queries]


class Notes:
    """Who withstood each attack that an unfinished run has come to the end of, in a file that outlives it.

    Example:
        >>> notes = Notes(Path("nowhere"), weights="abc")
        >>> notes.found["weights"]
        'abc'
    """

    def __init__(self, path: Path, *, weights: str) -> None:
        """Notes of other ``weights``, or of other code, are dropped."""
        known = json.loads(path.read_text()) if path.is_file() else {}
        about = {"weights": weights, "code": _code()}
        self.path = path
        self.found: dict[str, str] = known if known.items() >= about.items() else about

    def __call__(self, name: str, look: Callable[[], Tensor]) -> Tensor:
        """What is noted under a name, bool (N,), or else what ``look`` returns, which is noted."""
        if name not in self.found:
            self.found[name] = as_text(look())
            write_atomically(self.path, json.dumps(self.found).encode())
        return torch.tensor(as_flags(self.found[name]))

    def close(self) -> None:
        """Nothing will be looked up again."""
        self.path.unlink(missing_ok=True)


def _code() -> str:
    """A digest of the files that say what an attack finds."""
    root = Path(__file__).parents[2]
    files = [file for name in CODE for file in ([root / name] if name.endswith(".py") else (root / name).glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()


def standing(
    model: Model, attacks: Sequence[Attack], data: Dataset, *, notes: Notes | None = None, stage: str = ""
) -> Tensor:
    """Which images are still classified correctly after all these attacks, bool (N,); each attacks those that are.

    What a ``stage`` of that name in the ``notes`` has come to the end of is not run again.
    """
    correct = torch.ones(len(data), dtype=torch.bool)
    for number, attack in enumerate(attacks):
        rows = correct.nonzero()[:, 0]
        if not len(rows):
            break
        look = partial(_withstand, model, attack, data, rows)
        correct[rows] = look() if notes is None else notes(f"{stage}, {number}", look)
    return correct


def _withstand(model: Model, attack: Attack, data: Dataset, rows: Tensor) -> Tensor:
    return Trial(attacks=[attack], batches=batches())(model, data.images[rows], data.labels[rows]).correct


def establish_floor(
    case: Case, *, work: Path, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """The worst case of a network at one epsilon, and its closed form if it is linear.

    Raises:
        ValueError: an attack claims to have fooled a linear model where the closed form says that none can.
    """
    data, network = audited_images(case.data, case.images), kept_network(case, work)
    notes = Notes(work / NOTES, weights=digest(network))
    worst = standing(network, strongest(case, network), data, notes=notes)
    notes.close()
    return {"weights": digest(network), "worst": as_text(_checked(case, network, data, worst))}


def as_text(correct: Iterable[Any]) -> str:
    """One character per image: 1 where it is classified correctly.

    Example:
        >>> as_text(torch.tensor([True, False]))
        '10'
    """
    return "".join("01"[int(one)] for one in correct)


def as_flags(text: str) -> list[bool]:
    """The inverse of ``as_text``.

    Example:
        >>> as_flags("10")
        [True, False]
    """
    return [one == "1" for one in text]


def _checked(case: Case, network: nn.Module, data: Dataset, worst: Tensor) -> Tensor:
    """Of a linear model the closed form, with which the attacks must agree but for rounding."""
    if case.network != "linear":
        return worst
    margins = worst_margin(network, data.images, data.labels, case.epsilon)
    if bad := int(((margins < -ROUNDING) & ~worst).sum()):
        raise ValueError(f"{case.name}: expected no attack to beat the closed form, got {bad} images that one fooled")
    return margins < 0


ROUNDING = 1e-4
"""How near to a tie, in logits, float32 may decide otherwise than float64."""
