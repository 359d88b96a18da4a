"""Probes: one symptom of masking each, with the intervention that would remove it.

Called as ``probe(model, images, labels) -> Finding``. Where its symptom is present a probe tries its `Repair`: the
*remedy* against the *control*, which is the unrepaired attack with the same budget of gradients and looks. An audit's
trials remember their outcome, so probes that share one share its cost.
"""

from unmask.auditing.probes.activations import Activations
from unmask.auditing.probes.blackbox import BlackBox
from unmask.auditing.probes.company import Company
from unmask.auditing.probes.direction import Direction
from unmask.auditing.probes.finite import FiniteDifferences
from unmask.auditing.probes.leaking import Leaking
from unmask.auditing.probes.noise import Noise
from unmask.auditing.probes.probabilities import Probabilities
from unmask.auditing.probes.probe import Probe, Repair
from unmask.auditing.probes.randomness import Randomness
from unmask.auditing.probes.reference import Broken
from unmask.auditing.probes.saturation import Saturation
from unmask.auditing.probes.scale import Scale
from unmask.auditing.probes.smoothness import Smoothness
from unmask.auditing.probes.strength import Strength, queries
from unmask.auditing.probes.sweep import Rising, Sweep
from unmask.auditing.probes.vanishing import Vanishing

__all__ = [
    "Activations",
    "BlackBox",
    "Broken",
    "Company",
    "Direction",
    "FiniteDifferences",
    "Leaking",
    "Noise",
    "Probabilities",
    "Probe",
    "Randomness",
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
