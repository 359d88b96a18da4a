"""The command line, as ``python -m unmask``."""

from unmask.cli import main

main()
