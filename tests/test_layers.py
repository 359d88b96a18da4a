"""The table in the package's docstring: a file imports only from lower layers, or from its own folder; no circles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import unmask

# The package's docstring: a row has a file or a folder, its layer, and what it is for.
ROWS = re.findall(r"^(\w+)(\.py|/) +(\d)  \w", unmask.__doc__, flags=re.MULTILINE)
LAYER = {"unmask": -1} | {name: int(layer) for name, _, layer in ROWS} | {"__main__": 10}

# What must not be loaded by whoever only asks for a version or for help, or reads and draws records.
HEAVY = {"torch", "numpy", "scipy", "matplotlib", "sklearn", "jinja2"}
LIGHT = {
    "import unmask": HEAVY | {"click", "rich"},
    "import unmask; dir(unmask); unmask.Report; unmask.compare": HEAVY | {"click", "rich"},
    "import unmask.reports.record": HEAVY | {"click", "rich"},
    "import unmask.reports": {"torch", "sklearn"},
    "import unmask.adapters": {"foolbox", "torchattacks", "art", "onnxruntime", "transformers", "timm"},
    "import unmask.cli; unmask.cli.main(['--help'], standalone_mode=False)": HEAVY | {"unmask_experiments"},
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
    """The modules of ours that a file names in its import statements, wherever they stand.

    The package itself names for type checkers alone what it loads when it is touched.
    """
    found = set()
    tree = ast.parse(FILES[module].read_text())
    if module == "unmask":
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree):
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


@pytest.mark.parametrize(("name", "kind", "layer"), ROWS)
def test_a_row_of_the_table_is_there(name, kind, layer):
    assert (ROOT / f"{name}{kind}").exists()


def test_there_are_no_circles():
    TopologicalSorter({module: imports(module) for module in FILES}).prepare()  # raises CycleError


@pytest.mark.parametrize("statement", LIGHT)
def test_what_is_loaded(statement):
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sys" in run.stdout
    assert not set(run.stdout.split()) & LIGHT[statement]
