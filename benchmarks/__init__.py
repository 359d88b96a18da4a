"""How fast unmask is beside other ways to do the same: ``python -m benchmarks`` measures, prints and writes it down."""
