"""Values in words."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["describe"]


def describe(value: Any) -> str:
    """Return a value in words for tables: functions by name, numbers short; the same in every process.

    Example:
        >>> describe(8 / 255), describe([len, object()])
        ('0.0313725', '[<built-in function len>, <object object>]')
    """
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__).replace("_", " ")
    return f"{value:.6g}" if isinstance(value, float) else re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))
