"""Outcomes kept on disk, so that an audit that was killed goes on where it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import MethodType

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unmask import __version__
from unmask.attacks import Outcome, Trial
from unmask.data.dataset import images_digest
from unmask.files import write_atomically
from unmask.models.weights import digest
from unmask.numerics import Model

STAND_INS = ("unmask.attacks.", "unmask.auditing.probes.")
"""Where networks are made that an audit puts in its model's place, which its task tells."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A folder with a file per trial that was run, named by all that its outcome depends on.

    A model is known by its weights, and by what it says to a few of the images. Trials of attacks that are not made
    here, or that attack another network, are not kept: two of one name may do different things.

    Example:
        >>> import tempfile, torch
        >>> from unmask.attacks import FGSM
        >>> trial, images = Trial(attacks=[FGSM(epsilon=0.1)]), torch.zeros(1, 1, 1, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = Kept(folder=Path(folder), task="an audit")
        ...     before = kept.load(trial, None)
        ...     kept.save(trial, None, Outcome.of(images, torch.eye(2)[1:], torch.tensor([1])))
        ...     before, kept.load(trial, None).predictions
        (None, tensor([1]))
    """

    folder: Path
    task: str

    def load(self, trial: Trial, rows: Tensor | None) -> Outcome | None:
        """What came of this trial on these examples, if it was kept, whole."""
        if not all(map(_is_ours, trial.attacks)):
            return None
        try:
            return Outcome(**safetensors.torch.load(self._path(trial, rows).read_bytes()))
        except (OSError, SafetensorError, TypeError):
            return None

    def save(self, trial: Trial, rows: Tensor | None, outcome: Outcome) -> None:
        """Keep it, whole or not at all, if its attacks are made here.

        Raises:
            OSError: the folder cannot be written.
        """
        if not all(map(_is_ours, trial.attacks)):
            return
        tensors = {name: one.contiguous() for name, one in outcome._asdict().items()}
        write_atomically(self._path(trial, rows), safetensors.torch.save(tensors))

    def clear(self) -> None:
        """Remove what was kept: the audit is finished."""
        for path in self.folder.glob("*.outcome"):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, trial: Trial, rows: Tensor | None) -> Path:
        seen = hashlib.sha256("\0".join([self.task, trial.name, trial.settings]).encode())
        if rows is not None:
            seen.update(rows.numpy().tobytes())
        return self.folder / f"{seen.hexdigest()[:32]}.outcome"


def task_of(model: Model, images: Tensor, labels: Tensor, *settings: object) -> str:
    """What the outcomes of an audit depend on, in one text: version, weights, images, and settings.

    Example:
        >>> import torch
        >>> task = (torch.zeros(1, 1, 1, 2), torch.tensor([0]))
        >>> task_of(nn.Linear(1, 1), *task, 0.1) == task_of(nn.Linear(1, 1), *task, 0.1)
        False
    """
    known = [_known(one) if callable(one) else repr(one) for one in (model, *settings)]
    return "\0".join([__version__, images_digest(images, labels), *known])


def _is_ours(part: object) -> bool:
    """Whether an attack, and all that is called within it, is made here: its settings in words then say all of it."""
    if isinstance(part, partial):
        part = (part.func, *part.args, *part.keywords.values())
    if isinstance(part, (list, tuple)):
        return all(map(_is_ours, part))
    if not callable(part):
        return True
    if isinstance(part, MethodType):
        return not callable(part.__self__)
    module = getattr(part, "__module__", None) or ""
    if not module.startswith("unmask.") or module.startswith("unmask.adapters.") or isinstance(part, nn.Module):
        return False
    if is_dataclass(part):
        return all(_is_ours(getattr(part, one.name)) for one in fields(part))
    cells = [cell.cell_contents for cell in getattr(part, "__closure__", None) or ()]
    return all(_stands_in(one) or _is_ours(one) for one in cells)


def _stands_in(part: object) -> bool:
    return isinstance(part, nn.Module) and type(part).__module__.startswith(STAND_INS)


def _known(model: Model) -> str:
    """What is known of a model: its kind, and the digest of its weights if it is a module."""
    return f"{type(model).__name__} {digest(model) if isinstance(model, nn.Module) else ''}"
