"""Outcomes kept on disk, so that an audit that was killed goes on where it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import MethodType

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unmask import __version__
from unmask.attacks import Outcome
from unmask.auditing.trial import Trial
from unmask.data.dataset import images_digest
from unmask.files import write_atomically
from unmask.models.weights import digest
from unmask.numerics import Model

OWN = ("unmask.attacks", "unmask.losses", "unmask.auditing")
"""The modules of this package whose code a trial's settings name in full."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A folder with a file for each trial that was run, named by everything that its outcome depends on.

    A model is known by its weights and by its answers to a few images. Trials of attacks from elsewhere, or on a
    network of the user's, are not kept: two of the same name may do different things.

    Attributes:
        folder: made when first written to.
        task: what the outcomes depend on besides the trial, as ``task_of`` says it.
    """

    folder: Path
    task: str

    def load(self, trial: Trial, rows: bytes | None) -> Outcome | None:
        """Return the outcome of this trial on these rows, if it was kept, whole."""
        if not _is_known(trial):
            return None
        try:
            return Outcome(**safetensors.torch.load(self._path(trial, rows).read_bytes()))
        except (OSError, SafetensorError, TypeError):
            return None

    def save(self, trial: Trial, rows: bytes | None, outcome: Outcome) -> None:
        """Keep an outcome, whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        if _is_known(trial):
            tensors = {name: one.contiguous() for name, one in outcome._asdict().items()}
            write_atomically(self._path(trial, rows), safetensors.torch.save(tensors))

    def clear(self) -> None:
        """Remove what was kept: the audit is finished."""
        for path in self.folder.glob("*.outcome"):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, trial: Trial, rows: bytes | None) -> Path:
        seen = hashlib.sha256("\0".join([self.task, trial.name, trial.settings]).encode())
        seen.update(rows or b"")
        return self.folder / f"{seen.hexdigest()[:32]}.outcome"


def task_of(model: Model, images: Tensor, labels: Tensor, *settings: object) -> str:
    """Return all that the outcomes of an audit depend on as one text: version, weights, images and settings.

    Example:
        >>> import torch
        >>> task = (torch.zeros(1, 1, 1, 2), torch.tensor([0]))
        >>> task_of(nn.Linear(1, 1), *task, 0.1) == task_of(nn.Linear(1, 1), *task, 0.1)
        False
    """
    known = [_identity(one) if callable(one) else repr(one) for one in (model, *settings)]
    return "\0".join([__version__, images_digest(images, labels), *known])


def _is_known(trial: Trial) -> bool:
    """Return whether a trial's settings in words say all of it: its attacks and its proxy are the package's own."""
    return (trial.proxy is None or trial.proxy.derived) and all(map(_is_own, trial.attacks))


def _is_own(part: object) -> bool:
    """Return whether a setting is no code, or code of this package with settings of the same kind.

    A bound method is not: its name says nothing of what it is bound to; nor is a function that holds other code.
    """
    if isinstance(part, list | tuple):
        return all(map(_is_own, part))
    if not callable(part):
        return True
    owner = part if hasattr(part, "__qualname__") else type(part)
    module = getattr(owner, "__module__", None) or ""
    if isinstance(part, nn.Module | MethodType) or not module.startswith(OWN) or getattr(part, "__closure__", None):
        return False
    return not is_dataclass(part) or all(_is_own(getattr(part, one.name)) for one in fields(part))


def _identity(model: Model) -> str:
    """Return the model's kind, and the digest of its weights if it is a module."""
    return f"{type(model).__name__} {digest(model) if isinstance(model, nn.Module) else ''}"
