"""Probes: one symptom of masking each, with the intervention that would remove it.

Called as ``probe(model, images, labels) -> Finding``. A probe holds two trials: the *remedy*, and the *control*, which
is the unrepaired attack with the same budget of gradients. Trials remember their outcome, so probes that share one
share its cost.
"""

from unmask.probes.battery import Battery
from unmask.probes.noise import Noise
from unmask.probes.queries import Queries
from unmask.probes.saturation import Saturation
from unmask.probes.smoothness import Smoothness
from unmask.probes.strength import Strength
from unmask.probes.sweep import Sweep
from unmask.probes.vanishing import Vanishing

__all__ = ["Battery", "Noise", "Queries", "Saturation", "Smoothness", "Strength", "Sweep", "Vanishing"]
