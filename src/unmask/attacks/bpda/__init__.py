"""BPDA: a useful backward pass for operations that have none (Athalye et al. 2018).

`model` wraps a model; `tracing` watches the calls of torch while it runs; `functions` has an approximation for each
function whose gradient is missing or useless; `slopes` has what they share.
"""

from unmask.attacks.bpda.model import BPDA, bpda

__all__ = ["BPDA", "bpda"]
