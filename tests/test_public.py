"""The public face: `__all__` of the package and of its modules is sorted, complete, importable and explained."""

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
    *("adapters", "attacks", "auditing", "auditing.probes", "data", "files", "gradients", "losses", "models"),
    *("models.masked", "numerics", "reports", "statistics", "threats", "training", "training.objectives"),
]
OFFERS = [(module, name) for module in MODULES for name in import_module(f"unmask.{module}").__all__]


def test_the_packages_names_are_sorted_and_are_what_dir_lists():
    assert unmask.__all__ == sorted(unmask.__all__)
    assert dir(unmask) == unmask.__all__


def test_the_packages_names_are_complete():
    """Every folder but the command line's, and every name that the README and the docs take from the package."""
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} - {
        "cli",
        "auditing",
        "numerics",
    }
    assert folders <= set(unmask.__all__)
    used = set()
    for page in [Path("README.md"), *Path("docs").rglob("*.md")]:
        for line in (ROOT.parents[1] / page).read_text().splitlines():
            used |= {word.split(".")[1].split("(")[0] for word in line.split() if word.startswith("unmask.")}
    offered = {word for word in used if word.isidentifier()} & {"audit", "verify", "compare", "evaluate", "Watch"}
    assert offered <= set(unmask.__all__)


@pytest.mark.parametrize("name", unmask.__all__)
def test_a_name_of_the_package_is_loaded_once_and_is_ours(name):
    value = getattr(unmask, name)
    assert getattr(unmask, name) is value
    if inspect.ismodule(value):
        assert value.__name__.removeprefix("unmask.").replace("training.objectives", "objectives") == name
    elif name != "__version__":
        assert inspect.getmodule(type(value) if name in ("FULL", "QUICK") else value).__name__.startswith("unmask.")


def test_importing_the_package_is_quick():
    """Under 0.1 s after Python's own start; the best of five, since the machine may be busy."""
    code = "import time; start = time.perf_counter(); import unmask; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    assert min(float(run.stdout) for run in runs) < 0.1


def test_an_unknown_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'unmask' has no attribute 'audits'"):
        _ = unmask.audits


def test_a_function_stays_one_after_every_module_is_imported():
    """No submodule has the name of a function of the package."""
    code = "import unmask, unmask.cli, unmask.auditing, unmask.reports, unmask.demo; print(callable(unmask.audit))"
    names = ["audit", "compare", "verify", "evaluate", "as_attack"]
    code += f"; print(all(callable(getattr(unmask, name)) for name in {names}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("path", FILES)
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(FILES[path])


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_offers_can_be_imported(module):
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
        assert name in explained_constants(), f"{name}: expected a string that explains it, in the line below it"


def explained_constants():
    """Return the names that the package's files assign and explain in the statement after."""
    found = set()
    for tree in FILES.values():
        for statement, after in pairwise(tree.body):
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
                found |= {getattr(getattr(target, "target", target), "id", None) for target in targets}
    return found
