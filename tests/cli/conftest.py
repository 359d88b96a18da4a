"""Files that the tests of the command line share."""

from __future__ import annotations

import pytest
import torch
from command_line import BOUND, DATA, unmask

from unmask.models.weights import save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory, perceptron):
    """Holds the weights of a trained network, and a file that holds something else."""
    folder = tmp_path_factory.mktemp("files")
    save_weights(perceptron, folder / "weights.safetensors")
    torch.save({"weights": print}, folder / "code.pt")
    return folder


@pytest.fixture(scope="module")
def audits(folder):
    """Two audits of the same 60 digits: of ``trained``, and of ``fixed``, which was never trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("trained", "fixed"):
            unmask(
                "audit",
                f"own:{name}",
                *DATA,
                *BOUND,
                "--samples",
                60,
                "--seed",
                3,
                "--quick",
                "--out",
                folder / name,
            )
    return folder
