"""Probes: one symptom of masking each, with the remedy that would remove it.

Called as ``probe(context) -> Finding``. Where its symptom is present a probe tries its remedy against the control: the
unrepaired attack with the same budget of gradients and looks. The evaluator runs each trial once, so probes that share
one share its cost.

A new probe is a file beside these, and a line in ``PROBES``.
"""

from unmask.auditing.context import Context
from unmask.auditing.probes.activations import Activations
from unmask.auditing.probes.batch_dependence import BatchDependence
from unmask.auditing.probes.direction import OPERATIONS_PROBE, PRECISION_PROBE, Direction
from unmask.auditing.probes.epsilons import RisingAccuracy, UnboundedEpsilon
from unmask.auditing.probes.finite_differences import FiniteDifferences
from unmask.auditing.probes.leaking import Leaking
from unmask.auditing.probes.noise import Noise
from unmask.auditing.probes.other_attacks import OtherAttack, Queries, others
from unmask.auditing.probes.probabilities import Probabilities
from unmask.auditing.probes.probe import Probe
from unmask.auditing.probes.randomness import Randomness
from unmask.auditing.probes.reference import BrokenReference
from unmask.auditing.probes.saturation import Saturation
from unmask.auditing.probes.scale import Scale
from unmask.auditing.probes.smoothness import Smoothness
from unmask.auditing.probes.vanishing import Vanishing
from unmask.auditing.probes.weak_attack import SingleStepWeak, WeakerThanQueries

__all__ = [
    "PROBES",
    "Activations",
    "BatchDependence",
    "BrokenReference",
    "Direction",
    "FiniteDifferences",
    "Leaking",
    "Noise",
    "OtherAttack",
    "Probabilities",
    "Probe",
    "Queries",
    "Randomness",
    "RisingAccuracy",
    "Saturation",
    "Scale",
    "SingleStepWeak",
    "Smoothness",
    "UnboundedEpsilon",
    "Vanishing",
    "WeakerThanQueries",
    "probes_for",
]

PROBES: tuple[Probe, ...] = (
    Probabilities(),
    Saturation(),
    Scale(),
    PRECISION_PROBE,
    OPERATIONS_PROBE,
    Vanishing(),
    Activations(),
    Noise(),
    Smoothness(),
    FiniteDifferences(),
    Randomness(),
    Queries(),
    SingleStepWeak(),
    WeakerThanQueries(),
    Leaking(),
    BatchDependence(),
    BrokenReference(),
    UnboundedEpsilon(),
    RisingAccuracy(),
)
"""Every probe, in the order in which they are asked."""


def probes_for(context: Context) -> list[Probe]:
    """Return the probes of one audit: those above, and one for the user's surrogate and each of the user's attacks.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> context = prepare(torch.nn.Flatten(), torch.zeros(1, 1, 1, 2), torch.tensor([0]), epsilon=0.1)
        >>> len(probes_for(context)) == len(PROBES)
        True
    """
    place = next(place for place, probe in enumerate(PROBES) if isinstance(probe, BatchDependence))
    return [*PROBES[:place], *others(context), *PROBES[place:]]
