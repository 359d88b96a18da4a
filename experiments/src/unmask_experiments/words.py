"""Numbers and lists in words."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """Return a number of things in words.

    Example:
        >>> counted(1, "run"), counted(7, "run")
        ('1 run', '7 runs')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def joined(words: Sequence[str]) -> str:
    """Return words with commas between them and "and" before the last.

    Example:
        >>> joined(["15", "20", "25"])
        '15, 20 and 25'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
