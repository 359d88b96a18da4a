"""The public names: those of ``unmask`` and of its public modules are complete, sorted, explained, and loaded late."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import unmask

ROOT = Path(unmask.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
MODULES = [
    *("adapters", "attacks", "auditing", "data", "files", "gradients", "losses", "models", "models.masked", "numerics"),
    *("reports", "statistics", "threats", "training", "training.objectives"),
]
OFFERS = [(module, name) for module in MODULES for name in import_module(f"unmask.{module}").__all__]
FUNCTIONS = ["as_attack", "audit", "compare", "evaluate", "verify"]


def test_the_names_of_the_package_are_sorted_and_no_others():
    assert unmask.__all__ == sorted(unmask.__all__) == dir(unmask)
    assert len(set(unmask.__all__)) == len(unmask.__all__)


@pytest.mark.parametrize("name", unmask.__all__)
def test_a_name_of_the_package_is_there(name):
    value = getattr(unmask, name)
    assert getattr(unmask, name) is value
    if inspect.ismodule(value):
        assert value.__name__.removeprefix("unmask.").replace("training.objectives", "objectives") == name
    elif name != "__version__":
        assert inspect.getmodule(type(value) if name in ("FULL", "QUICK") else value).__name__.startswith("unmask.")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'unmask' has no attribute 'robustify'"):
        unmask.robustify  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_module_has_the_name_of_a_function(name):
    """Importing it would hide the function."""
    assert inspect.isfunction(getattr(unmask, name))
    assert not (ROOT / name).exists()
    assert not (ROOT / f"{name}.py").exists()


def test_importing_the_package_is_quick():
    """Under 0.1 s in addition to Python's own start; the best of five, since the machine may be busy."""
    code = "import time; start = time.perf_counter(); import unmask; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    assert min(float(run.stdout) for run in runs) < 0.1


@pytest.mark.parametrize("path", FILES)
def test_every_file_is_explained(path):
    assert ast.get_docstring(FILES[path])


@pytest.mark.parametrize("module", MODULES)
def test_the_names_of_a_module_can_be_imported(module):
    names = import_module(f"unmask.{module}").__all__
    assert len(set(names)) == len(names)
    namespace: dict[str, object] = {}
    exec(f"from unmask.{module} import *", namespace)
    assert set(names) <= set(namespace)


@pytest.mark.parametrize(("module", "name"), OFFERS)
def test_every_public_name_is_explained(module, name):
    offered = getattr(import_module(f"unmask.{module}"), name)
    if inspect.isclass(offered) or inspect.isfunction(offered):
        assert ">>> " in (offered.__doc__ or ""), f"{name} has no docstring with an example"
    else:
        assert name in explained_constants(module), f"{name}: expected a string that explains it, in the line below it"


def explained_constants(module):
    """Return the names that the module's files assign and explain in the statement after."""
    found = set()
    place = module.replace(".", "/")
    for path, tree in FILES.items():
        if path.startswith((f"{place}/", f"{place}.py")):
            for statement, after in pairwise(tree.body):
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
                    found |= {getattr(getattr(target, "target", target), "id", None) for target in targets}
    return found
