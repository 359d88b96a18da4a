"""The commands: they are registered, say what is wrong, and show their help without torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from unmask_experiments.cli.reproduce import reproduce
from unmask_experiments.cli.zoo import zoo

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
HEAVY = {"torch", "numpy", "scipy", "matplotlib", "sklearn", "joblib", "ray"}


@pytest.mark.parametrize(("name", "place"), PROJECT["entry-points"]["unmask.commands"].items())
def test_a_command_is_registered_by_its_name(name, place):
    module, _, command = place.partition(":")
    assert getattr(importlib.import_module(module), command).name == name


@pytest.mark.parametrize("command", ["reproduce", "zoo"])
def test_help_loads_nothing_heavy(command):
    code = (
        f"from unmask_experiments.cli.{command} import {command}\n"
        f"{command}(['--help'], standalone_mode=False)\n"
        "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage:" in run.stdout
    assert not set(run.stdout.splitlines()[-1].split()) & HEAVY


def test_the_zoo_is_listed():
    shown = CliRunner().invoke(zoo, ["--list", "--seeds", "1", "--only", "squashed"])
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0] == "exact        cnn, squashed, seed 0, epsilon 0.1"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (zoo, ["--only", "unicorn"], "only: expected a part of one of these names: linear; cnn;"),
        (
            reproduce,
            ["goodfellow2015"],
            "paper: expected one of yanagita2018, yue2017, vivek2019, got 'goodfellow2015'",
        ),
        (reproduce, ["yue2017", "--artefact", "fig99"], "artefact: expected one of fig1"),
    ],
)
def test_an_unknown_name_is_refused(command, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(command, [*arguments, "--results", str(tmp_path)], catch_exceptions=False)


def test_a_paper_is_asked_for():
    shown = CliRunner().invoke(reproduce, [])
    assert shown.exit_code == 2
    assert "expected a paper: one of yanagita2018, yue2017, vivek2019; or --list" in shown.output


def test_an_artefact_is_computed_from_the_records_that_exist(tmp_path):
    arguments = ["vivek2019", "--artefact", "single-step", "--no-run", "--seeds", "1", "--results", str(tmp_path)]
    shown = CliRunner().invoke(reproduce, arguments, catch_exceptions=False)
    assert shown.output == f"wrote {tmp_path / 'vivek2019' / 'single-step.json'}\n"
    assert "not run" in (tmp_path / "README.md").read_text()
