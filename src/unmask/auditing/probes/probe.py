"""The shape of a probe: a symptom of masking, what it needs, and the finding that it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.trial import Trial
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A symptom, measured on an audited model, and its remedy, tried where the symptom is present.

    A subclass gives the first two attributes a value, defines the call, and changes what differs for it.

    Attributes:
        name: the suspected cause.
        threshold: the measured value from which on the symptom is present.
        needs_gradients: False where a model without gradients can be asked too.
        calls_for_queries: True where the symptom means that gradients are useless as such: the search for the robust
            accuracy then uses queries and a surrogate as well.

    Example:
        >>> Probe(name="a cause").needs_gradients
        True
    """

    name: str = ""
    threshold: float = 0.0
    needs_gradients: bool = True
    calls_for_queries: bool = False

    def skip(self, context: Context) -> str | None:
        """Return why the probe means nothing for this model: words for the report, or "" if it need not be told.

        None means that it is asked.
        """
        return None

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return the trials that measuring the symptom runs, from which the audit's cost is foreseen."""
        return ()

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom, and what the remedy gains."""
        raise NotImplementedError
