"""Yanagita & Yamamura 2018: what a run measures, and every artefact from the smoke profile."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from unmask.data import Dataset, load
from unmask.training import Trainer
from unmask.training.objectives import Normal
from unmask_experiments import yanagita2018
from unmask_experiments.artefact import Predicate, interval, judge
from unmask_experiments.drawing import draw
from unmask_experiments.follow import follow
from unmask_experiments.measurement import NetworkMeasurement
from unmask_experiments.perceptrons import WeightPenalty, perceptron
from unmask_experiments.reproduce import Reproduction, find_paper, listing, reproduce
from unmask_experiments.summary import summary
from unmask_experiments.sweeps import identify
from unmask_experiments.yanagita2018 import PAPER, QUICK, SMOKE, grid, run

PUBLISHED = {"table1", "table2", "fig1a", "fig1b", "fig2", "fig3a", "fig3b", "disc1", "disc2", "adam"}


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    made = Reproduction(
        paper=yanagita2018, folder=folder / "yanagita2018", work=folder / "work", profile="smoke", seeds=1
    )
    made.run()
    return made


@pytest.fixture(scope="module")
def records(reproduction):
    return {record["artefact"]: record for record in reproduction.compute()}


def test_the_smoke_profile_makes_every_artefact(reproduction, records):
    assert set(records) >= PUBLISHED
    for name, record in records.items():
        assert json.loads((reproduction.folder / f"{name}.json").read_text())["artefact"] == name
        assert set(record["published"]) <= set(record["measured"]), name
        assert record["missing"] == []
        assert all(claim["verdict"] in ("reproduced", "partly", "not reproduced") for claim in record["claims"]), name
        if record["panels"]:
            figure = (reproduction.folder / f"{name}.svg").read_text()
            assert ElementTree.fromstring(figure).tag.endswith("svg")
            assert "shorter than the paper" in figure


def test_the_summary_names_the_shorter_profile_and_every_claim(reproduction, records):
    text = summary(reproduction.folder.parent, [yanagita2018])
    assert "table2 (profile smoke)" in text
    assert all(claim["claim"] in text for record in records.values() for claim in record["claims"])


@pytest.mark.parametrize("name", ["table2", "fig1b", "adam", "overfitting"])
def test_missing_runs_are_named_and_nothing_is_put_in_their_place(tmp_path, name):
    empty = Reproduction(paper=yanagita2018, folder=tmp_path, work=tmp_path, profile="smoke", seeds=1)
    (record,) = empty.compute(name)
    assert len(record["missing"]) == len(empty.needed(name))
    assert record["measured"] == {}
    assert {claim["verdict"] for claim in record["claims"]} == {"not judged"}


def test_one_edited_run_stops_the_artefact(reproduction, tmp_path):
    config = replace(SMOKE, learning_rate=0.01)
    path = reproduction.folder / "runs" / f"{identify(config)}.json"
    copy = tmp_path / "runs" / path.name
    copy.parent.mkdir()
    copy.write_text(path.read_text().replace('"errors": ', '"errors": 1', 1))
    tampered = Reproduction(paper=yanagita2018, folder=tmp_path, work=tmp_path, profile="smoke", seeds=1)
    with pytest.raises(ValueError, match=f"{path.name}.*changed by hand"):
        list(tampered.compute("fig2"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profile": "long"}, "profile: expected smoke, quick or paper, got 'long'"),
        ({"seeds": 0}, "seeds: expected at"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        Reproduction(paper=yanagita2018, folder=tmp_path, work=tmp_path, **settings)


def test_an_unknown_artefact_lists_the_known_ones(reproduction):
    with pytest.raises(ValueError, match=r"artefact: expected one of table1, table2, .*, got 'table9'"):
        reproduction.needed("table9")


def test_the_paper_profile_is_the_papers():
    assert (PAPER.updates, PAPER.batch_size, PAPER.widths, PAPER.epsilon) == (100_000, 125, (600, 128), 0.25)
    assert {400, 4_000, 10_000, 40_000, 100_000} <= set(PAPER.moments)
    configs = grid(PAPER, seeds=3)
    assert len({identify(config) for config in configs}) == len(configs)
    rates = {one.learning_rate for one in configs if one.optimizer == "adam" and one.updates == 100_000}
    assert len(rates) >= 10
    assert (min(rates), max(rates)) == (0.00075, 0.1)
    for rate in (0.01, 0.001):
        seeds = {one.seed for one in configs if one == replace(PAPER, learning_rate=rate, seed=one.seed)}
        assert seeds == {0, 1, 2}
    assert QUICK.updates < PAPER.updates


@pytest.fixture
def steep():
    """A linear network on two classes whose log-odds are 400 (x_0 - x_1)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data.copy_(400 * torch.eye(2))
    return model


def test_a_moment_sorts_images_into_the_regimes_that_arithmetic_gives(steep):
    leads = torch.tensor([1.0, 10.0, 16.0, 17.5, 50.0, 86.0, 110.0, 300.0])
    images = (0.5 + torch.stack([leads, -leads], 1) / 800).view(-1, 1, 1, 2)
    data = Dataset(name="two", images=images, labels=torch.zeros(8, dtype=torch.int64), classes=("0", "1"))
    moment = NetworkMeasurement(epsilon=0.1, epsilons=[0.05, 0.1], repairs=[0.1], test=data, train=data, slow_images=8)
    found = moment(steep)
    assert found["regimes"] == [3, 3, 2]
    assert found["recast_regimes"] == [4, 4, 0]
    # The step of 0.1 takes 80 off the log-odds; where p_y rounds to 1, only the other class's half of it is taken.
    assert found["attacks"]["log-odds"]["standing"] == [[0, 1, 2]]
    assert sum(found["attacks"]["as published"]["standing"][1]) == 4
    assert found["slow"]["standing"]["PGD log-odds"] == [0, 1, 2]


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    data = load("digits", "train")
    trainer = Trainer(updates=45, learning_rate=0.01)

    def through(folder, stop):
        model = perceptron(data, (16,), 0)

        def measure(update):
            if update == stop:
                raise KeyboardInterrupt
            return {"norm": model[1].weight.detach().norm().item()}

        return follow(trainer, model, data, measure, work=folder, progress=lambda share: None)[0]

    whole = through(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        through(tmp_path / "killed", 27)
    again = through(tmp_path / "killed", None)
    assert [one["norm"] for one in again.values()] == [one["norm"] for one in whole.values()]
    assert list(again) == list(whole) == [9, 18, 27, 36, 45]


def test_a_run_that_is_stuck_is_measured_after_whole_epochs(tmp_path):
    """Though it says so within the first one, of 539 updates."""
    data = load("digits", "train")
    trainer = Trainer(updates=545, batch_size=2, learning_rate=10.0)
    model = perceptron(data, (16,), 0)
    measured, _ = follow(trainer, model, data, lambda update: {}, work=tmp_path, progress=lambda share: None)
    assert list(measured) == [539, 545]


def test_a_run_that_diverges_says_where():
    record = run(replace(SMOKE, optimizer="sgd", learning_rate=1e30))
    assert record["diverged"]["update"] <= 9
    assert "expected a finite number" in record["diverged"]["message"]


def test_the_penalty_is_tensorflows_l2_loss_on_the_matrices():
    model = perceptron(load("digits", "test"), (4,), 0)
    images, labels = torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2])
    plain = Normal()(model, images, labels)
    with_it = WeightPenalty(objective=Normal(), weight=0.5)(model, images, labels)
    wanted = 0.25 * sum(layer.weight.square().sum() for layer in (model[1], model[3]))
    torch.testing.assert_close(with_it - plain, wanted)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([("above", [99.0, 99.1, 99.2])], "reproduced"),
        ([("above", [90.0, 99.0, 99.9])], "open"),
        ([("above", [90.0, 99.0, 99.9]), ("above", [99.0, 99.1, 99.2])], "partly"),
        ([("above", [90.0, 99.0, 99.9]), ("below", [99.0, 99.1, 99.2])], "not reproduced"),
        ([("below", [99.0, 99.1, 99.2])], "not reproduced"),
        ([("above", [99.0]), ("below", [99.0])], "partly"),
        ([("above", [99.0]), ("above", [])], "not judged"),
    ],
)
def test_a_verdict_follows_from_the_intervals_over_seeds(parts, verdict):
    made = [Predicate(what="it", values=values, side=side, bound=98) for side, values in parts]
    assert judge("claim", *made)["verdict"] == verdict


def test_the_interval_over_seeds_is_students():
    low, high = interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.302653 / 3**0.5)


@pytest.mark.slow
def test_the_command_writes_artefacts_and_the_table_of_both_papers(tmp_path):
    (record,) = reproduce(
        "yanagita2018", artefact="fig2", profile="smoke", seeds=1, results=tmp_path, work=tmp_path / "work"
    )
    assert record["missing"] == []
    assert record["command"] == "unmask reproduce yanagita2018 --artefact fig2 --profile smoke --seeds 1"
    assert {path.name for path in (tmp_path / "yanagita2018").iterdir()} == {"fig2.json", "fig2.svg", "runs"}
    assert "fig2 (profile smoke)" in (tmp_path / "README.md").read_text()


def test_a_figure_has_the_same_bytes_for_the_same_record(reproduction, records):
    assert (reproduction.folder / "fig1b.svg").read_bytes() == draw(records["fig1b"])


def test_the_listing_names_every_artefact_with_its_time():
    rows = listing("yanagita2018", profile="quick", seeds=1)
    assert [name for name, _, _ in rows] == [one.name for one in yanagita2018.ARTEFACTS]
    seconds = {name: time for name, _, time in rows}
    assert seconds["table1"] == 0
    assert 0 < seconds["fig2"] < seconds["table2"]


def test_an_unknown_paper_lists_the_known_ones():
    with pytest.raises(ValueError, match="paper: expected one of yanagita2018, yue2017, vivek2019, got 'kannan2018'"):
        find_paper("kannan2018")
