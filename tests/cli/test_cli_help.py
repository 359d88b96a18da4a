"""The help: immediate, and complete."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner
from command_line import unmask

from unmask.attacks import ATTACKS
from unmask.cli import main, plugins
from unmask.losses import LOSSES


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)], ids=lambda command: " ".join(command))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_explains_every_option(command, option):
    if command and command[0] in ("reproduce", "zoo"):
        pytest.importorskip("unmask_experiments", reason="the experiments are not installed")
    result = unmask(*command, option)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    if not command:
        assert all(name in result.stdout for name in main.commands)


def test_help_is_there_at_once():
    code = "import sys; from unmask.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in run.stdout
    heavy = {"torch", "matplotlib", "numpy", "sklearn", "scipy", "rich.progress", "unmask_experiments"}
    assert not heavy & set(run.stdout.split())


def test_the_help_of_a_command_lists_its_registry():
    attack, train = (
        " ".join(unmask(command, "--help").stdout.replace("-\n", "-").split()) for command in ("attack", "train")
    )
    assert all(name in attack for name in ATTACKS)
    assert all(loss in attack for loss in LOSSES)
    assert "--queries INTEGER RANGE For square." in attack
    assert all(f"{name}," in train or f"{name};" in train for name in ("normal", "fgsm+clean", "gat", "ensemble"))
    assert "distilled" not in train


def test_commands_of_another_distribution_are_loaded_when_they_are_called(monkeypatch):
    """An entry point of the group ``unmask.commands``; the experiments' commands are listed also where they are not."""
    entry = EntryPoint("paint", "own:nowhere", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == "unmask.commands" else [])
    found = {command.name: command for command in plugins.plugin_commands()}
    assert list(found) == ["paint", "reproduce", "zoo"]
    assert found["zoo"].get_short_help_str(200).startswith("Audit models whose truth is known")
    with pytest.raises(AttributeError, match="nowhere"):
        found["paint"].make_context("paint", [])
    with pytest.raises(
        click.UsageError, match=r"zoo: needs the distribution unmask-experiments; .* pip install \./exp"
    ):
        found["zoo"].make_context("zoo", [])


def test_a_command_of_an_entry_point_reads_its_own_arguments(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("again", "unmask.cli.diff:diff", group)])
    (again,) = (command for command in plugins.plugin_commands() if command.name == "again")
    group = click.Group(commands={"again": again})
    result = CliRunner().invoke(group, ["again", "--help"])
    assert "BEFORE and AFTER are two audits' report.json" in " ".join(result.stdout.split())
