"""Several processes: the split of a batch, the failure that came first, and refusals, all seen from one process."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.training.distributed import LOST, Spread, WorkerError, _first, join, launch, reporting


@settings(max_examples=30)
@given(rows=st.integers(1, 40), size=st.integers(1, 9))
def test_every_row_counts_once(rows, size):
    batch = torch.randperm(rows)
    losses = torch.rand(rows, dtype=torch.float64)
    shares = [Spread(fabric=SimpleNamespace(world_size=size, global_rank=rank)).share(batch) for rank in range(size)]
    assert torch.equal(torch.cat([own for own, weight in shares if weight]), batch)
    assert all(len(own) for own, _ in shares)
    mean = sum(weight * losses[own].mean() for own, weight in shares) / size
    assert mean.item() == pytest.approx(losses.mean().item())


def failure(code, message="", at=100):
    return SimpleNamespace(exitcode=code, message=message, timestamp=at)


@pytest.mark.parametrize(
    ("failures", "code", "said"),
    [
        ({0: failure(-15), 1: failure(-9, at=101)}, -9, "rank 1: its process was killed by SIGKILL, and the others"),
        ({0: failure(LOST, "it lost touch", 99), 1: failure(-9)}, -9, "rank 1: its process was killed by SIGKILL"),
        ({0: failure(LOST, "it lost touch", 99), 1: failure(1, "out of memory")}, 1, "rank 1: out of memory"),
        ({1: failure(2, "data: none"), 0: failure(2, "data: none", 99)}, 2, "rank 0: data: none"),
        ({3: failure(LOST, "it lost touch with another")}, LOST, "rank 3: it lost touch with another"),
    ],
)
def test_the_process_with_which_it_began_is_named(failures, code, said):
    error = _first(failures)
    assert isinstance(error, WorkerError)
    assert str(error).startswith(said)
    assert error.code == code


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("data:\n none"), 2, "data: none"),
        (RuntimeError("[x/gloo/pair.cc] Closed by peer. See"), LOST, "it lost touch with another process ([x/gloo/"),
    ],
)
def test_what_went_wrong_is_left_to_the_launcher(error, code, message, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(SystemExit) as caught, reporting(lambda error: 2):
        raise error
    assert caught.value.code == code
    assert json.loads((tmp_path / "error.json").read_text())["message"].startswith(message)
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    with pytest.raises(type(error)), reporting(lambda error: 2):
        raise error


# --- it refuses what cannot work


def test_without_lightning_fabric_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ValueError, match=r"devices: several need lightning-fabric; install unmask\[fabric\]"):
        join(accelerator="cpu", devices=2, nodes=1, strategy="ddp")


@pytest.mark.slow
def test_the_launcher_must_have_started_as_many(monkeypatch):
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="devices and nodes: expected 3 processes, as were started, got 2 x 1"):
        join(accelerator="cpu", devices=2, nodes=1, strategy="ddp")


def test_several_machines_must_know_where_to_meet(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.delenv("NODE_RANK", raising=False)
    with pytest.raises(ValueError, match="nodes: expected MASTER_PORT, NODE_RANK in the environment of each; or use"):
        launch([], devices=1, nodes=2)
