"""`Report`: the record of an audit with its text, its page and its adversarial examples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unmask.files import write_atomically
from unmask.reports.record import AuditRecord
from unmask.reports.words import as_text

__all__ = ["Report", "write_page"]


@dataclass(frozen=True, kw_only=True)
class Report(AuditRecord):
    """An audit's record that can be read by people: the same fields, with a text and a page.

    Attributes:
        adversarial_examples: the images that fooled the model, as the bytes of a safetensors file; a report that was
            read from JSON has none.

    Example:
        >>> from unmask.reports import Verdict
        >>> from unmask.statistics import Proportion
        >>> share = Proportion(count=9, total=10, low=0.55, high=0.99)
        >>> report = Report(
        ...     model_name="net", data_name="digits", samples=10, classes=10, epsilon=0.1, reference="FGSM",
        ...     clean=share, claimed=share, robust=share, findings=[], attacks=[],
        ...     decision=Verdict(answer="not masked", reason="No remedy helps."),
        ... )
        >>> print(report.to_text())
        net
        Not masked: claimed accuracy 90.0 %, robust accuracy 90.0 % (95 % interval 55.0
        to 99.0).
        No remedy helps.
        <BLANKLINE>
        On 10 images of digits, L-infinity epsilon 0.1 (95 % intervals)
          clean accuracy    90.0 % (55.0 to 99.0)   without attack
          claimed accuracy  90.0 % (55.0 to 99.0)   under FGSM
          robust accuracy   90.0 % (55.0 to 99.0)   under all 0 attacks
        <BLANKLINE>
    """

    adversarial_examples: bytes = field(default=b"", repr=False, compare=False)

    def save_adversarial_examples(self, path: str | os.PathLike[str]) -> None:
        """Write the images that fooled the model, for ``unmask verify``, whole or not at all.

        ``report.safetensors`` beside ``report.json`` is found by itself. The file holds the clean images too, so that
        it is about twice the size of the images that were fooled.

        Raises:
            ValueError: the report was read from JSON, which holds no images.
        """
        if not self.adversarial_examples:
            raise ValueError("adversarial examples: expected a report that audit() returned, got one read from JSON")
        write_atomically(Path(path), self.adversarial_examples)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as one HTML page that needs nothing else, whole or not at all."""
        write_page([self], path)

    def to_text(self) -> str:
        """Return the report as plain text, 80 columns wide."""
        return as_text(self)


def write_page(records: Sequence[AuditRecord], path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Write one HTML page about one model, or about several side by side, that needs nothing else; whole or not at all.

    Raises:
        ValueError: there is no record.

    Example:
        >>> write_page([], "page.html")
        Traceback (most recent call last):
        ValueError: records: expected at least one, got none
    """
    from unmask.reports.page import render_page

    if title is None:
        several = len(records) > 1
        title = f"Robustness audits of {len(records)} models" if several else "Robustness audit"
        title += "" if several or not records else f": {records[0].model_name}"
    # A file name that is not valid Unicode may have become a model's name: it must not cost the user the report.
    write_atomically(Path(path), render_page(records, title=title).encode(errors="replace"))
