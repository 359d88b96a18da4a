"""The worst case of a network without a defence: attacks with far more than the audit's budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import unmask
from unmask.attacks import APGD, FGSM, PGD, Square, TargetedAPGD, Transfer
from unmask.data import Dataset
from unmask.files import write_atomically
from unmask.losses import RivalMargin, dlr, log_odds
from unmask.models import digest
from unmask.numerics import Model, derive_seed
from unmask_experiments.evaluation import Attack, correct_under
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.linear import worst_margin
from unmask_experiments.zoo.networks import audited_images, batches, trained_network

CACHE = "attacks.json"
"""The results so far of an unfinished run, in its work folder."""

CODE = (
    *(Path(unmask.__file__).parent / name for name in ("losses.py", "gradients.py", "threats.py")),
    *(Path(unmask.__file__).parent / name for name in ("attacks", "models/masked", "numerics")),
    Path(__file__).parent,
)
"""Files and folders that an attack's result depends on; results of another version of them are not used."""

RIVALS = 9
"""One step towards each of so many rivals is the worst case of a linear model of ten classes."""


def strongest(case: Case, proxy: nn.Module, *, search: bool = True) -> list[Attack]:
    """Return the attacks that establish a worst case, cheapest first: each is run on the images still correct.

    One step towards each rival, PGD, Auto-PGD on log-odds with restarts, on DLR, and towards each rival; then Square,
    which queries the audited model itself.
    """
    epsilon, seed = case.epsilon, derive_seed(case.seed, "truth")
    gradients: list[Attack] = [
        *(FGSM(epsilon=epsilon, loss=RivalMargin(rank=rank)) for rank in range(1, RIVALS + 1)),
        PGD(epsilon=epsilon, loss=log_odds, seed=seed),
        APGD(epsilon=epsilon, steps=case.steps, restarts=case.restarts, loss=log_odds, seed=seed),
        APGD(epsilon=epsilon, steps=case.steps, loss=dlr, seed=seed),
        TargetedAPGD(epsilon=epsilon, steps=case.steps, seed=seed),
    ]
    queries: list[Attack] = [Square(epsilon=epsilon, queries=case.queries, seed=seed)] if search else []
    return [*(Transfer(attack=attack, proxy=proxy) for attack in gradients), *queries]


class ResultCache:
    """Correctness of the images under each attack that an unfinished run has completed, in a file for resuming.

    Example:
        >>> cache = ResultCache(Path("nowhere"), weights="abc")
        >>> cache.found["weights"]
        'abc'
    """

    def __init__(self, path: Path, *, weights: str) -> None:
        """Read the file; results of other ``weights``, or of other code, are dropped."""
        known = json.loads(path.read_text()) if path.is_file() else {}
        about = {"weights": weights, "code": _code()}
        self.path = path
        self.found: dict[str, str] = known if known.items() >= about.items() else about

    def __call__(self, name: str, look: Callable[[], Tensor]) -> Tensor:
        """Return the result under a name, bool (N,), or else the result of ``look``, which is added."""
        if name not in self.found:
            self.found[name] = as_text(look())
            write_atomically(self.path, json.dumps(self.found).encode())
        return torch.tensor(as_flags(self.found[name]))

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _code() -> str:
    """Return a digest of the files that an attack's result depends on."""
    files = [file for place in CODE for file in ([place] if place.suffix else place.rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()


def correct_under_all(
    model: Model, attacks: Sequence[Attack], data: Dataset, *, cache: ResultCache | None = None, stage: str = ""
) -> Tensor:
    """Return the images still correct after all these attacks, bool (N,); each is run on those that are correct so far.

    Attacks of the ``stage`` that the ``cache`` has results of are not run again.
    """
    correct = torch.ones(len(data), dtype=torch.bool)
    for number, attack in enumerate(attacks):
        rows = correct.nonzero()[:, 0]
        if not len(rows):
            break
        look = partial(_withstand, model, attack, data, rows)
        correct[rows] = look() if cache is None else cache(f"{stage}, {number}", look)
    return correct


def _withstand(model: Model, attack: Attack, data: Dataset, rows: Tensor) -> Tensor:
    return correct_under(model, [attack], data.images[rows], data.labels[rows], batches=batches())


def establish_worst_case(
    case: Case, *, work: Path, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Establish the worst case of a network at one epsilon; if it is linear, by its closed form.

    Raises:
        ValueError: an attack claims to have fooled a linear model where the closed form says that none can.
    """
    data, network = audited_images(case.data, case.images), trained_network(case, work)
    cache = ResultCache(work / CACHE, weights=digest(network))
    worst = correct_under_all(network, strongest(case, network), data, cache=cache)
    cache.close()
    return {"weights": digest(network), "worst": as_text(_checked(case, network, data, worst))}


def as_text(correct: Iterable[Any]) -> str:
    """Return one character per image: 1 where it is classified correctly.

    Example:
        >>> as_text(torch.tensor([True, False]))
        '10'
    """
    return "".join("01"[int(one)] for one in correct)


def as_flags(text: str) -> list[bool]:
    """Return flags from text: the inverse of ``as_text``.

    Example:
        >>> as_flags("10")
        [True, False]
    """
    return [one == "1" for one in text]


def _checked(case: Case, network: nn.Module, data: Dataset, worst: Tensor) -> Tensor:
    """Return the closed form of a linear model, with which the attacks must agree but for rounding."""
    if case.network != "linear":
        return worst
    margins = worst_margin(network, data.images, data.labels, case.epsilon)
    if bad := int(((margins < -ROUNDING) & ~worst).sum()):
        raise ValueError(f"{case.name}: expected no attack to beat the closed form, got {bad} images that one fooled")
    return margins < 0


ROUNDING = 1e-4
"""The distance to a tie, in logits, at which float32 may decide otherwise than float64."""
