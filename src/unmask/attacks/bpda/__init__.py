"""BPDA: a backward pass for operations that have none (Athalye et al. 2018)."""
