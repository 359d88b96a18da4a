"""Objectives of training: ``objective(model, images, labels, step=...) -> loss``, a scalar in nats.

| file            | content                                                                                    |
|-----------------|--------------------------------------------------------------------------------------------|
| objective.py    | `Objective`, the protocol; an attack with random numbers of its own in each update         |
| adversarial.py  | `Normal`; `Adversarial` on the images of one attack, `Mixture` on those of several         |
| ensemble.py     | `Ensemble`: images made against other, finished models too                                 |
| noise.py        | `NFGSM`: images to train on that leave the ball                                            |
| distance.py     | `LogitDistance` of FGSM and R-FGSM images; `StepDistance`, its cheaper relative            |
| guided.py       | `GuidedAdversarial`: clean images, and a distance that guides the attack as well           |
| alignment.py    | `GradAlign`: gradients within the ball must point the same way                             |
| distillation.py | `Tempered`, `Distilled`: defensive distillation, which masks; `soft_labels` of its teacher |
| augmented.py    | `Augmented`: another objective on images that are cropped and flipped at random first      |
| registry.py     | `OBJECTIVES` by name, and ``build``                                                        |

``step`` is the number of the update: it makes each update's noise fresh, and a resumed run's noise the same. Gradients
never flow through an attack: its images are data. Attacks see the model in evaluation mode; the loss sees it as it is.
Batches of one loss share one pass, so that batch norm sees them together. The docstrings name the exceptions to either.

Costs are counted in passes over a batch: forward, gradient in the images, gradient in the weights, one pass each. An
update of normal training takes 3.
"""

from unmask.training.objectives.adversarial import Adversarial, Mixture, Normal
from unmask.training.objectives.alignment import GradAlign
from unmask.training.objectives.augmented import Augmented
from unmask.training.objectives.distance import LogitDistance, StepDistance
from unmask.training.objectives.distillation import Distilled, Tempered, soft_labels
from unmask.training.objectives.ensemble import Ensemble
from unmask.training.objectives.guided import GuidedAdversarial
from unmask.training.objectives.noise import NFGSM
from unmask.training.objectives.objective import Objective, at_step
from unmask.training.objectives.registry import OBJECTIVES, build, needs

__all__ = [
    "NFGSM",
    "OBJECTIVES",
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
    "build",
    "needs",
    "soft_labels",
]
