"""Facts about the loss that a reference attack climbs."""

from __future__ import annotations

from unmask.attacks import Attack
from unmask.losses import RivalMargin, cross_entropy, dlr, log_odds, margin


def is_own(loss: object) -> bool:
    """Return whether a loss is one of this package, so that another may take its place.

    Example:
        >>> is_own(log_odds), is_own(None)
        (True, False)
    """
    return loss in (cross_entropy, log_odds, margin, dlr) or isinstance(loss, RivalMargin)


def saturates(attack: Attack) -> bool:
    """Return whether the gradient of an attack's loss may round away; an unknown loss may.

    Example:
        >>> from unmask.attacks import FGSM
        >>> saturates(FGSM(0.1)), saturates(FGSM(0.1, loss=log_odds))
        (True, False)
    """
    loss = attack.settings.get("loss")
    return not (loss in (log_odds, margin, dlr) or isinstance(loss, RivalMargin))
