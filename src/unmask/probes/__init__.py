"""Probes: one symptom of masking each, with the intervention that would remove it.

Called as ``probe(model, images, labels) -> Finding``. Where its symptom is present a probe tries its `Repair`: the
*remedy* against the *control*, which is the unrepaired attack with the same budget of gradients and looks. An audit's
trials remember their outcome, so probes that share one share its cost.
"""

from unmask.probes.activations import Activations
from unmask.probes.battery import Battery
from unmask.probes.blackbox import BlackBox
from unmask.probes.company import Company
from unmask.probes.direction import Direction
from unmask.probes.finite import FiniteDifferences
from unmask.probes.kit import FULL, QUICK, Effort, Kit
from unmask.probes.leaking import Leaking
from unmask.probes.ledger import Ledger, OutOfTimeError, Part
from unmask.probes.noise import Noise
from unmask.probes.probabilities import Probabilities
from unmask.probes.probe import Probe, Repair
from unmask.probes.randomness import Randomness
from unmask.probes.reference import Broken
from unmask.probes.saturation import Saturation
from unmask.probes.scale import Scale
from unmask.probes.settings import RefusedError
from unmask.probes.smoothness import Smoothness
from unmask.probes.strength import Strength, queries
from unmask.probes.sweep import Rising, Sweep
from unmask.probes.vanishing import Vanishing

__all__ = [
    "FULL",
    "QUICK",
    "Activations",
    "Battery",
    "BlackBox",
    "Broken",
    "Company",
    "Direction",
    "Effort",
    "FiniteDifferences",
    "Kit",
    "Leaking",
    "Ledger",
    "Noise",
    "OutOfTimeError",
    "Part",
    "Probabilities",
    "Probe",
    "Randomness",
    "RefusedError",
    "Repair",
    "Rising",
    "Saturation",
    "Scale",
    "Smoothness",
    "Strength",
    "Sweep",
    "Vanishing",
    "queries",
]
