"""The command line, called in this process."""

from __future__ import annotations

from click.testing import CliRunner

from unmask.cli import main

DATA = ["--data", "digits"]

BOUND = ["--epsilon", "0.1"]

FEW = [*DATA, *BOUND, "--samples", "20"]


def unmask(*arguments):
    """Run it; what was not a plain exit is raised again here."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def assert_refused(result, message):
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    *usage, last = result.stderr.strip().splitlines()
    assert not usage or usage[0].startswith("Usage: ")
    assert last.startswith("Error: ")
    assert message in last
    assert len(last) < 300
