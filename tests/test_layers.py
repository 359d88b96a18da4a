"""The import table: a file imports only from lower layers, or from its own folder, and never in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import unmask

# The house, from the ground up. A folder stands in the table as a whole.
LAYERS = [
    {"unmask"},  # the package itself: its version
    {"record", "losses", "numerics", "optim", "data", "models"},  # plain values, functions, data and networks
    {"threat", "gradients", "weights", "verdict", "sweeps", "report"},  # each on one or two of these
    {"attacks", "checkpoint", "subject"},
    {"objectives", "exhibits"},
    {"training"},
    {"probes"},
    {"audit"},
    {"experiments"},
    {"cli"},
    {"__main__"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

# What may be loaded by whoever only asks for a version, or reads and draws records.
LIGHT = {
    "unmask": {"torch", "numpy", "scipy", "matplotlib", "sklearn", "jinja2", "click", "rich"},
    "unmask.record": {"torch", "numpy", "scipy", "matplotlib", "sklearn", "jinja2", "click", "rich"},
    "unmask.report": {"torch", "sklearn"},
    "unmask.cli": {"torch", "matplotlib", "sklearn", "scipy"},
}

ROOT = Path(unmask.__file__).parent
FILES = {
    ".".join(("unmask", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def member(module):
    """The table's name for a module: ``unmask.data.mnist`` is in ``data``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "unmask"


def imports(module):
    """The modules of ours that a file names in its import statements, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
    return {name for name in found if name.split(".")[0] == "unmask"}


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_file_imports_only_from_lower_layers(module):
    assert member(module) in LAYER, f"{module} has no place in the table"
    for other in imports(module):
        assert other in FILES, f"{module} imports {other}, which does not exist"
        if member(other) != member(module):
            assert LAYER[member(other)] < LAYER[member(module)], f"{module} imports {other}"


def test_there_are_no_circles():
    TopologicalSorter({module: imports(module) for module in FILES}).prepare()  # raises CycleError


@pytest.mark.parametrize("module", sorted(LIGHT.keys() & FILES.keys()))
def test_what_an_import_loads(module):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & LIGHT[module]
