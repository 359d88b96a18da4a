"""Weights in files: safetensors for our own, and other people's ``.pt`` without running their code."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from unmask.files import write_atomically

__all__ = ["digest", "fill", "load_weights", "plain", "read_tensors", "save_weights"]


def save_weights(model: nn.Module, path: Path | str) -> None:
    """Write a model's parameters and buffers as safetensors, whole or not at all.

    Raises:
        ValueError: the model's state holds something that is no tensor.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(nn.Linear(2, 1), Path(folder) / "linear.safetensors")
        ...     load_weights(nn.Linear(2, 1), Path(folder) / "linear.safetensors")
    """
    write_atomically(Path(path), _content(model.state_dict()))


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, detached and contiguous, each in memory of its own, as safetensors wants them.

    Raises:
        ValueError: something else is among them, such as a module's extra state.
    """
    layout = torch.contiguous_format
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}: expected a tensor to write to a file, got {type(tensor).__name__}")
    return {name: tensor.detach().to("cpu", copy=True, memory_format=layout) for name, tensor in tensors.items()}


def digest(model: nn.Module) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the file that ``save_weights`` would write.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> before = digest(model)
        >>> _ = nn.init.constant_(model.bias, 9.0)
        >>> len(before), digest(model) == before
        (16, False)
    """
    tensors = {name: one for name, one in model.state_dict().items() if isinstance(one, Tensor)}
    return hashlib.sha256(_content(tensors)).hexdigest()[:16]


def _content(tensors: dict[str, Tensor]) -> bytes:
    return safetensors.torch.save(plain(tensors))


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Load ``.safetensors``, or a ``.pt``/``.pth`` file that ``torch.save`` wrote, read with ``weights_only``.

    A file that keeps the weights under ``"state_dict"`` or ``"model"`` is understood.

    Raises:
        ValueError: the file is missing or unreadable, or its tensors are not the model's; the message names the
            first tensor that is missing, left over or of another shape.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": nn.Linear(2, 1).state_dict()}, Path(folder) / "linear.pt")
        ...     load_weights(nn.Linear(2, 1), Path(folder) / "linear.pt")
    """
    fill(model, read_tensors(Path(path)), Path(path))


def fill(model: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Load tensors that came from ``path``, if they are the model's own.

    Raises:
        ValueError: they are not; the message names the first that is missing, left over or of another shape.
    """
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in found:
            raise ValueError(
                f"{path}: expected a tensor {name!r} of shape {tuple(tensor.shape)}, found none by that name"
            )
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: tensor {name!r}: expected shape {tuple(tensor.shape)}, got {tuple(found[name].shape)}; "
                "is this file from a model with the same widths and classes?"
            )
    if extra := sorted(set(found) - set(wanted)):
        raise ValueError(
            f"{path}: tensor {extra[0]!r} has no place in the model ({len(extra)} such); is it another model?"
        )
    model.load_state_dict(found)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors in a weights file, on the CPU.

    Raises:
        ValueError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the reader raise almost anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0].split(". ")[0]
        raise ValueError(
            f"{path}: expected weights as safetensors, or as .pt holding nothing but tensors, got {reason}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(one, Tensor) for one in content.values()):
        raise ValueError(f"{path}: expected named tensors (a state_dict), got {type(content).__name__}")
    return content
