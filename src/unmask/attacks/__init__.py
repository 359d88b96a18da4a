"""Attacks: frozen settings, called ``attack(model, images, labels) -> images``.

Images are float (N, C, H, W) in [0, 1], labels int64 (N,); what comes back lies within epsilon and in [0, 1], in the
same dtype. The model is any callable to logits; it is attacked in evaluation mode and left as it was.
"""

from unmask.attacks.apgd import APGD, TargetedAPGD
from unmask.attacks.bpda.model import straight_through
from unmask.attacks.deepfool import DeepFool
from unmask.attacks.eot import Averaged
from unmask.attacks.iterative import IFGSM, PGD
from unmask.attacks.sign import FGSM, FRSM, RFGSM, RSFGSM
from unmask.attacks.spsa import SPSA
from unmask.attacks.square import Square
from unmask.attacks.surrogate import surrogate
from unmask.attacks.transfer import Through
from unmask.attacks.trial import Attack, Outcome, Trial

__all__ = [
    "APGD",
    "FGSM",
    "FRSM",
    "IFGSM",
    "PGD",
    "RFGSM",
    "RSFGSM",
    "SPSA",
    "Attack",
    "Averaged",
    "DeepFool",
    "Outcome",
    "Square",
    "TargetedAPGD",
    "Through",
    "Trial",
    "straight_through",
    "surrogate",
]
