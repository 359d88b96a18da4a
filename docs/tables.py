"""The reference page, rendered from the registries: ``python docs/tables.py`` writes ``docs/reference.md``.

``tests/test_docs.py`` holds the committed page equal to what this file renders.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any

from unmask.attacks import ATTACKS
from unmask.auditing import PROBES
from unmask.losses import LOSSES
from unmask.models import MODELS, masked
from unmask.training import objectives
from unmask.training.objectives import OBJECTIVES, build, needs

PAGE = Path(__file__).parent / "reference.md"

HEAD = """# Reference

Every attack, loss, probe, objective and model of the package. `python docs/tables.py` writes this page from the
registries.
"""

ATTACKS_NOTE = """`unmask.attacks.build(name, epsilon, **settings)` makes an attack by name. The cost is in gradients
for each image, at the default settings; a forward pass counts as 0.4. A suffix chooses another loss: `pgd-log-odds`,
`apgd-dlr`."""

PROBES_NOTE = """The probes in the order in which an audit asks them. A symptom is present where its value exceeds the
threshold. A probe that needs gradients is listed as not run for a model without them. *Blinding* symptoms mean that
gradients are useless as such."""

OBJECTIVES_NOTE = """`unmask.training.objectives.build(name, **settings)` makes an objective by name. A suffix chooses
another loss for its attacks: `fgsm-log-odds`."""

CLASSES_NOTE = """The cost of an update is in passes over a batch: forward, gradient in the images, gradient in the
weights. Normal training takes 3."""

MODELS_NOTE = "`unmask.models.build(name, inputs=..., classes=...)` makes a network by name."

MASKED_NOTE = """`unmask.models.masked` has wrappers and activations whose truth is known; some mask gradients, some do
not."""


def render() -> str:
    """Return the whole page."""
    attacks = ("name", "class", "attack", "cost", "gradients", "settings")
    probes = ("probe", "threshold", "gradients", "blinding", "symptom")
    sections = [
        _section("Attacks", ATTACKS_NOTE, attacks, _attacks()),
        _section("Losses", "", ("suffix", "function", "loss"), _losses()),
        _section("Probes", PROBES_NOTE, probes, _probes()),
        _section("Objectives", OBJECTIVES_NOTE, ("name", "needs", "objective"), _objectives()),
        _section("Classes of objectives", CLASSES_NOTE, ("class", "objective", "cost"), _classes()),
        _section("Models", MODELS_NOTE, ("name", "network"), _models()),
        _section("Models whose truth is known", MASKED_NOTE, ("name", "model"), _masked()),
    ]
    return "\n".join([HEAD, *sections])


def _attacks() -> Iterable[Sequence[str]]:
    for name, kind in ATTACKS.items():
        attack = kind("8/255")
        settings = [f"`{one.name}={_value(one)}`" for one in fields(kind) if one.name != "epsilon"]
        needed = "yes" if attack.needs_gradients else "no"
        yield f"`{name}`", f"`{kind.__name__}`", _first(kind), f"{attack.cost:g}", needed, ", ".join(settings)


def _losses() -> Iterable[Sequence[str]]:
    for name, loss in LOSSES.items():
        yield f"`{name}`", f"`{loss.__name__}`", _first(loss)


def _probes() -> Iterable[Sequence[str]]:
    for probe in PROBES:
        needed, blinding = ("yes" if one else "no" for one in (probe.needs_gradients, probe.calls_for_queries))
        yield probe.name, f"{probe.threshold:g}", needed, blinding, re.sub("^Symptom[:,] ", "", _first(type(probe)))


def _objectives() -> Iterable[Sequence[str]]:
    for name, made in OBJECTIVES.items():
        words = ", ".join(f"`{one}`" for one in needs(name)) or "nothing"
        kind = made.__name__ if inspect.isclass(made) else _composed(build(name, **_given(needs(name))))
        yield f"`{name}`", words, f"`{kind}`"


def _given(needed: Sequence[str]) -> dict[str, Any]:
    """Return an argument for each that an objective needs."""
    values = {"epsilon": 0.1, "sources": (len,), "teacher": len}
    return {name: values[name] for name in needed}


def _composed(objective: Any) -> str:
    """Return an objective as the call that makes it, without epsilon, other models and defaults."""
    parts = []
    for field in fields(objective):
        value = getattr(objective, field.name)
        if field.name == "attack":
            parts.append(f"attack={type(value).__name__}")
        elif field.name == "attacks":
            parts.append(f"attacks=({', '.join(type(one).__name__ for one in value)})")
        elif field.name not in ("epsilon", "sources") and value != field.default:
            parts.append(f"{field.name}={value!r}")
    return f"{type(objective).__name__}({', '.join(parts)})"


def _classes() -> Iterable[Sequence[str]]:
    for name in sorted(objectives.__all__):
        kind = getattr(objectives, name)
        if inspect.isclass(kind) and _cost(kind):
            yield f"`{name}`", _first(kind), _cost(kind)


def _models() -> Iterable[Sequence[str]]:
    for name, maker in MODELS.items():
        given = [f"`{key}={value}`" for key, value in maker.keywords.items()] if isinstance(maker, partial) else []
        function = maker.func if isinstance(maker, partial) else maker
        yield f"`{name}`", " ".join([_first(function), f"({', '.join(given)})" if given else ""]).strip()


def _masked() -> Iterable[Sequence[str]]:
    for name in sorted(masked.__all__):
        if inspect.isclass(getattr(masked, name)):
            yield f"`{name}`", _first(getattr(masked, name))


def _section(title: str, note: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        f"## {title}",
        "",
        *([note, ""] if note else []),
        _row(columns),
        "|" + "---|" * len(columns),
        *map(_row, rows),
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _first(thing: object) -> str:
    """Return the first sentence of a docstring, fit for a cell of a table."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z0-9)`]\.) (?=[A-Z])", text)[0]
    return sentence.replace("``", "`").replace("|", "\\|").removesuffix(".")


def _cost(kind: type) -> str:
    """Return the cost that a docstring names."""
    found = re.search(r"Cost: ((?:[^.]|\.\d)*)", " ".join((inspect.getdoc(kind) or "").split()))
    return found[1].replace("``", "`").replace("|", "\\|") if found else ""


def _value(field: Any) -> str:
    default = field.default
    if default is MISSING:
        return "..."
    return getattr(default, "__name__", repr(default))


if __name__ == "__main__":
    PAGE.write_text(render())
