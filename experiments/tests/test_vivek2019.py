"""Vivek et al. 2019: what a run trains, measures and keeps, and every artefact from the smoke profile."""

from __future__ import annotations

import copy
import json
import re
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from unmask_experiments import vivek2019
from unmask_experiments.artefact import Panel, Runs
from unmask_experiments.drawing import draw
from unmask_experiments.follow import follow, weights_folder
from unmask_experiments.reproduce import Reproduction
from unmask_experiments.summary import summary
from unmask_experiments.sweeps import identify
from unmask_experiments.sweeps.execution import claimed
from unmask_experiments.vivek2019 import PAPER, QUICK, SMOKE, cells, run, train
from unmask_experiments.vivek2019.config import CIFAR, FULL, NARROW, network, source, trained
from unmask_experiments.vivek2019.evaluate import Curves, Evaluation, alignment, in_parts, pgd_ends
from unmask_experiments.vivek2019.figures import growth
from unmask_experiments.vivek2019.grid import (
    LEADING,
    USUAL_RATE,
    ablation,
    cifar_rows,
    ensembles,
    methods,
    precisions,
    single_step,
    sources_of,
    starts,
    table3,
    transfers,
)
from unmask_experiments.vivek2019.methods import METHODS, objective_of, passes
from unmask_experiments.vivek2019.precision import (
    DRAWS,
    InBfloat16,
    moved_weights,
    precision,
    rounded_to_bfloat16,
    rounded_weights,
)
from unmask_experiments.vivek2019.published import COLUMNS, TABLE_3, TABLE_4
from unmask_experiments.vivek2019.train import LAST, SELECTED, images_of

import unmask.training.run
from unmask.attacks import FGSM, PGD
from unmask.attacks.trial import predict
from unmask.data import Dataset, load
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy
from unmask.models import build
from unmask.models.weights import load_weights
from unmask.numerics import Batches
from unmask.training import Trainer
from unmask.training.objectives import Adversarial, Augmented, LogitDistance

PUBLISHED = {*(f"table{number}" for number in range(1, 8)), "fig1", "fig2", "fig3", "fig4"}
BATCHES = Batches(size=500)


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    made = Reproduction(paper=vivek2019, folder=folder / "vivek2019", work=folder / "work", profile="smoke", seeds=1)
    made.run()
    return made


@pytest.fixture(scope="module")
def records(reproduction):
    return {record["artefact"]: record for record in reproduction.compute()}


# --- the artefacts


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


# --- the runs


def test_the_paper_profile_is_the_recipe(tmp_path):
    assert (PAPER.learning_rate, PAPER.weight_decay, PAPER.batch_size, PAPER.epochs) == (0.01, 5e-4, 32, 20)
    assert (PAPER.epsilon, PAPER.weight, PAPER.alpha, PAPER.steps) == (0.3, 5, 0.01, (40, 40, 100))
    schedule = train.Attempt(config=PAPER, images=Sized(50_000), sources=(), number=0, work=tmp_path).schedule()
    epochs = [schedule(1563 * epoch) for epoch in (5, 6, 11, 16)]
    assert epochs == pytest.approx([1, 1 / 5, 1 / 25, 1 / 125])
    rows = methods(PAPER)
    assert objective_of(rows["proposed"], (), 0) == LogitDistance(epsilon=0.3, alpha=0.01, loss=cross_entropy)
    assert objective_of(rows["pgd"], (), 0) == Adversarial(
        attack=PGD(epsilon=0.3, steps=40, step_size=0.01, keep="last", loss=cross_entropy)
    )
    assert isinstance(objective_of(methods(NARROW)["normal"], (), 0), Augmented)
    assert (FULL.epsilon, FULL.steps, FULL.training_steps) == (8 / 255, (7, 7, 20), 7)


class Sized:
    """Images of which only the number matters."""

    def __init__(self, count):
        self.train = torch.zeros(count, 1, 28, 28)
        self.train.classes, self.train.images = "0123456789", self.train[:1]


def test_the_order_of_the_runs():
    configs, rows = vivek2019.grid(PAPER, seeds=3), table3(PAPER)
    assert len({identify(config) for config in configs}) == len(configs)
    assert configs[:5] == [rows[name] for name in ("normal", "fgsm", "fgsm_only", "proposed", "pgd")]
    place = {name: configs.index(row) for name, row in table3(PAPER).items()}
    assert max(place, key=place.get) == "eat_b"
    first_repeat = next(row for row, one in enumerate(configs) if one.seed)
    assert first_repeat > place["eat_b"]
    for name in ("fgsm", "proposed", "pgd"):
        assert {one.seed for one in configs if replace(one, seed=0) == rows[name]} == {0, 1, 2}
    for row in [rows[name] for name in ensembles(PAPER)]:
        assert all(configs.index(one) < configs.index(row) for one in sources_of([row]))


@pytest.mark.parametrize("profile", [PAPER, QUICK, SMOKE], ids=["paper", "quick", "smoke"])
def test_every_run_finds_its_sources_among_the_others(profile):
    configs = set(vivek2019.grid(profile, seeds=1))
    for config in configs:
        assert {source(config, name) for name in config.sources} <= configs
    assert len(sources_of(table3(profile).values())) == 4


def test_the_ablation_is_a_whole_grid_around_the_proposed_run():
    rows = ablation(PAPER)
    proposed, central = methods(PAPER)["proposed"], rows["weight 5, alpha 0.01"]
    assert central == replace(proposed, epochs=5, moments=(), select=False, watch_every=500, curve_images=1_000)
    assert {(one.weight, one.alpha) for one in rows.values()} >= {
        (w, a) for w in (1, 5, 25) for a in (0.01, 0.05, 0.15)
    }
    assert rows["weight 0"] == single_step(PAPER)["fgsm_only"]
    assert rows["weight 5, alpha 0.01, all passes"] == proposed


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


def test_what_a_pass_came_to_outlives_a_kill_while_it_is_measured(tmp_path):
    data = load("digits", "train").take(np.arange(60))
    trainer, calls = Trainer(updates=6, batch_size=20), []

    def measure(update):
        calls.append(update)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"measured at": update}

    def rows():
        model = build("linear", inputs=(1, 8, 8), classes=10)
        options = {"work": tmp_path, "progress": lambda share: None, "stop": lambda update, row: False}
        return follow(trainer, model, data, measure, **options)[0]

    with pytest.raises(KeyboardInterrupt):
        rows()
    first = rows()[3]
    assert calls == [3, 3, 6]
    assert first == rows()[3]
    assert first["measured at"] == 3
    assert first["stuck"] is False
    assert first["loss"] > 0


def test_looking_at_it_on_the_way_changes_nothing(kept, tmp_path):
    run(replace(methods(SMOKE)["proposed"], moments=(), select=False, watch_every=1000), work=tmp_path)
    assert (tmp_path / LAST).read_bytes() == (kept[1] / LAST).read_bytes()


def killer(rows):
    """Ends the process, as it were, after so many rows."""
    seen = []

    def progress(share):
        seen.append(share)
        if len(seen) == rows:
            raise KeyboardInterrupt

    return progress


def timeless(record):
    return json.dumps(record | {"epochs": {**record["epochs"], "seconds": None}}, sort_keys=True)


def test_a_run_that_is_stuck_begins_again_warmer_and_says_so(tmp_path, monkeypatch):
    for module in (train, unmask.training.run):
        monkeypatch.setattr(module, "STUCK_EVERY", 4)
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


def test_kept_weights_are_awaited_while_another_is_at_them(tmp_path):
    found = []

    def never(config, *, work):
        raise AssertionError("it was run again")

    folder = tmp_path / identify(SMOKE)
    asks = threading.Thread(target=lambda: found.append(weights_folder(never, SMOKE, tmp_path / "mine", [LAST])))
    with claimed(tmp_path, SMOKE):
        asks.start()
        asks.join(0.2)
        assert asks.is_alive()
        (folder / LAST).touch()
    asks.join(10)
    assert found == [folder]


# --- what is measured


@pytest.fixture
def steep():
    """A linear network of two classes on images of one pixel, right above a half, and nowhere near saturated."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    model[1].weight.data.copy_(torch.tensor([[0.0], [4.0]]))
    shifted = nn.Sequential(model, Shift())
    images = torch.tensor([0.05, 0.3, 0.45, 0.56, 0.7, 0.95]).view(-1, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 1, 1, 0])
    return shifted, Dataset(name="pixels", images=images, labels=labels, classes=("low", "high"))


class Shift(nn.Module):
    """Takes 2 from the second logit."""

    def forward(self, logits):
        return logits - torch.tensor([0.0, 2.0])


def test_an_evaluation_counts_who_stands(steep):
    model, data = steep
    found = Evaluation(epsilon=0.1, step_size=0.01, steps=(4, 5, 20))(model, data)
    # By hand: within 0.1 of the boundary falls; 5 steps of 0.01 from a random start may not get there, 20 do.
    assert found["standing"]["clean"] == 5
    assert {found["standing"][name] for name in ("fgsm", "fgsm log-odds", "ifgsm", "longer pgd", "worst")} == {3}
    assert 3 <= found["standing"]["pgd"] <= 5
    assert found["loss"]["clean"] < found["loss"]["pgd"] <= found["loss"]["longer pgd"] <= found["loss"]["fgsm"] + 1e-6


def test_an_evaluation_in_parts_is_the_same_and_goes_on_after_a_kill(steep, tmp_path):
    model, data = steep
    measure = Evaluation(epsilon=0.1, step_size=0.01, steps=(4, 5, 20))
    whole = measure(model, data)
    with pytest.raises(KeyboardInterrupt):
        in_parts(measure, model, data, kept=tmp_path, progress=killer(1), size=4)
    (first,) = tmp_path.iterdir()
    first.write_text(first.read_text().replace('"clean": 4', '"clean": 104'))
    shares = []
    found = in_parts(measure, model, data, kept=tmp_path, progress=shares.append, size=4)
    assert shares == [4 / 6, 1.0]
    assert found["standing"] == whole["standing"] | {"clean": whole["standing"]["clean"] + 100}
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-12)


def test_one_path_gives_the_ends_of_two_pgds(perceptron, held_out):
    images, labels = held_out.images[:40], held_out.labels[:40]
    ends = pgd_ends(perceptron, images, labels, epsilon=0.2, steps=(3, 7), size=0.05, seed=4)
    for end, steps in zip(ends, (3, 7), strict=True):
        alone = PGD(epsilon=0.2, steps=steps, step_size=0.05, keep="last", loss=cross_entropy, seed=4)
        assert torch.equal(end, alone(perceptron, images, labels))


def test_curves_begin_at_the_clean_loss_and_agree_on_a_linear_model(linear, held_out):
    measure = Curves(epsilon=0.2, epsilons=(0.1, 0.2), noise=0.01, steps=40, step_size=0.2 / 30)
    found = measure(linear, held_out.sample(50, 0))
    clean = cross_entropy(linear(held_out.sample(50, 0).images), held_out.sample(50, 0).labels).mean()
    for attack in ("FGSM", "R-FGSM", "PGD"):
        assert found[attack]["loss"][0] == pytest.approx(clean.item(), rel=1e-5)
        assert sorted(found[attack]["loss"]) == found[attack]["loss"]
    assert found["PGD"]["loss"][2] == pytest.approx(found["FGSM"]["loss"][2], rel=0.1)


def test_a_linear_model_of_two_classes_has_the_same_gradient_everywhere(steep):
    model, data = steep
    found = alignment(model, data, noise=0.05, epsilon=0.3, seed=0, batches=BATCHES)
    assert found == pytest.approx({"noise": 1.0, "ball": 1.0})


def test_in_bfloat16_the_logits_are_coarser_and_come_back_in_float32(perceptron, held_out):
    logits, exact = InBfloat16(perceptron)(held_out.images), perceptron(held_out.images)
    assert logits.dtype == torch.float32
    assert 0 < (logits - exact).abs().max() < 0.1 * exact.abs().max()


def test_rounding_to_bfloat16_gives_the_logits_and_gradients_of_its_units():
    model = build("lenet+", inputs=(1, 8, 8), classes=10, width=4, seed=0)
    images, labels = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    exact, units, rounded = (
        input_gradient(one, images, labels, loss=cross_entropy)
        for one in (model, InBfloat16(model), rounded_to_bfloat16(model))
    )
    for kind in ("logits", "gradient"):
        coarse, alike, fine = (getattr(one, kind) for one in (units, rounded, exact))
        assert (alike - coarse).abs().mean() < 0.5 * (alike - fine).abs().mean()


def test_weights_move_as_far_as_rounding_moves_them_and_differently_in_each_draw(perceptron):
    rounded, *moved = (
        torch.cat([weights.flatten() for weights in one.parameters()])
        for one in (rounded_weights(perceptron), *(moved_weights(perceptron, draw) for draw in range(DRAWS)))
    )
    exact = torch.cat([weights.flatten() for weights in perceptron.parameters()])
    assert torch.equal(rounded.bfloat16().float(), rounded)
    for one in moved:
        assert torch.allclose((one - exact).abs(), (rounded - exact).abs(), atol=1e-7)
        assert 0.3 < (one > exact).float().mean() < 0.7
    assert not torch.equal(moved[0], moved[1])


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


@pytest.mark.parametrize(
    ("method", "settings", "thirds"),
    [
        ("normal", {}, 3), ("fgsm", {}, 5), ("fgsm", {"clean_weight": 0.5}, 8), ("rfgsm+fgsm", {}, 10),
        ("ensemble", {"clean_weight": 0.5}, 8), ("pgd", {"training_steps": 40}, 83), ("logit-distance", {}, 10),
        ("step-distance", {}, 7), ("gat", {}, 8), ("gradalign", {}, 17), ("rs-fgsm", {}, 5), ("n-fgsm", {}, 5),
    ],
)  # fmt: skip
def test_the_passes_of_an_update_are_those_of_the_objectives(method, settings, thirds):
    assert method in METHODS
    assert passes(replace(PAPER, method=method, **settings)) == thirds


def test_a_timing_has_every_method_and_the_bare_loops():
    record = run(replace(SMOKE, kind="timing"))
    assert {"normal", "fgsm_only", "proposed", "pgd", "eat", "bare loop", "bare loop, channels last"} <= set(
        record["seconds"]
    )
    assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in record["seconds"].values())
    assert record["operations"] == pytest.approx(2 * (28 * 28 * 2 * 25 + 14 * 14 * 4 * 2 * 25 + 4 * 49 * 64 + 64 * 10))
    assert record["peak"] > 0


def test_growth_counts_from_the_first_updates_or_since_the_network_has_learned():
    readings = {
        "update": [1, 5, 10, 20],
        "clean_accuracy": [0.1, 0.1, 0.9, 0.9],
        "logit_distance": [9.0, 1.0, 4.0, 8.0],
    }
    assert growth({"readings": readings}, until=10) == 8 / 2.5
    assert growth({"readings": readings}, until=10, learned=0.5) == 2
    assert growth({"readings": readings}, until=5, learned=0.5) == 8  # none has learned by then


def test_the_rows_of_cifar_10_are_augmented_and_labelled():
    for profile in (PAPER, QUICK):
        for row in cifar_rows(CIFAR[profile]).values():
            assert row.augment
            assert row.shown_data == "CIFAR-10 (JPEG copy)"


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
