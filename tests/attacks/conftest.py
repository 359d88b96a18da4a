"""Images that the tests of EOT, BPDA, transfer and surrogates share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def few(held_out):
    """Return 60 images of digits and their labels."""
    return held_out.images[:60], held_out.labels[:60]
