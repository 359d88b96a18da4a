"""The defences of networks, the proxies that an adaptive attacker attacks instead, and truths by construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from unmask.models.masked import (
    DCTQuantised,
    InputNoise,
    JumpReLU,
    PrunedReLU,
    Quantised,
    RandomResizePad,
    RandomSignBackward,
    ScaledLogits,
    ShiftedLogits,
    SoftmaxOutput,
    SquashedLogits,
    SteppedReLU,
    Thermometer,
    ZeroBackward,
    with_activation,
)
from unmask_experiments.zoo.networks import LEVELS
from unmask_experiments.zoo.proxies import BackwardApproximation, MeanProbability, Ramp, Slopes, with_parts

DRAWS = 16
"""Draws over which an attack on a randomised model averages, and the decision that judges it."""

BLUR = (0.05, 16)
"""Noise and draws of the blurred surface in place of one that jumps everywhere."""

RETROFIT = 0.1
"""The threshold below which a retrofitted activation is 0."""

STEP = 0.25
"""The length of an activation's steps."""

Truth = Literal["exact", "sandwiched", "own"]


@dataclass(frozen=True, kw_only=True)
class Defence:
    """A defence of a network.

    Attributes:
        wrap: from the network to the audited model.
        proxy: from the network to the model that an adaptive attacker differentiates; its decisions are those of the
            audited model, or near them.
        truth: ``"exact"``: it decides as the network does; ``"sandwiched"``: between two closed forms if the network
            is linear; ``"own"``: only an attack tells.
        random: its decision is that of the mean probability over ``DRAWS`` draws.
        passes: passes of the proxy through the network for one pass of the defence.

    Example:
        >>> DEFENCES["zero backward"].truth
        'exact'
    """

    wrap: Callable[[nn.Module], nn.Module] = lambda model: model
    proxy: Callable[[nn.Module], nn.Module] = lambda model: model
    truth: Truth = "exact"
    random: bool = False
    passes: int = 1


def _straight(transform: nn.Module, slope: nn.Module) -> Callable[[nn.Module], nn.Module]:
    """Put a transformation of the images before the network, with a gradient of its own."""
    return lambda model: nn.Sequential(BackwardApproximation(transform, slope), model)


def _randomised(wrap: Callable[[nn.Module], nn.Module]) -> Defence:
    """Return a randomised defence, whose proxy is its mean."""
    return Defence(
        wrap=wrap, proxy=lambda model: MeanProbability(wrap(model), draws=DRAWS), truth="own", random=True, passes=DRAWS
    )


def _rounded(transform: Callable[[nn.Module], nn.Module], truth: Truth = "own") -> Defence:
    """Return a rounding of the images, with the identity's gradient."""
    return Defence(wrap=transform, proxy=_straight(transform(nn.Identity()), nn.Identity()), truth=truth)


def _sloped(model: nn.Module) -> nn.Module:
    """Return a network with a thermometer before it, and slopes in the gradient."""
    assert isinstance(model, Thermometer)
    assert isinstance(model.model, nn.Module)
    return _straight(Thermometer(nn.Identity(), LEVELS), Slopes(LEVELS))(model.model)


def _ramped(model: nn.Module) -> nn.Module:
    """Return a network whose activations jump, with ramps in the gradient."""

    def make(part: nn.Module) -> nn.Module:
        assert isinstance(part, JumpReLU)
        return BackwardApproximation(part, Ramp(threshold=part.threshold, height=part.threshold + part.rise))

    return with_parts(model, JumpReLU, make)


def _blurred(model: nn.Module) -> nn.Module:
    """Return a network's own decision with the gradient of its mean over noisy images (Tramer et al. 2020)."""
    sigma, draws = BLUR
    return BackwardApproximation(model, MeanProbability(model, draws=draws, sigma=sigma))


def _retrofitted(model: nn.Module) -> nn.Module:
    return with_activation(model, JumpReLU(threshold=RETROFIT, rise=0.0))


def _stepped(model: nn.Module) -> nn.Module:
    return with_activation(model, SteppedReLU(step=STEP))


DEFENCES: Mapping[str, Defence] = {
    "": Defence(),
    "times 300": Defence(wrap=lambda model: ScaledLogits(model, 300.0)),
    "times 0.3": Defence(wrap=lambda model: ScaledLogits(model, 0.3)),
    "times 0.001": Defence(wrap=lambda model: ScaledLogits(model, 0.001)),
    "softmax": Defence(wrap=SoftmaxOutput),
    "squashed": Defence(wrap=SquashedLogits),
    "zero backward": Defence(wrap=ZeroBackward),
    "random signs": Defence(wrap=RandomSignBackward),
    "plus 1e6": Defence(wrap=ShiftedLogits, truth="sandwiched"),
    "256 levels": _rounded(lambda model: Quantised(model, 256), "sandwiched"),
    "8 levels": _rounded(lambda model: Quantised(model, 8)),
    "2 levels": _rounded(lambda model: Quantised(model, 2)),
    "dct": _rounded(lambda model: DCTQuantised(model, 75)),
    "steps": Defence(
        wrap=_stepped,
        proxy=lambda model: with_parts(
            _stepped(model), SteppedReLU, lambda part: BackwardApproximation(part, nn.ReLU())
        ),
        truth="own",
    ),
    "pruned": _randomised(lambda model: with_activation(model, PrunedReLU(share=0.5))),
    "resized": _randomised(RandomResizePad),
    "noise": _randomised(lambda model: InputNoise(model, 0.1)),
    "jump, retrofit": Defence(wrap=_retrofitted, proxy=lambda model: _ramped(_retrofitted(model)), truth="own"),
    # Networks have been trained with these: there is nothing to wrap.
    "thermometer": Defence(proxy=_sloped, truth="own"),
    "k winners": Defence(proxy=_blurred, truth="own", passes=BLUR[1]),
    "jump": Defence(proxy=_ramped, truth="own"),
    "trained noise": _randomised(lambda model: model),
}
"""The defences by name; the empty name is none."""
