"""unmask tells whether a neural network's robustness is real or only gradient masking.

Importing it loads nothing heavy: each name of ``__all__`` is loaded when it is first used.

Example:
    >>> import unmask
    >>> digits = unmask.data.load("digits", "test")
    >>> model = unmask.models.build("linear", inputs=(1, 8, 8), classes=10)
    >>> report = unmask.audit(model, digits.images, digits.labels, epsilon="8/255", effort=unmask.QUICK)
    >>> report.verdict
    'inconclusive'

A file imports only from lower layers, or from its own folder; ``tests/test_layers.py`` holds them to it.

====================  =  ==========================================================================================
files.py              0  files that are written whole or not at all
numerics/             0  random numbers that belong to an example, models left as found, batches that fit in memory
statistics.py         0  proportions and paired differences with their intervals
losses.py             0  per-example cross_entropy, log_odds, margin, dlr
data/                 0  one data set per file: digits (embedded), mnist (also fashion), cifar10, the user's own
threats.py            1  threat models: Linf(epsilon) with its projection, random start and step
gradients.py          1  the gradient of a loss in the images
models/               1  mlp, lenet (LeNet+, A-D), resnet, vgg, weights in files; masked/: models that mask on purpose
reports/              1  the record of an audit as text, figures, JSON and HTML page; without torch
attacks/              2  one family of attacks per file, and the registry of their names
adapters/             3  models and attacks of other libraries, which are loaded when they are used
auditing/             3  preflight, evaluator, probes, search, verdict and the runner of an audit
training/             4  objectives, the trainer, the watch for masking, checkpoints, several processes
demo.py               5  four classifiers of the embedded digits, audited side by side
cli/                  6  one command per file; heavy imports inside the commands
====================  =  ==========================================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unmask import adapters, attacks, data, gradients, losses, models, reports, threats, training
    from unmask.attacks import as_attack, evaluate
    from unmask.auditing import FULL, QUICK, Effort, audit
    from unmask.auditing.verification import verify
    from unmask.reports import Report, compare
    from unmask.training import Trainer, objectives
    from unmask.training.watch import Watch

__version__ = "0.2.0"

__all__ = [  # noqa: RUF022  # in the order of dir()
    "Effort",
    "FULL",
    "QUICK",
    "Report",
    "Trainer",
    "Watch",
    "__version__",
    "adapters",
    "as_attack",
    "attacks",
    "audit",
    "compare",
    "data",
    "evaluate",
    "gradients",
    "losses",
    "models",
    "objectives",
    "reports",
    "threats",
    "training",
    "verify",
]

_SOURCES = {
    "unmask.attacks": ("as_attack", "evaluate"),
    "unmask.auditing": ("Effort", "FULL", "QUICK", "audit"),
    "unmask.auditing.verification": ("verify",),
    "unmask.reports": ("Report", "compare"),
    "unmask.training": ("Trainer",),
    "unmask.training.watch": ("Watch",),
}
_SOURCE_OF = {name: source for source, names in _SOURCES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load what ``__all__`` offers when it is first used."""
    value: object
    if name in _SOURCE_OF:
        value = getattr(import_module(_SOURCE_OF[name]), name)
    elif name == "objectives":
        value = import_module("unmask.training.objectives")
    elif name in __all__:
        value = import_module(f"unmask.{name}")
    else:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
