"""Records of runs: one JSON file each, named by a hash of its configuration, with a digest of its own content."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from unmask.files import write_atomically

FORMAT = "unmask-run/1"


class SweepError(RuntimeError):
    """The sweep cannot go on; what was finished is on disk.

    Example:
        >>> issubclass(SweepError, RuntimeError)
        True
    """


def identify(config: Any) -> str:
    """Return the name of a configuration: 16 hex digits, a hash of the settings that differ from their defaults.

    A setting that is added later, with a default that means what was done before, therefore renames nothing.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Config:
        ...     seed: int = 0
        >>> identify(Config(seed=1)), identify(Config(seed=1)) == identify(Config(seed=2))
        ('fbe47f6d82b435a8', False)
    """
    changed = {
        one.name: getattr(config, one.name) for one in fields(config) if getattr(config, one.name) != _default(one)
    }
    return hashlib.sha256(_canonical(changed)).hexdigest()[:16]


def record_of(folder: Path, config: Any) -> Path:
    """Return the path of a configuration's record, whether it exists or not."""
    return folder / f"{identify(config)}.json"


def write_run(folder: Path, config: Any, content: Mapping[str, Any]) -> None:
    """Write the record of a run: its configuration, and the content that ``execute`` returned.

    Raises:
        SweepError: the folder cannot be written, or the disk is full.
    """
    name = identify(config)
    record = {
        "format": FORMAT,
        "name": name,
        "config": asdict(config),
        **content,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    failed = folder / f"{name}.failed.json"
    path = failed if content["error"] else record_of(folder, config)
    try:
        write_atomically(
            path, json.dumps({**record, "digest": _digest(record)}, indent=0, allow_nan=False).encode() + b"\n"
        )
    except OSError as error:
        raise SweepError(f"{path}: cannot be written ({error.strerror}); finished records are safe") from error
    if path != failed:
        failed.unlink(missing_ok=True)


def read_run(path: Path) -> dict[str, Any]:
    """Read a run's record and check it.

    Raises:
        ValueError: the file is half-written, was edited, or is something else.
    """
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}")
        found = _digest(record)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path}: expected a whole record ({FORMAT}), got {error}; remove it and run again") from error
    if record.get("digest") != found:
        raise ValueError(
            f"{path}: its content has the digest {found}, expected {record.get('digest')}: it was changed by hand or "
            "damaged; remove it and run again"
        )
    stem = path.name.split(".")[0]
    if stem != record.get("name"):
        raise ValueError(f"{path}: expected the record of {stem}, got that of {record.get('name')}")
    return dict(record)


def run_environment(threads: int) -> dict[str, Any]:
    """Return versions, machine and commit, for a record.

    Example:
        >>> run_environment(2)["threads"]
        2
    """
    names = ("unmask", "torch", "numpy", "scipy", "scikit-learn")
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "commit": _commit(),
        "threads": threads,
        "cores": os.cpu_count(),
        "device": "cpu",
        "machine": platform.machine(),
        "system": platform.system(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _commit() -> str | None:
    """Return the commit of the source that runs, with ``+`` where files differ from it; None outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def finite(value: Any) -> Any:
    """Return the same value with None in place of numbers that JSON does not have.

    Example:
        >>> finite({"loss": [1.0, math.inf]})
        {'loss': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _default(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of all but the digest itself."""
    return hashlib.sha256(_canonical({key: value for key, value in record.items() if key != "digest"})).hexdigest()
