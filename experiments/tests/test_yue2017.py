"""Yue 2017: what a run measures, and every artefact from the smoke profile."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from unmask_experiments import yue2017
from unmask_experiments.reproduce import Reproduction
from unmask_experiments.sweeps import identify
from unmask_experiments.yue2017 import PAPER, SMOKE, grid, run

PUBLISHED = {
    *("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "fig6-sgd", "fig7", "fig8", "float64", "fig9", "fig10"),
    *("sec7", "fig12"),
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    made = Reproduction(paper=yue2017, folder=folder / "yue2017", work=folder / "work", profile="smoke", seeds=1)
    made.run()
    return {record["artefact"]: record for record in made.compute()}


def test_the_smoke_profile_makes_every_artefact(records):
    assert set(records) >= PUBLISHED
    for name, record in records.items():
        assert record["missing"] == []
        assert set(record["published"]) <= set(record["measured"]), name
        assert all(claim["verdict"] != "not judged" for claim in record["claims"]), name
        assert record["panels"] or record["images"] or name == "assumptions"


def test_an_epoch_keeps_losses_and_norms_and_a_moment_the_attacks():
    record = run(SMOKE)
    assert record["epochs"]["epoch"] == [1, 2, 3, 4]
    assert {"loss", "validation_loss", "validation_errors", "spectral_norms"} <= set(record["epochs"])
    assert all(len(norms) == 3 for norms in record["epochs"]["spectral_norms"])
    specimen = record["moments"][-1]["specimen"]
    assert len(base64.b64decode(specimen["clean"])) == 64


@pytest.mark.slow
def test_the_float64_run_attacks_the_float32_network_of_its_seed(tmp_path):
    alone = run(replace(SMOKE, precision="float64"), work=tmp_path / "alone")
    single = SMOKE
    run(single, work=tmp_path / identify(single))
    shared = run(replace(SMOKE, precision="float64"), work=tmp_path / "shared")
    assert not (tmp_path / "shared" / "twin").exists()
    twins = [[moment["twin"]["standing"] for moment in record["moments"]] for record in (alone, shared)]
    assert twins[0] == twins[1]


def test_the_paper_profile_is_the_papers():
    assert (PAPER.widths, PAPER.learning_rate, PAPER.l2) == ((200, 300), 0.001, 0.001)
    assert PAPER.epochs >= 200
    configs = grid(PAPER, seeds=3)
    assert len({identify(config) for config in configs}) == len(configs)
    curves = [one for one in configs if one.widths == PAPER.widths and one.data == "mnist" and not one.examine]
    assert {one.seed for one in curves} == {0, 1, 2}
    assert len(curves) == 24
