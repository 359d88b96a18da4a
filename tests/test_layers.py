"""The layers in the package's docstring: a file imports only from lower ones, or from its own folder; no circles."""

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
LAYER = {name: int(layer) for name, _, layer in ROWS} | {"__main__": 10}

# What must not be loaded to ask for a version or for help, or to read and draw records.
HEAVY = {"torch", "numpy", "scipy", "matplotlib", "sklearn", "jinja2"}
LIGHT = {
    "import unmask": HEAVY | {"click", "rich"},
    "import unmask; dir(unmask); unmask.__version__": HEAVY,
    "import unmask; unmask.compare; unmask.reports; unmask.Report": HEAVY,
    "import unmask.reports.record": HEAVY | {"click", "rich"},
    "import unmask.reports": {"torch", "sklearn"},
    "import unmask.adapters": {"foolbox", "torchattacks", "art", "onnxruntime", "transformers", "timm"},
    "import unmask.cli; unmask.cli.main(['--help'], standalone_mode=False)": HEAVY | {"unmask_experiments"},
}

ROOT = Path(unmask.__file__).parent
# All but the package's own file, which loads what it offers when it is used.
FILES = {
    ".".join(("unmask", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"
}


def member(module):
    """Return the table's name for a module: ``unmask.data.mnist`` is in ``data``."""
    return module.split(".")[1]


def imports(module):
    """Return the modules of ours in a file's import statements, wherever they stand; the package itself has none."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
    return {name for name in found if name.split(".")[0] == "unmask"} - {"unmask"}


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
