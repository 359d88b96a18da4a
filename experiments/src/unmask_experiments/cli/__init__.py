"""The commands that `unmask` gains when the experiments are installed: `reproduce` and `zoo`."""
