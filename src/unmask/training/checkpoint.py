"""Checkpoints of a training run: whole at any instant, and enough to resume it bit for bit."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unmask.files import LockedError, lock, write_atomically
from unmask.models.weights import fill, plain, read_tensors

FORMAT = "unmask-checkpoint/3"
ENTRIES = {"update", "weights", "sha256", "settings", "numbers", "groups", "resting"}


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state is tensors by name, as of torch's own modules.

    Example:
        >>> isinstance(nn.Linear(1, 1), Stateful), isinstance(len, Stateful)
        (True, False)
    """

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the state."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> object:
        """Put a state back."""
        ...


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder that holds the latest state of one run: ``checkpoint.json``, and the safetensors file that it names.

    The weights and the optimizer's state are written first, under a name of their own; then the JSON is replaced in
    one step; then the old weights are removed. A kill at any instant leaves the old state or the new one, whole.

    Attributes:
        settings: the run's settings in words; a run with others is not resumed.

    Raises:
        ValueError: on ``restore``, the checkpoint is damaged, or of a run with other settings; on ``begin``, there is
            one already.

    Example:
        >>> import tempfile
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint = Checkpoint(folder=Path(folder), settings={})
        ...     checkpoint.save(model, torch.optim.SGD(model.parameters()), update=7)
        ...     checkpoint.restore(model, torch.optim.SGD(model.parameters()))
        7
    """

    folder: Path
    settings: dict[str, str]

    def begin(self) -> None:
        """Check that a new run can be kept here, before anything is computed.

        Raises:
            ValueError: there is a run here already, or nothing can be written here.
        """
        if self.latest():
            raise ValueError(f"{self.folder}: holds a run already; resume it, or name another folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise ValueError(
                f"{self.folder}: expected a folder to write checkpoints to, got {error.strerror}"
            ) from error

    @property
    def index(self) -> Path:
        """The path of the JSON file, present once there is a whole checkpoint."""
        return self.folder / "checkpoint.json"

    def latest(self) -> Path | None:
        """Return the index file, if there is a checkpoint."""
        return self.index if self.index.is_file() else None

    @property
    def done(self) -> int:
        """The number of updates that it holds, 0 if there is no checkpoint yet."""
        return int(self._entry()["update"]) if self.latest() else 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into this folder, until this one leaves it or ends.

        Raises:
            ValueError: another process does so already.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(self.folder / "lock"))
            except LockedError as error:
                raise ValueError(
                    f"{self.folder}: expected no other process to train into it, got one that does; wait for its end "
                    "or stop it, or name another folder"
                ) from error
            yield

    @property
    def in_evaluation(self) -> list[str]:
        """The names of the model's parts that stay in evaluation mode."""
        return list(self._entry()["resting"])

    def save(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        update: int,
        *,
        in_evaluation: Sequence[str] = (),
        **others: Stateful | None,
    ) -> None:
        """Write the state after ``update`` updates, and by their names the states of ``others``."""
        state = optimizer.state_dict()["state"]
        held = {f"{row}.{name}": value for row, of in state.items() for name, value in of.items()}
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in held.items() if not isinstance(value, (int, float))}
        for row, group in enumerate(optimizer.param_groups):
            tensors |= {f"group.{row}.{name}": value for name, value in _counted(group, Tensor).items()}
        for own, other in others.items():
            remembered = {} if other is None else other.state_dict()
            tensors |= {f"{own}.{name}": value for name, value in remembered.items()}
        content = safetensors.torch.save(plain(tensors))
        digest = hashlib.sha256(content).hexdigest()
        weights = self.folder / f"update-{update:09d}-{digest[:8]}.safetensors"
        write_atomically(weights, content)
        entry = {
            "format": FORMAT,
            "update": update,
            "weights": weights.name,
            "sha256": digest,
            "settings": dict(self.settings),
            "numbers": {name: value for name, value in held.items() if isinstance(value, (int, float))},
            "groups": [_counted(group, (int, float)) for group in optimizer.param_groups],
            "resting": list(in_evaluation),
            "torch": torch.__version__,
        }
        write_atomically(self.index, json.dumps(entry, indent=1).encode() + b"\n")
        for old in self.folder.glob("update-*.safetensors"):
            if old != weights:
                old.unlink()

    def restore(self, model: nn.Module, optimizer: Optimizer, **others: Stateful | None) -> int:
        """Put the state back; return the number of updates done, 0 if there is no checkpoint yet."""
        if not self.index.is_file():
            return 0
        entry = self._entry()
        for name in self.settings | entry["settings"]:
            found, value = entry["settings"].get(name), self.settings.get(name)
            if found != value:
                was = f"no {name}" if found is None else f"{name} {found}"
                wanted = "none" if value is None else value
                raise ValueError(f"{self.index}: is of a run with {was}, got {wanted}; resume with the same settings")
        weights = self.folder / entry["weights"]
        if weights.is_file() and hashlib.sha256(weights.read_bytes()).hexdigest() != entry["sha256"]:
            raise ValueError(f"{weights}: its SHA-256 is not the one in {self.index.name}; the checkpoint is damaged")
        tensors = read_tensors(weights)
        fill(model, _of("model", tensors), weights)
        device = next(model.parameters()).device
        for own, other in others.items():
            if other is not None:
                other.load_state_dict({name: one.to(device) for name, one in _of(own, tensors).items()})
        state: dict[int, dict[str, Tensor | float]] = {}
        for name, held in (_of("optimizer", tensors) | entry["numbers"]).items():
            row, key = name.split(".", 1)
            state.setdefault(int(row), {})[key] = held
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for row, (group, numbers) in enumerate(zip(optimizer.param_groups, entry["groups"], strict=True)):
            group.update(numbers | {name: one.to(device) for name, one in _of(f"group.{row}", tensors).items()})
        for parameter, values in optimizer.state.items():
            for key, value in values.items():
                # fused optimizers take it that both lie alike in memory
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return int(entry["update"])

    def _entry(self) -> dict[str, Any]:
        try:
            entry = json.loads(self.index.read_text())
            if entry["format"] != FORMAT or ENTRIES - set(entry):
                raise ValueError("another format; resume with the version that wrote it, or name another folder")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.index}: expected a checkpoint ({FORMAT}), got {error}") from error
        return dict(entry)


def _counted(group: Mapping[str, Any], kind: type | tuple[type, ...]) -> dict[str, Any]:
    """Return a group's entries of one type, without the learning rates, which follow from the run's settings."""
    known = ("lr", "initial_lr")
    return {name: one for name, one in group.items() if isinstance(one, kind) and name not in known}


def _of(own: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{own}."): value for name, value in tensors.items() if name.startswith(f"{own}.")}
