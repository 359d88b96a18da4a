"""What an update minimises: ``objective(model, images, labels, step=...) -> loss``, a scalar in nats.

| file            | what                                                                                       |
|-----------------|--------------------------------------------------------------------------------------------|
| objective.py    | `Objective`: the shape they all have; an attack with random numbers of its own per update  |
| adversarial.py  | `Normal`; `Adversarial` on the images of one attack, `Mixture` on those of several         |
| ensemble.py     | `Ensemble`: images made against other, finished models too                                 |
| noise.py        | `NFGSM`: images to train on that leave the ball                                            |
| distance.py     | `LogitDistance` of FGSM and R-FGSM images; `StepDistance`, its cheaper relative            |
| guided.py       | `GuidedAdversarial`: clean images, and a distance that guides the attack as well           |
| alignment.py    | `GradAlign`: gradients within the ball must point the same way                             |
| distillation.py | `Tempered`, `Distilled`: defensive distillation, which masks; `soft_labels` of its teacher |
| augmented.py    | `Augmented`: any of them on images that are cropped and flipped at random first            |

``step`` is the number of the update: it makes each update's noise fresh, and a resumed run's noise the same. Gradients
never flow through an attack: its images are data. Attacks see the model in evaluation mode; the loss sees it as it is.
Batches of one loss share one pass, so that batch norm sees them together. The docstrings name the exceptions to either.

Costs are counted in passes over a batch: forward, gradient in the images, gradient in the weights, one unit each. An
update of normal training costs 3.
"""

from collections.abc import Callable, Mapping

from unmask.attacks import FGSM, PGD, RFGSM, RSFGSM
from unmask.training.objectives.adversarial import Adversarial, Mixture, Normal
from unmask.training.objectives.alignment import GradAlign
from unmask.training.objectives.augmented import Augmented
from unmask.training.objectives.distance import LogitDistance, StepDistance
from unmask.training.objectives.distillation import Distilled, Tempered, soft_labels
from unmask.training.objectives.ensemble import Ensemble
from unmask.training.objectives.guided import GuidedAdversarial
from unmask.training.objectives.noise import NFGSM
from unmask.training.objectives.objective import Objective, at_step

__all__ = [
    "NFGSM",
    "PRESETS",
    "Adversarial",
    "Augmented",
    "Distilled",
    "Ensemble",
    "GradAlign",
    "GuidedAdversarial",
    "LogitDistance",
    "Mixture",
    "Normal",
    "Objective",
    "StepDistance",
    "Tempered",
    "at_step",
    "soft_labels",
]

PRESETS: Mapping[str, Callable[[float], Objective]] = {
    "normal": lambda epsilon: Normal(),
    "fgsm": lambda epsilon: Adversarial(attack=FGSM(epsilon=epsilon)),
    "fgsm+clean": lambda epsilon: Adversarial(attack=FGSM(epsilon=epsilon), clean_weight=0.5),
    "rfgsm": lambda epsilon: Adversarial(attack=RFGSM(epsilon=epsilon)),
    "rfgsm+clean": lambda epsilon: Adversarial(attack=RFGSM(epsilon=epsilon), clean_weight=0.5),
    "rfgsm+fgsm": lambda epsilon: Mixture(attacks=(FGSM(epsilon=epsilon), RFGSM(epsilon=epsilon))),
    "pgd": lambda epsilon: Adversarial(attack=PGD(epsilon=epsilon, keep="last")),
    "logit-distance": lambda epsilon: LogitDistance(epsilon=epsilon),
    "lambda0": lambda epsilon: LogitDistance(epsilon=epsilon, weight=0.0),
    "step-distance": lambda epsilon: StepDistance(epsilon=epsilon),
    "rs-fgsm": lambda epsilon: Adversarial(attack=RSFGSM(epsilon=epsilon)),
    "n-fgsm": lambda epsilon: Adversarial(attack=NFGSM(epsilon=epsilon)),
    "gradalign": lambda epsilon: GradAlign(epsilon=epsilon),
    "gat": lambda epsilon: GuidedAdversarial(epsilon=epsilon),
}
"""Objectives by the name the command line knows, each made from an epsilon.

``Ensemble`` and ``Distilled`` need other models as well; distillation knows no epsilon.
"""
