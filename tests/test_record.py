"""Records: to JSON and back unchanged, and written whole or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.reports import Report
from unmask.reports.record import (
    FORMAT,
    AttackResult,
    AuditRecord,
    Cause,
    Curve,
    Example,
    Finding,
    Histogram,
    Surface,
    Verdict,
    revive,
)
from unmask.statistics import Proportion

OLD = Path(__file__).parent / "files" / "audit-1.json"
SHARE = Proportion(count=1, total=2, low=0.1, high=0.9)
FINDING = Finding(
    name="float32 saturation",
    kind="masking",
    value=0.5,
    threshold=0.01,
    fired=True,
    symptom="p rounds to 1 on 50 %",
    remedy="log-odds",
    control="cross entropy",
    before=[True, True],
    after=[True, False],
    advice="Use log-odds.",
    values={"log odds": [1e30, -0.1], "saturated": [True, False]},
)
CAUSE = Cause(name="float32 saturation", kind="masking", gain=0.5, low=0.1, high=0.9, p_value=0.01)
RECORD = AuditRecord(
    model_name="LeNet+ ‘é’",
    data_name="digits",
    samples=2,
    classes=10,
    epsilon=8 / 255,
    reference="FGSM",
    clean=Proportion(count=2, total=2, low=0.3, high=1.0),
    claimed=Proportion(count=2, total=2, low=0.3, high=1.0),
    robust=SHARE,
    decision=Verdict(
        answer="masked", reason="because", causes=[CAUSE], weaknesses=[replace(CAUSE, kind="weak attack")]
    ),
    findings=[FINDING, replace(FINDING, values={})],
    attacks=[AttackResult(name="PGD", settings="steps 40", correct=[True, False], accuracy=SHARE)],
    curves=[Curve(name="FGSM", x=[0.0, 1.0], y=[1.0, 0.1])],
    histograms=[Histogram(name="log odds", edges=[0.0, 1.0, 2.0], counts=[3, 4], marks={"rounds to 1": 16.6})],
    examples=[
        Example(
            index=1,
            shape=[1, 1, 1],
            clean="AA==",
            adversarial="/w==",
            label="3",
            prediction="3",
            adversarial_prediction="8",
            attack=None,
        )
    ],
    notes=["the model was in training mode"],
    seconds=1.5,
    seed=7,
    environment={"torch": "2"},
    correct={"clean": [True, True], "claimed": [True, True], "robust": [True, False]},
    images_digest="0a",
    adversarial_examples_digest="1b",
    not_run={"few steps": "no gradients"},
    surfaces=[Surface(index=1, gradient=[-0.1, 0.1], random=[-0.1, 0.1], loss=[[-2.0, -1.5], [0.5, 1e-30]])],
)


def test_a_record_goes_to_json_and_back_unchanged(tmp_path):
    RECORD.to_json(tmp_path / "audit.json")
    assert AuditRecord.from_json(tmp_path / "audit.json") == RECORD
    assert json.loads((tmp_path / "audit.json").read_text())["format"] == FORMAT


def test_what_a_subclass_adds_stays_out_of_the_file(tmp_path):
    report = Report(**revive(asdict(RECORD)), adversarial_examples=b"images")
    report.to_json(tmp_path / "audit.json")
    assert AuditRecord.from_json(tmp_path / "audit.json") == RECORD


def test_the_results_stand_at_the_top_of_the_file(tmp_path):
    """Under the names that they have in Python."""
    RECORD.to_json(tmp_path / "audit.json")
    raw = json.loads((tmp_path / "audit.json").read_text())
    assert list(raw)[:6] == [
        "format", "verdict", "causes", "clean_accuracy", "claimed_accuracy", "robust_accuracy",
    ]  # fmt: skip
    assert (raw["verdict"], raw["causes"]) == (RECORD.verdict, RECORD.causes)
    for name in ("clean_accuracy", "claimed_accuracy", "robust_accuracy"):
        assert raw[name]["value"] == getattr(RECORD, name)
    assert raw["robust_accuracy"] == {"value": 0.5, "count": 1, "total": 2, "low": 0.1, "high": 0.9}


def test_a_record_of_the_first_format_is_read(tmp_path):
    """An audit by version 0.1 of an MLP whose logits are multiplied by 300; some lists are shortened."""
    raw = json.loads(OLD.read_text())
    record = AuditRecord.from_json(OLD)
    assert (record.model_name, record.data_name, record.samples) == ("MLP, logits x 300", "digits", 60)
    assert (record.verdict, record.causes) == ("masked", ["float32 saturation"])
    for name in ("clean", "claimed", "robust"):
        assert asdict(getattr(record, name)) == raw[name]
    assert (record.claimed_accuracy, record.robust_accuracy) == (56 / 60, 29 / 60)
    assert record.correct["robust"] == raw["correct"]["worst case"]
    assert record.adversarial_examples_digest == raw["evidence_digest"]
    assert (record.images_given, len(record.examples)) == (raw["given"], len(raw["specimens"])) == (359, 2)
    (saturation,) = (one for one in record.findings if one.name == "float32 saturation")
    (before,) = (one for one in raw["findings"] if one["name"] == "float32 saturation")
    assert (saturation.remedy, saturation.values) == (before["intervention"], before["evidence"])
    record.to_json(tmp_path / "audit.json")
    assert AuditRecord.from_json(tmp_path / "audit.json") == record


def test_an_old_record_without_later_parts_is_read(tmp_path):
    """The first records had neither outcomes per example nor digests."""
    raw = json.loads(OLD.read_text())
    for name in ("correct", "images_digest", "evidence_digest", "not_run", "surfaces", "given"):
        del raw[name]
    (tmp_path / "old.json").write_text(json.dumps(raw))
    record = AuditRecord.from_json(tmp_path / "old.json")
    assert (record.correct, record.images_digest, record.adversarial_examples_digest) == ({}, "", "")
    assert (record.not_run, record.surfaces, record.images_given) == ({}, [], 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verdict", "not masked"),
        ("causes", []),
        ("robust_accuracy", {"value": 0.9, "count": 1, "total": 2, "low": 0.1, "high": 0.9}),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(name, value, tmp_path):
    path = tmp_path / "audit.json"
    RECORD.to_json(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=rf"expected an audit record .*, got {name} .*, though the rest of the record"):
        AuditRecord.from_json(path)


def test_a_record_without_extras_too(tmp_path):
    bare = replace(RECORD, decision=Verdict(answer="not masked", reason=""), findings=[], attacks=[])
    bare = replace(bare, curves=[], histograms=[], examples=[], notes=[])
    bare.to_json(tmp_path / "audit.json")
    again = AuditRecord.from_json(tmp_path / "audit.json")
    assert replace(again, decision=bare.decision) == bare
    assert (again.verdict, again.causes) == ("not masked", [])


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(exclude_categories=["Cs"])))
def test_numbers_and_texts_survive_exactly(tmp_path_factory, number, text):
    path = tmp_path_factory.getbasetemp() / "audit.json"
    record = replace(RECORD, seconds=number, model_name=text, notes=[text])
    record.to_json(path)
    assert AuditRecord.from_json(path) == record


def test_what_the_record_says():
    assert RECORD.verdict == "masked"
    assert RECORD.causes == ["float32 saturation"]
    assert (RECORD.clean_accuracy, RECORD.claimed_accuracy, RECORD.robust_accuracy) == (1.0, 1.0, 0.5)
    assert RECORD.interval == (0.1, 0.9)
    assert (FINDING.accuracy_before, FINDING.accuracy_after) == (1.0, 0.5)
    assert str(SHARE) == "50.0 % (10.0 to 90.0)"


FOREIGN = {
    "no json": "PK\x03\x04",
    "nothing": "",
    "a list": "[1, 2]",
    "a number": "3",
    "no format": "{}",
    "another format": json.dumps({"format": "unmask-audit/9"}),
    "a part is missing": json.dumps({"format": FORMAT, "model_name": "a"}),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"audit\.json: expected an audit record \({FORMAT}\), got "):
        AuditRecord.from_json(path)


def test_a_record_with_a_part_too_many_or_too_few_is_refused(tmp_path):
    path = tmp_path / "audit.json"
    RECORD.to_json(path)
    whole = json.loads(path.read_text())
    less = [{key: value for key, value in whole.items() if key != name} for name in ("clean_accuracy", "decision")]
    for raw in (whole | {"colour": 1}, *less):
        path.write_text(json.dumps(raw))
        with pytest.raises(ValueError, match=r"audit\.json: expected an audit record"):
            AuditRecord.from_json(path)


def test_a_record_with_nan_is_not_written(tmp_path):
    """JSON has no NaN: other programs could not read the file."""
    path = tmp_path / "audit.json"
    RECORD.to_json(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(RECORD, seconds=math.nan).to_json(path)
    assert AuditRecord.from_json(path) == RECORD
