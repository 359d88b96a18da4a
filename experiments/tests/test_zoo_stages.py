"""The zoo's stages: truths come before audits and stay; finished runs are not repeated."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from unmask.attacks import FGSM
from unmask.losses import log_odds
from unmask.models import build
from unmask_experiments.sweeps import identify, read_run
from unmask_experiments.zoo import truth, worst_case
from unmask_experiments.zoo.audits import audit_pair
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.networks import audited_images
from unmask_experiments.zoo.scores import rows
from unmask_experiments.zoo.stages import run_zoo, write_score
from unmask_experiments.zoo.truth import establish_truth
from unmask_experiments.zoo.worst_case import ResultCache, as_flags, correct_under_all

# Networks that learn in a moment, on few images, with little spent on their truth.
BRIEF = {"data": "digits", "images": 150, "steps": 3, "restarts": 1, "queries": 20}
LINEAR = Case(**BRIEF, network="linear", updates=100, learning_rate=0.02, epsilon=0.05)
PERCEPTRON = Case(**BRIEF, network="mlp", size=32, updates=100, learning_rate=0.01, epsilon=0.1)
FEW = [
    LINEAR,
    replace(LINEAR, defence="plus 1e6"),
    replace(LINEAR, defence="256 levels"),
    replace(PERCEPTRON, defence="zero backward"),
    replace(PERCEPTRON, defence="noise"),
]


@pytest.fixture(scope="module")
def small_zoo(tmp_path_factory):
    """A small zoo that has been run."""
    place = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "STEPS", (4, 6))
        run_zoo(FEW, folder=place / "results" / "zoo", work=place / "work")
    return place


@pytest.fixture
def folder(small_zoo):
    return small_zoo / "results" / "zoo"


def noise(count=24, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_truth_comes_before_its_audit_and_is_named_by_it(folder):
    for case in FEW:
        told = read_run(folder / "truth" / f"{identify(case)}.json")
        if told["result"]["truth"] == "excluded":
            assert not (folder / "audits" / f"{identify(case)}.json").exists()
            continue
        audit = read_run(folder / "audits" / f"{identify(case)}.json")
        assert audit["result"]["truth"] == told["digest"]
        assert audit["finished"] >= told["finished"]


def test_worst_cases_respect_what_is_known(folder):
    exact, plus, rounded, zero, _ = (read_run(folder / "truth" / f"{identify(case)}.json")["result"] for case in FEW)
    undefended = read_run(folder / truth.WORST_CASES / f"{identify(FEW[3].undefended)}.json")["result"]
    assert exact["bounds"][0] == exact["bounds"][1] == sum(as_flags(exact["worst"])) / 150
    for result in (plus, rounded):
        assert result["bounds"][0] <= sum(as_flags(result["worst"])) / 150
        assert result["bounds"][0] <= exact["bounds"][0] <= result["bounds"][1]
    assert not any(
        own and not base for own, base in zip(*map(as_flags, (zero["worst"], undefended["worst"])), strict=True)
    )
    assert zero["truth"] == "masked"


def test_a_finished_run_is_not_repeated(small_zoo, folder, monkeypatch):
    paths = sorted(folder.rglob("*.json"))
    before = [path.stat().st_mtime_ns for path in paths]
    run_zoo(FEW, folder=folder, work=small_zoo / "work")
    assert sorted(folder.rglob("*.json")) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_truth_that_was_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    data, model, run = audited_images("digits", 60), build("linear", inputs=(1, 8, 8), classes=10), []

    def attack(name, fails=False):
        def call(model, images, labels):
            run.append((name, len(images)))
            if fails:
                raise KeyboardInterrupt
            return FGSM(epsilon=0.02, loss=log_odds)(model, images, labels)

        return call

    def look(*attacks, weights="a"):
        return correct_under_all(
            model, attacks, data, cache=ResultCache(tmp_path / "attacks.json", weights=weights), stage="some"
        )

    whole = look(attack("first"), attack("second"), weights="b")
    run.clear()
    with pytest.raises(KeyboardInterrupt):
        look(attack("first"), attack("second", fails=True))
    run.clear()
    assert look(attack("first"), attack("second")).tolist() == whole.tolist()
    assert run == [("second", int(look(attack("first")).sum()))]
    look(attack("first"), weights="c")
    assert run[1:] == [("first", 60)]
    monkeypatch.setattr(worst_case, "CODE", worst_case.CODE[:1])
    look(attack("first"), weights="c")
    assert run[2:] == [("first", 60)]


def test_a_truth_is_refused_where_there_is_an_audit(small_zoo, folder):
    with pytest.raises(ValueError, match=r"expected no audit before the truth of linear, seed 0 is known"):
        establish_truth(LINEAR, work=small_zoo / "work" / "truth" / "x", folder=folder)


def test_an_audit_is_refused_without_a_truth(small_zoo, folder):
    unknown = replace(LINEAR, seed=7)
    with pytest.raises(ValueError, match=r"expected the truth of linear, seed 7 before its audit, found none"):
        audit_pair(unknown, work=small_zoo / "work" / "audits" / "x", folder=folder)


@pytest.fixture
def copied(folder, tmp_path):
    """The records, to be spoilt."""
    for path in folder.rglob("*.json"):
        place = tmp_path / path.relative_to(folder)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path


def test_an_edited_truth_is_refused(copied):
    path = copied / "truth" / f"{identify(LINEAR)}.json"
    path.write_text(path.read_text().replace('"not masked"', '"masked"'))
    with pytest.raises(ValueError, match=re.escape(f"{path}: its content has the digest")):
        rows(FEW, copied)


def test_an_audit_of_another_truth_is_refused(copied):
    """As when a truth was established anew, after its audit."""
    path = copied / "truth" / f"{identify(LINEAR)}.json"
    record = read_run(path)
    from unmask_experiments.sweeps.runs import write_run

    write_run(copied / "truth", LINEAR, {"error": None, "result": record["result"], "seconds": 0.0})
    with pytest.raises(ValueError, match="expected the audit of a pair with another truth"):
        rows(FEW, copied)


def test_weights_that_changed_are_refused(small_zoo, folder, tmp_path):
    work = tmp_path / "networks" / "x"
    with pytest.raises(ValueError, match=r"expected the weights \w+ of its truth, got \w+"):
        audit_pair(replace(LINEAR, updates=100), work=spoilt(work, tmp_path), folder=folder)


def spoilt(work, root):
    """A work folder in which the same network was trained otherwise."""
    from unmask_experiments.zoo.networks import network_of, train

    train(replace(network_of(LINEAR), updates=3), work=root / "networks" / identify(network_of(LINEAR)))
    return work


def test_the_score_is_written_and_shown(small_zoo):
    score = write_score("digits", FEW, results=small_zoo / "results", command="unmask zoo")
    written = json.loads((small_zoo / "results" / "zoo.json").read_text())["digits"]
    assert written["summary"] == score["summary"]
    assert "### digits" in (small_zoo / "results" / "README.md").read_text()
