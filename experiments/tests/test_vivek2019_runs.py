"""Vivek et al. 2019: a run trains, measures and saves, and is resumed after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from interruptions import killer
from unmask.attacks import FGSM, predict
from unmask.losses import cross_entropy
from unmask.models import load_weights
from unmask.training import Trainer
from unmask_experiments.sweeps import identify
from unmask_experiments.vivek2019 import PAPER, SMOKE, run
from unmask_experiments.vivek2019.config import CIFAR, network, source, trained
from unmask_experiments.vivek2019.evaluate import Evaluation
from unmask_experiments.vivek2019.grid import (
    USUAL_RATE,
    cifar_rows,
    methods,
    precisions,
    starts,
    table3,
    transfers,
)
from unmask_experiments.vivek2019.methods import objective_of
from unmask_experiments.vivek2019.precision import (
    DRAWS,
    precision,
)
from unmask_experiments.vivek2019.train import LAST, SELECTED, images_of


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The record of a run of the proposed training and what it left behind."""
    work = tmp_path_factory.mktemp("work") / "run"
    return run(methods(SMOKE)["proposed"], work=work), work


def test_a_run_keeps_what_the_tables_and_figures_take(kept):
    record, work = kept
    assert record["epochs"]["update"] == [1, 3, 4, 8]
    assert record["epochs"]["learning_rate"] == pytest.approx([0.01, 0.002, 0.002, 0.00008])
    assert [one is None for one in record["epochs"]["validation"]] == [True, True, False, False]
    assert [one["update"] for one in record["curves"]] == [1, 3]
    assert record["readings"]["update"] == [1, 4, 8]
    assert set(record["final"]) == {"last", "selected"}
    for found in record["final"].values():
        assert found["images"] == 30
        assert found["standing"]["worst"] <= min(found["standing"].values())
    assert (work / LAST).is_file()
    assert (work / SELECTED).is_file()


def test_a_run_that_was_killed_ends_as_one_that_was_not(kept, tmp_path):
    config = methods(SMOKE)["proposed"]
    for rows in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(config, work=tmp_path, progress=killer(rows))
    assert timeless(run(config, work=tmp_path)) == timeless(kept[0])
    assert (tmp_path / LAST).read_bytes() == (kept[1] / LAST).read_bytes()
    assert (tmp_path / SELECTED).read_bytes() == (kept[1] / SELECTED).read_bytes()


def test_looking_at_it_on_the_way_changes_nothing(kept, tmp_path):
    run(replace(methods(SMOKE)["proposed"], moments=(), select=False, watch_every=1000), work=tmp_path)
    assert (tmp_path / LAST).read_bytes() == (kept[1] / LAST).read_bytes()


def timeless(record):
    return json.dumps(record | {"epochs": {**record["epochs"], "seconds": None}}, sort_keys=True)


@pytest.mark.slow
def test_a_run_that_is_stuck_begins_again_warmer_and_says_so(tmp_path, monkeypatch):
    for module in ("unmask_experiments.vivek2019.train", "unmask.training.run"):
        monkeypatch.setattr(f"{module}.STUCK_EVERY", 4)
    config = replace(methods(SMOKE)["fgsm"], learning_rate=1e-9)
    whole = run(config, work=tmp_path / "whole")
    assert [one["stuck at"] for one in whole["begun again"]] == [[4], [4]]
    assert len({one["seed"] for one in whole["begun again"]}) == 2
    assert whole["stuck at"] == [4, 8]
    assert whole["epochs"]["learning_rate"][0] == pytest.approx(0.25e-9)
    with pytest.raises(KeyboardInterrupt):
        run(config, work=tmp_path / "killed", progress=killer(4))
    assert timeless(run(config, work=tmp_path / "killed")) == timeless(whole)


def test_starts_that_were_watched_are_kept(tmp_path):
    config = replace(starts(SMOKE)[USUAL_RATE], learning_rate=1e-9)
    whole = run(config, work=tmp_path / "whole")
    assert [one["called"] for one in whole["starts"]] == [[4], [4]]
    assert len({one["seed"] for one in whole["starts"]}) == 2
    with pytest.raises(KeyboardInterrupt):
        run(config, work=tmp_path / "killed", progress=killer(1))
    (kept,) = json.loads((tmp_path / "killed" / "starts.json").read_text())
    assert kept == whole["starts"][0]
    assert run(config, work=tmp_path / "killed") == whole


def test_a_run_that_diverges_says_where(tmp_path):
    record = run(replace(SMOKE, learning_rate=1e30), work=tmp_path)
    assert record["diverged"]["update"] <= 8
    assert "final" not in record


def test_what_trains_in_bfloat16_is_evaluated_in_float32(tmp_path):
    config = replace(SMOKE, precision="bf16-mixed")
    record = run(config, work=tmp_path / "run")
    test = images_of(config).test
    model = network(config, test, seed=0)
    load_weights(model, tmp_path / "run" / LAST)
    measure = Evaluation(epsilon=config.epsilon, step_size=config.step_size, steps=config.steps)
    assert record["final"]["last"]["loss"]["clean"] == pytest.approx(measure(model, test)["loss"]["clean"], rel=1e-6)


@pytest.mark.slow
def test_a_transfer_takes_networks_that_others_have_kept(tmp_path):
    config = transfers(table3(SMOKE))["fgsm_only"]
    target = replace(config, kind="training", sources=())
    for one in (target, *(source(config, name) for name in config.sources)):
        run(one, work=tmp_path / identify(one))
    record = run(config, work=tmp_path / identify(config))
    assert not (tmp_path / identify(config) / "trained").exists()
    test = images_of(config).test
    models = {}
    for one in (target, source(config, "lenet-a")):
        models[one.network] = network(one, test, seed=0).eval()
        load_weights(models[one.network], tmp_path / identify(one) / LAST)
    points = FGSM(epsilon=0.3, loss=cross_entropy)(models["lenet-a"], test.images, test.labels)
    assert record["from"]["lenet-a"] == int((predict(models["lenet+"], points) == test.labels).sum())


def test_copies_with_the_same_weights_are_attacked_alike(tmp_path):
    config = precisions(SMOKE)["pgd"]
    run(trained(config), work=tmp_path / identify(trained(config)))
    weights = tmp_path / identify(trained(config)) / LAST
    save_file({name: one.bfloat16().float() for name, one in load_file(weights).items()}, weights)
    found = precision(config, work=tmp_path / identify(config))
    for attack, draws in found["weights"].items():
        assert len(draws) == DRAWS
        for counts in draws:
            assert counts["rounded"] == counts["moved"] == found["attacks"][attack]["float32"]
            assert counts["rounded only"] == counts["moved only"] == 0


@pytest.mark.slow
def test_a_timing_has_every_method_and_the_bare_loops():
    record = run(replace(SMOKE, kind="timing"))
    assert {"normal", "fgsm_only", "proposed", "pgd", "eat", "bare loop", "bare loop, channels last"} <= set(
        record["seconds"]
    )
    assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in record["seconds"].values())
    assert record["operations"] == pytest.approx(2 * (28 * 28 * 2 * 25 + 14 * 14 * 4 * 2 * 25 + 4 * 49 * 64 + 64 * 10))
    assert record["peak"] > 0


def test_without_its_term_the_proposed_training_is_fgsm_training():
    rows = cifar_rows(CIFAR[SMOKE])
    trained = {}
    for name in ("fgsm_only", "lambda0"):
        config = replace(SMOKE, method=rows[name].method, weight=rows[name].weight)
        images = images_of(config).train
        trained[name] = network(config, images, seed=0).double()
        trainer = Trainer(
            updates=8, batch_size=16, objective=objective_of(config, (), 0), optimizer="momentum",
            learning_rate=0.01, precision="float64", seed=0,
        )  # fmt: skip
        list(trainer(trained[name], images))
    fresh = network(SMOKE, images, seed=0).double()
    for first, one, other in zip(*(model.parameters() for model in (fresh, *trained.values())), strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.equal(first, one)
    assert methods(PAPER)["lambda0"] == methods(PAPER)["fgsm_only"]
    assert rows["lambda0"] != rows["fgsm_only"]  # batch norm sees R-FGSM images there
