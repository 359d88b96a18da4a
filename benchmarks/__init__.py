"""Speed of unmask beside other ways to do the same: ``python -m benchmarks`` measures, prints and records it."""
