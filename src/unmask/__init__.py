"""unmask tells whether a neural network's robustness is real or only gradient masking."""

__version__ = "0.1.0"
