"""Weights in files: there and back, and nothing that is in a file is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from unmask.models.weights import load_weights, save_weights


def network(seed=0, hidden=4):
    """With parameters, floating buffers, and an integer one: batch norm's count."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2))
        model(torch.rand(5, 3))
    return model


def assert_same(one, other):
    for (name, ours), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("name", ["new/folder/weights.safetensors", "odd name ü.safetensors"])
def test_what_is_saved_is_loaded(name, tmp_path):
    save_weights(network(), tmp_path / name)
    load_weights(loaded := network(seed=1), tmp_path / name)
    assert_same(loaded, network())


def test_paths_may_be_text(tmp_path):
    save_weights(network(), str(tmp_path / "weights.safetensors"))
    load_weights(loaded := network(seed=1), str(tmp_path / "weights.safetensors"))
    assert_same(loaded, network())


class Counted(nn.Linear):
    """A layer with a state that is no tensor."""

    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        pass


def test_a_state_that_is_no_tensor_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"0\._extra_state: expected a tensor to write to a file, got dict"):
        save_weights(nn.Sequential(Counted(2, 1)), tmp_path / "weights.safetensors")


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": x, "epoch": 3}, lambda x: {"model": x}])
@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_file_of_torch_is_loaded(wrap, old_format, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(network().state_dict()), path, _use_new_zipfile_serialization=not old_format)
    load_weights(loaded := network(seed=1), path)
    assert_same(loaded, network())


def test_weights_in_any_layout_and_used_twice_are_saved(tmp_path):
    convolution = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
    model = nn.Sequential(convolution, convolution)
    save_weights(model, tmp_path / "tied.safetensors")
    other = nn.Conv2d(2, 2, 3)
    load_weights(nn.Sequential(other, other), tmp_path / "tied.safetensors")
    assert_same(other, convolution)


def test_weights_come_in_the_models_own_precision(tmp_path):
    save_weights(network(), tmp_path / "weights.safetensors")
    load_weights(loaded := network(seed=1).double(), tmp_path / "weights.safetensors")
    assert loaded[0].weight.dtype == torch.float64
    assert torch.equal(loaded[0].weight.float(), network()[0].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors | {"2.weight": torch.zeros(7, 4)},
            r"tensor '2.weight': expected shape \(2, 4\), got \(7, 4\); is this file from a model with the same widths",
        ),
        (lambda tensors: {"0.weight": tensors["0.weight"]}, r"expected a tensor '0.bias' of shape \(4,\), found none"),
        (
            lambda tensors: tensors | {"3.weight": torch.zeros(1)},
            r"tensor '3.weight' has no place in the model \(1 such",
        ),
        (lambda tensors: list(tensors.values()), r"expected named tensors \(a state_dict\), got list"),
        (lambda tensors: {"epoch": 3}, r"expected named tensors \(a state_dict\), got dict"),
        (lambda tensors: torch.zeros(3), r"expected named tensors \(a state_dict\), got Tensor"),
    ],
)
def test_tensors_that_are_not_the_models_are_refused(change, message, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(change(dict(network().state_dict())), path)
    loaded = network(seed=1)
    with pytest.raises(ValueError, match=f"weights.pt: {message}"):
        load_weights(loaded, path)
    assert_same(loaded, network(seed=1))


class Intruder:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("dump", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_code_in_a_file_is_not_run(dump, suffix, tmp_path):
    path, trace = tmp_path / f"weights{suffix}", tmp_path / "trace"
    dump({**network().state_dict(), "extra": Intruder(trace)}, path)
    with pytest.raises(ValueError, match=rf"weights{suffix}: expected weights as safetensors, or as .pt holding"):
        load_weights(network(), path)
    assert not trace.exists()
    if suffix == ".pt" and dump is torch.save:
        torch.load(path, weights_only=False)
        assert trace.exists()  # it would have worked


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_cut_short_is_refused(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(network().state_dict(), path)
    else:
        save_weights(network(), path)
    content = path.read_bytes()
    for length in (0, 1, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"weights{suffix}: expected weights as safetensors"):
            load_weights(network(), path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".pt", ".safetensors"]))
@pytest.mark.filterwarnings("ignore")
def test_no_file_brings_it_down(content, suffix, tmp_path):
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="any"):
        load_weights(network(), path)


@pytest.mark.parametrize("name", ["nowhere.pt", "."])
def test_a_file_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(ValueError, match="no such weights file"):
        load_weights(network(), tmp_path / name)
