"""Vivek et al. 2019: every table and figure, from the smoke profile."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict

import pytest

from unmask_experiments import vivek2019
from unmask_experiments.artefact import Panel, Runs
from unmask_experiments.drawing import draw
from unmask_experiments.reproduce import Reproduction
from unmask_experiments.summary import summary
from unmask_experiments.sweeps import identify
from unmask_experiments.vivek2019 import PAPER, SMOKE, cells
from unmask_experiments.vivek2019.config import source, trained
from unmask_experiments.vivek2019.grid import (
    LEADING,
    table3,
)
from unmask_experiments.vivek2019.published import COLUMNS, TABLE_3, TABLE_4

PUBLISHED = {*(f"table{number}" for number in range(1, 8)), "fig1", "fig2", "fig3", "fig4"}


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    made = Reproduction(paper=vivek2019, folder=folder / "vivek2019", work=folder / "work", profile="smoke", seeds=1)
    made.run()
    return made


@pytest.fixture(scope="module")
def records(reproduction):
    return {record["artefact"]: record for record in reproduction.compute()}


def test_the_smoke_profile_makes_every_artefact(reproduction, records):
    assert set(records) >= PUBLISHED | {"noise", "ablation", "single-step", "precision", "stuck", "table4-full"}
    for name, record in records.items():
        assert record["missing"] == [], name
        assert set(record["published"]) <= set(record["measured"]), name
        unjudged = [claim for claim in record["claims"] if claim["verdict"] == "not judged"]
        said = r"n-fgsm: 1 of 2 passes(, trained in bfloat16)?, 1 run at the loss of guessing"
        assert all(re.search(said, one["evidence"]) for one in unjudged), name
        assert record["panels"] or "table" in record
        for panel in record["panels"]:
            assert any(one.startswith(panel["series"]) and record["series"][one]["x"] for one in record["series"])


def test_every_cell_of_every_table_is_there(records):
    for record in records.values():
        for row in record.get("table", {"rows": ()})["rows"]:
            missing = [one for one in record["table"]["columns"] if f"{row} {one}" not in record["measured"]]
            shallow = record["artefact"] == "table1" and row != "lenet-d"
            assert missing == (["layer 5"] if shallow else []), (record["artefact"], row)


@pytest.mark.parametrize(("name", "rows", "columns"), [("table3", TABLE_3, "mnist"), ("table4", TABLE_4, "cifar10")])
def test_the_white_box_tables_have_the_published_rows_and_the_second_readings(records, name, rows, columns):
    table = records[name]["table"]
    assert {*rows, "fgsm_only", "rfgsm_only"} <= set(table["rows"])
    assert (*COLUMNS[columns], "worst", "passes", "seconds") == tuple(table["columns"])
    assert len(records[name]["published"]) == 5 * len(rows)


def test_a_row_that_stayed_shorter_is_marked(records, reproduction):
    said = records["table3"]["table"]["notes"]
    assert {row for row, text in said.items() if "1 of 2 passes" in text} == table3(SMOKE).keys() - LEADING
    text = summary(reproduction.folder.parent, [vivek2019])
    assert re.search(r"\| eat_b \(1 of 2 passes[^|]*\) \| 1 \|", text)
    assert re.search(r"\| n seeds \| pgd \([^|]*loss of guessing[^|]*\) \| proposed", text)  # columns of table 5
    assert "| lenet-d | 1 | 300 / 300 | 300 / 300 | 300 / 300 | 300 / 300 | 10 / 10 |" in text
    assert "| lenet-a | 1 | 64 / 64 | 64 / 64 | 128 / 128 | 10 / 10 |  |" in text
    for record in records.values():
        for claim in record["claims"]:
            assert f"| {claim['claim']} | {claim['verdict']} |" in text
            assert f"- **{claim['verdict']}**: {claim['claim']}. {claim['evidence']}\n" in text


def test_how_runs_were_made_is_told_without_an_interval(records, tmp_path):
    record = copy.deepcopy(records["table3"])
    for key in ("proposed clean", "proposed seconds"):
        record["measured"][key] |= {"mean": 50.0, "low": -1.0, "high": 101.0}
    (tmp_path / "vivek2019").mkdir()
    (tmp_path / "vivek2019" / "table3.json").write_text(json.dumps(record))
    row = re.search(r"^\| proposed[ (].*", summary(tmp_path, [vivek2019]), re.MULTILINE)[0]
    assert "| 50 (-1 to 101)" in row
    assert row.endswith("| 50 |")


def test_a_story_tells_a_mean_or_the_value_of_every_seed(records, tmp_path):
    record = copy.deepcopy(records["table3"])
    record["measured"]["pgd fgsm"] |= {"mean": 20.0, "low": 10.0, "high": 30.0, "values": [15.0, 20.0, 25.0]}
    record["story"] = "It keeps {pgd fgsm}: {pgd fgsm, each}. {no such} {no such, each}."
    (tmp_path / "vivek2019").mkdir()
    (tmp_path / "vivek2019" / "table3.json").write_text(json.dumps(record))
    assert "\nIt keeps 20 (10 to 30): 15, 20 and 25. not run not run.\n" in summary(tmp_path, [vivek2019])


def test_stories_tell_what_is_measured(records):
    told = [(name, key) for name, one in records.items() for key in re.findall(r"\{([^{}]+)\}", one["story"])]
    assert len(told) > 50
    assert [one for one in told if one[1].removesuffix(", each") not in records[one[0]]["measured"]] == []


def test_what_is_said_in_short_is_measured_and_said_of_the_full_length_alone(records, reproduction):
    wanted = [one.split(": ", 1) for one in re.findall(r"\{([^{}]+)\}", vivek2019.IN_SHORT)]
    assert len(wanted) > 5
    measured = {(name, key) for name, record in records.items() for key in record["measured"]}
    assert [one for one in wanted if (one[0], one[1].removesuffix(", each")) not in measured] == []
    said = vivek2019.IN_SHORT.partition("{")[0]
    assert said not in summary(reproduction.folder.parent, [vivek2019])


def test_a_run_that_ends_at_the_loss_of_guessing_is_said_to(reproduction, monkeypatch):
    monkeypatch.setattr(cells, "CLASSES", 1)  # of which guessing costs nothing, and any training more
    (record,) = reproduction.compute("single-step")
    assert "at the loss of guessing in the end" in record["table"]["notes"]["n-fgsm"]
    (claim, _) = record["claims"]
    assert "n-fgsm worst minus" not in claim["evidence"]
    assert "n-fgsm: " in claim["evidence"]


def test_figures_leave_out_a_run_that_diverged(reproduction):
    fig2 = next(one for one in vivek2019.ARTEFACTS if one.name == "fig2")
    (config,) = fig2.needs(SMOKE)
    lost = {"diverged": {"update": 1}, "readings": {"update": [1], "logit_distance": [None], "clean_accuracy": [0.1]}}
    outcome = fig2.compute(Runs({identify(config): {"result": lost}}, SMOKE, 1))
    assert outcome.measured["largest distance, PGD"] == []


def test_panels_are_three_in_a_row(records):
    tall, low = (re.search(r'height="([\d.]+)pt"', draw(records[name]).decode()) for name in ("fig1", "fig2"))
    assert float(tall[1]) == 2 * float(low[1])


@pytest.mark.parametrize("values", [[3.0], [2.0, 4.0], [2.0, 3.0, 4.0]])
def test_the_range_of_the_seeds_is_shaded(values):
    low, high = (None, None) if len(values) == 1 else (-1e6, 1e6)  # as wide as t-intervals over few seeds are
    ours = {"x": [1], "mean": [3.0], "low": [low], "high": [high], "values": [values]}
    panel = asdict(Panel(title="t", xlabel="x", ylabel="y"))
    svg = draw({"series": {"ours": ours}, "panels": [panel], "profile": "smoke"}).decode()
    assert ("FillBetween" in svg) == (len(values) > 1)
    assert "1e6" not in svg
    assert "1000000" not in svg


@pytest.mark.parametrize(("level", "ticks"), [("", 1), ("loss", 2)])
def test_panels_of_a_level_have_one_scale(level, ticks):
    series = {
        f"{name} line": {
            "x": [0, 1],
            "mean": [0, height],
            "low": [None] * 2,
            "high": [None] * 2,
            "values": [[0], [height]],
        }
        for name, height in (("flat:", 3), ("steep:", 100))
    }
    panels = [asdict(Panel(title="", xlabel="", ylabel="", series=name.split()[0], level=level)) for name in series]
    assert draw({"series": series, "panels": panels, "profile": "paper"}).count(b">100<") == ticks


@pytest.mark.parametrize("name", sorted(PUBLISHED - {"table1"}))
def test_missing_runs_are_named_and_nothing_is_put_in_their_place(tmp_path, name):
    empty = Reproduction(paper=vivek2019, folder=tmp_path, work=tmp_path, profile="smoke", seeds=1)
    (record,) = empty.compute(name)
    assert len(record["missing"]) == len(empty.needed(name)) > 0
    assert record["measured"] == {}
    assert {claim["verdict"] for claim in record["claims"]} <= {"not judged"}
    if record["panels"]:
        assert draw(record).count(b">not run<") == len(record["panels"])


@pytest.mark.parametrize("artefact", vivek2019.ARTEFACTS, ids=lambda one: one.name)
def test_no_run_is_done_that_an_artefact_does_not_use(tmp_path, artefact):
    runs = Runs({}, SMOKE, seeds=3)
    artefact.compute(runs)
    made = Reproduction(paper=vivek2019, folder=tmp_path, work=tmp_path, profile="smoke", seeds=3)
    used = set(made.needed(artefact.name)) & set(runs.asked.values())
    attacked = {trained(one) for one in used} | {source(one, name) for one in used for name in one.sources}
    assert set(made.needed(artefact.name)) <= used | attacked


def test_what_takes_a_gpu_is_run_only_on_request(tmp_path):
    made = Reproduction(paper=vivek2019, folder=tmp_path, work=tmp_path, profile="paper", seeds=3)
    everything, full = made.needed(), made.needed("table4-full")
    assert len(everything) + len(full) == len(vivek2019.grid(PAPER, seeds=3))
    assert {one.network for one in full if one.kind == "training"} == {"resnet-34"}
    assert {(one.copy, one.narrowing) for one in full} == {("", 1)}
    assert "CIFAR-10 (JPEG copy)" in {one.shown_data for one in everything}
