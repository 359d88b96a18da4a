"""The border between the distributions: the experiments import public names, and `unmask` imports no experiments."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import unmask
import unmask_experiments

PUBLIC = {
    "unmask",
    *(
        f"unmask.{name}"
        for name in (
            "adapters", "attacks", "auditing", "data", "files", "gradients", "losses", "models", "models.masked",
            "numerics", "reports", "statistics", "threats", "training", "training.objectives",
        )
    ),
}  # fmt: skip
ROOT = Path(unmask_experiments.__file__).parent
TESTS = Path(__file__).parent
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = [path for folder in (ROOT, TESTS, BENCHMARKS) for path in sorted(folder.rglob("*.py"))]


def imported(path):
    """Yield each module that a file imports from, with the name, or None for the module itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_names_from_unmask_are_public(path):
    wanted = [(module, name) for module, name in imported(path) if module.split(".")[0] == "unmask"]
    private = [
        f"{module}.{name}"
        for module, name in wanted
        if module not in PUBLIC or (name and name not in importlib.import_module(module).__all__)
    ]
    assert private == []


def test_unmask_imports_no_experiments():
    files = sorted(Path(unmask.__file__).parent.rglob("*.py"))
    found = [path for path in files for module, _ in imported(path) if module.split(".")[0] == "unmask_experiments"]
    assert len(files) > 50
    assert found == []
