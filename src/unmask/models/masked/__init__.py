"""Models whose truth is known: wrappers and activations that mask gradients on purpose, and some that are merely odd.

A wrapper takes any callable from images (N, C, H, W) in [0, 1] to logits (N, classes), or, as noted, to other outputs.

| name                 | file        | masked by                      | truth                                      |
|----------------------|-------------|--------------------------------|--------------------------------------------|
| `ScaledLogits`       | logits      | float32 saturation             | exact; not masked with a factor below 1    |
| `SquashedLogits`     | logits      | gradients and scores vanish    | exact                                      |
| `SoftmaxOutput`      | logits      | saturation                     | exact                                      |
| `ShiftedLogits`      | logits      | coarse scores                  | wrapped model's, give or take a step       |
| `ZeroBackward`       | backward    | gradients that are zero        | exact                                      |
| `RandomSignBackward` | backward    | gradients that are shattered   | exact                                      |
| `Quantised`          | rounding    | gradients that are zero        | wrapped model's, give or take half a level |
| `DCTQuantised`       | rounding    | gradients that are zero        | its own                                    |
| `Thermometer`        | rounding    | gradients that are zero        | its own; built and trained with it         |
| `InputNoise`         | chance      | one draw of many               | an expectation                             |
| `RandomResizePad`    | chance      | one draw of many               | an expectation                             |
| `PrunedReLU`         | activations | one draw of many               | an expectation                             |
| `KWinners`           | activations | jumps everywhere               | its own; trained with it                   |
| `JumpReLU`           | activations | jumps the gradient misses      | its own                                    |
| `SteppedReLU`        | activations | gradients zero or turned round | its own, near the network's of ReLUs       |
| `Normalised`         | harmless    | not masked                     | wrapped model's on normalised images       |
| `Slowed`             | harmless    | not masked                     | exact                                      |

*Exact*: the wrapper's argmax is the wrapped model's for every input, rounding included, as long as the outputs of both
are finite (`deciding_as` sees to it). So what fools the one fools the other: the wrapper adds no robustness, and all
that an attack on it achieves less than the same attack on the wrapped model is masking. *Its own*: the decision is
another, and so may be its robustness; only a better attack tells. `with_activation` gives an activation to a network.
Defensive distillation, which masks by training, is in ``unmask.training.objectives``.
"""

from unmask.models.masked.activations import JumpReLU, KWinners, PrunedReLU, SteppedReLU, with_activation
from unmask.models.masked.backward import RandomSignBackward, ZeroBackward
from unmask.models.masked.chance import InputNoise, RandomResizePad
from unmask.models.masked.harmless import Normalised, Slowed
from unmask.models.masked.logits import ScaledLogits, ShiftedLogits, SoftmaxOutput, SquashedLogits, deciding_as
from unmask.models.masked.rounding import DCTQuantised, Quantised, Thermometer

__all__ = [
    "DCTQuantised",
    "InputNoise",
    "JumpReLU",
    "KWinners",
    "Normalised",
    "PrunedReLU",
    "Quantised",
    "RandomResizePad",
    "RandomSignBackward",
    "ScaledLogits",
    "ShiftedLogits",
    "Slowed",
    "SoftmaxOutput",
    "SquashedLogits",
    "SteppedReLU",
    "Thermometer",
    "ZeroBackward",
    "deciding_as",
    "with_activation",
]
