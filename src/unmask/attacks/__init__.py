"""Attacks: frozen settings, called ``attack(model, images, labels) -> images``.

Images are float (N, C, H, W) in [0, 1], labels int64 (N,); the adversarial images lie within epsilon and in [0, 1], in
the same dtype. The model is any callable to logits; it is attacked in evaluation mode and left as it was.

An attack is in one file and in ``ATTACKS``: the command line, the contract tests and the documentation read it there.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from unmask.attacks.apgd import APGD, TargetedAPGD
from unmask.attacks.attack import FORWARD, Attack, BoundedAttack, ForeignAttack, as_attack, settings_in_words
from unmask.attacks.bpda import BPDA, bpda
from unmask.attacks.deepfool import DeepFool
from unmask.attacks.eot import EOT
from unmask.attacks.evaluation import Outcome, attacked, evaluate, logits_of, predict
from unmask.attacks.iterative import IFGSM, PGD
from unmask.attacks.momentum import MIFGSM
from unmask.attacks.sign import FGSM, FRSM, RFGSM, RSFGSM
from unmask.attacks.spsa import SPSA
from unmask.attacks.square import Square
from unmask.attacks.surrogate import train_surrogate
from unmask.attacks.transfer import Transfer
from unmask.losses import LOSSES

__all__ = [
    "APGD",
    "ATTACKS",
    "BPDA",
    "EOT",
    "FGSM",
    "FORWARD",
    "FRSM",
    "IFGSM",
    "LOSSES",
    "MIFGSM",
    "PGD",
    "RFGSM",
    "RSFGSM",
    "SPSA",
    "Attack",
    "BoundedAttack",
    "DeepFool",
    "ForeignAttack",
    "Outcome",
    "Square",
    "TargetedAPGD",
    "Transfer",
    "as_attack",
    "attacked",
    "bpda",
    "build",
    "evaluate",
    "logits_of",
    "predict",
    "settings_in_words",
    "train_surrogate",
]

ATTACKS: dict[str, type[BoundedAttack]] = {
    "fgsm": FGSM,
    "rfgsm": RFGSM,
    "rs-fgsm": RSFGSM,
    "frsm": FRSM,
    "ifgsm": IFGSM,
    "mi-fgsm": MIFGSM,
    "pgd": PGD,
    "apgd": APGD,
    "apgd-targeted": TargetedAPGD,
    "deepfool": DeepFool,
    "square": Square,
    "spsa": SPSA,
}
"""The class of each attack, by name."""


def build(name: str, epsilon: str | float, **settings: Any) -> BoundedAttack:
    """Make an attack by name, with settings of its class.

    Args:
        name: a key of ``ATTACKS``; ``-`` and a key of ``LOSSES`` after it choose another loss.
        epsilon: the bound of the threat model, a number in [0, 1] or text such as ``"8/255"``.
        settings: as the class takes them; those left out have its defaults.

    Raises:
        ValueError: the name or a setting is unknown, or a setting is out of range.

    Example:
        >>> build("pgd-log-odds", "8/255", steps=10).settings["loss"].__name__
        'log_odds'
        >>> build("pgd", "8/255", step=1)
        Traceback (most recent call last):
            ...
        ValueError: pgd: expected settings among steps, step_size, restarts, start, keep, loss, seed, got 'step'
    """
    kind, own = _parse(name)
    known = [one.name for one in fields(kind) if one.name != "epsilon"]
    for setting in settings:
        if setting not in known:
            raise ValueError(f"{name}: expected settings among {', '.join(known)}, got {setting!r}")
        if setting in own:
            raise ValueError(f"{name}: expected no setting {setting!r} beside the one in the name")
    return kind(epsilon, **own, **settings)


def _parse(name: str) -> tuple[type[BoundedAttack], dict[str, Any]]:
    """Return the class that a name stands for, and the settings that it holds."""
    if name in ATTACKS:
        return ATTACKS[name], {}
    for suffix, loss in LOSSES.items():
        kind = ATTACKS.get(name.removesuffix(f"-{suffix}"))
        if kind is not None and any(one.name == "loss" for one in fields(kind)):
            return kind, {"loss": loss}
    raise ValueError(
        f"attack: expected one of {', '.join(ATTACKS)}, those with a loss also with "
        f"{', '.join(f'-{suffix}' for suffix in LOSSES)}, got {name!r}"
    )
