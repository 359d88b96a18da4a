"""The number of threads: one for a small network, as many as before for a large one, and afterwards as before."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from unmask.models import build
from unmask.numerics import threads_for
from unmask.numerics.threads import SHARED, operations


@pytest.fixture(autouse=True)
def three():
    """Three threads before; the test process's own number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_operations_are_those_of_products_and_convolutions():
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))
    expected = 2 * 4 * 9 * 6 * 6 + 2 * 4 * 6 * 6 * 10
    assert operations(layers, torch.zeros(1, 1, 8, 8)) == expected
    assert operations(layers, torch.zeros(5, 1, 8, 8)) == 5 * expected
    assert operations(lambda images: images.flatten(1), torch.zeros(1, 1, 8, 8)) == 0


def test_a_small_network_gets_one_thread():
    images = torch.zeros(7, 1, 8, 8)
    with threads_for(build("mlp", inputs=(1, 8, 8), classes=10, widths=(256, 128)), images) as threads:
        assert threads == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_a_large_network_keeps_the_threads():
    """The size of a batch counts too."""
    layers, images = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1024)), torch.zeros(1, 1, 32, 32)
    enough = int(SHARED / operations(layers, images)) + 1
    with threads_for(layers, images, batch_size=enough) as threads:
        assert threads == torch.get_num_threads() == 3
    with threads_for(layers, images, batch_size=enough - 1) as threads:
        assert threads == 1


def test_the_threads_come_back_after_an_error():
    with pytest.raises(RuntimeError, match="no luck"), threads_for(nn.Flatten(), torch.zeros(1, 1, 8, 8)):
        raise RuntimeError("no luck")
    assert torch.get_num_threads() == 3


def test_the_model_is_as_it_was():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.Flatten())
    state = torch.get_rng_state()
    with threads_for(model, torch.ones(2, 1, 8, 8)):
        pass
    assert model.training
    assert int(model[0].num_batches_tracked) == 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_the_command_line_lets_waiting_threads_sleep(given, expected, monkeypatch):
    """Unless the user says otherwise, and before torch is loaded."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = (
        "import os, sys; from unmask.cli import main\n"
        "try: main(['diff', 'none', 'none'])\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [expected, "False"]
