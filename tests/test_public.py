"""What the packages offer by ``__all__``: it can be imported, says what it is, and shows an example."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import unmask

ROOT = Path(unmask.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = ["adapters", "attacks", "data", "models", "models.masked", "objectives", "probes", "report", "training"]
OFFERS = [(package, name) for package in PACKAGES for name in import_module(f"unmask.{package}").__all__]


@pytest.mark.parametrize("path", FILES)
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(FILES[path])


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_offers_can_be_imported(package):
    names = import_module(f"unmask.{package}").__all__
    assert len(set(names)) == len(names)
    namespace: dict[str, object] = {}
    exec(f"from unmask.{package} import *", namespace)
    assert set(names) <= set(namespace)


@pytest.mark.parametrize(("package", "name"), OFFERS)
def test_every_public_name_is_explained(package, name):
    offered = getattr(import_module(f"unmask.{package}"), name)
    if inspect.isclass(offered) or inspect.isfunction(offered):
        assert ">>> " in (offered.__doc__ or ""), f"{name} has no docstring with an example"
    else:
        assert name in explained_constants(package), f"{name}: expected a string that explains it, in the line below it"


def explained_constants(package):
    """The names that the package's files assign and explain in the statement after."""
    found = set()
    for path, tree in FILES.items():
        if path.startswith(f"{package.replace('.', '/')}/"):
            for statement, after in pairwise(tree.body):
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
                    found |= {getattr(getattr(target, "target", target), "id", None) for target in targets}
    return found
