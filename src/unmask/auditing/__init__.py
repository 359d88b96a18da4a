"""The audit: attack a model in several ways, ask each probe, decide, and put everything into one report."""
