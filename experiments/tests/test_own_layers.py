"""The table in the package's docstring: a file imports only from lower layers, or from its own folder; no circles."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import unmask_experiments

ROOT = Path(unmask_experiments.__file__).parent
ROWS = re.findall(r"^\| (\w+)(\.py|/) +\| (\d) \|", unmask_experiments.__doc__, flags=re.MULTILINE)
LAYER = {"unmask_experiments": -1} | {name: int(layer) for name, _, layer in ROWS}
FILES = {
    ".".join(("unmask_experiments", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def member(module):
    """Return the table's name for a module: ``unmask_experiments.zoo.cases`` is in ``zoo``."""
    return [*module.split("."), "unmask_experiments"][1]


def imports(module):
    """Return the modules of this package that a file names in its import statements, wherever they are."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) | ({node.module} if inner - FILES.keys() else set())
    return {name for name in found if name.split(".")[0] == "unmask_experiments"}


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_file_imports_only_from_lower_layers(module):
    assert member(module) in LAYER, f"{module} has no place in the table"
    for other in imports(module):
        assert other in FILES, f"{module} imports {other}, which does not exist"
        if member(other) != member(module):
            assert LAYER[member(other)] < LAYER[member(module)], f"{module} imports {other}"


@pytest.mark.parametrize(("name", "kind", "layer"), ROWS)
def test_a_row_of_the_table_exists(name, kind, layer):
    assert (ROOT / f"{name}{kind}").exists()


def test_there_are_no_circles():
    TopologicalSorter({module: imports(module) for module in FILES}).prepare()  # raises CycleError
