"""An interruption of a run at one of its reports of progress."""

from __future__ import annotations


def killer(rows):
    """Ends the process, as it were, after so many rows."""
    seen = []

    def progress(share):
        seen.append(share)
        if len(seen) == rows:
            raise KeyboardInterrupt

    return progress
