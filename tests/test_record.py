"""Records: to JSON and back unchanged, and written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.files import write_atomically
from unmask.reports import Report
from unmask.reports.record import (
    FORMAT,
    AttackResult,
    AuditRecord,
    Cause,
    Curve,
    Finding,
    Histogram,
    Specimen,
    Surface,
    Verdict,
    _revive,
)
from unmask.statistics import Proportion

SHARE = Proportion(count=1, total=2, low=0.1, high=0.9)
FINDING = Finding(
    name="float32 saturation",
    kind="masking",
    value=0.5,
    threshold=0.01,
    fired=True,
    symptom="p rounds to 1 on 50 %",
    intervention="log-odds",
    control="cross entropy",
    before=[True, True],
    after=[True, False],
    advice="Use log-odds.",
    evidence={"log odds": [1e30, -0.1], "saturated": [True, False]},
)
CAUSE = Cause(name="float32 saturation", kind="masking", gain=0.5, low=0.1, high=0.9, p_value=0.01)
RECORD = AuditRecord(
    subject="LeNet+ ‘é’",
    data="digits",
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
    findings=[FINDING, replace(FINDING, evidence={})],
    attacks=[AttackResult(name="PGD", settings="steps 40", correct=[True, False], accuracy=SHARE)],
    curves=[Curve(name="FGSM", x=[0.0, 1.0], y=[1.0, 0.1])],
    histograms=[Histogram(name="log odds", edges=[0.0, 1.0, 2.0], counts=[3, 4], marks={"rounds to 1": 16.6})],
    specimens=[
        Specimen(
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
    correct={"clean": [True, True], "claimed": [True, True], "worst case": [True, False]},
    images_digest="0a",
    evidence_digest="1b",
    not_run={"few steps": "no gradients"},
    surfaces=[Surface(index=1, gradient=[-0.1, 0.1], random=[-0.1, 0.1], loss=[[-2.0, -1.5], [0.5, 1e-30]])],
)


def test_a_record_goes_to_json_and_back_unchanged(tmp_path):
    RECORD.to_json(tmp_path / "audit.json")
    assert AuditRecord.from_json(tmp_path / "audit.json") == RECORD
    assert json.loads((tmp_path / "audit.json").read_text())["format"] == FORMAT


def test_what_a_subclass_adds_stays_out_of_the_file(tmp_path):
    report = Report(**_revive(asdict(RECORD)), evidence=b"images")
    report.to_json(tmp_path / "audit.json")
    assert AuditRecord.from_json(tmp_path / "audit.json") == RECORD


def test_a_record_from_before_there_was_evidence_is_read(tmp_path):
    RECORD.to_json(tmp_path / "audit.json")
    raw = json.loads((tmp_path / "audit.json").read_text())
    for name in ("correct", "images_digest", "evidence_digest", "not_run", "surfaces"):
        del raw[name]
    (tmp_path / "old.json").write_text(json.dumps(raw))
    assert AuditRecord.from_json(tmp_path / "old.json") == replace(
        RECORD, correct={}, images_digest="", evidence_digest="", not_run={}, surfaces=[]
    )


def test_a_record_without_extras_too(tmp_path):
    bare = replace(RECORD, decision=Verdict(answer="not masked", reason=""), findings=[], attacks=[])
    bare = replace(bare, curves=[], histograms=[], specimens=[], notes=[])
    bare.to_json(tmp_path / "audit.json")
    again = AuditRecord.from_json(tmp_path / "audit.json")
    assert replace(again, decision=bare.decision) == bare
    assert (again.verdict, again.causes) == ("not masked", [])


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(exclude_categories=["Cs"])))
def test_numbers_and_texts_survive_exactly(tmp_path_factory, number, text):
    path = tmp_path_factory.getbasetemp() / "audit.json"
    record = replace(RECORD, seconds=number, subject=text, notes=[text])
    record.to_json(path)
    assert AuditRecord.from_json(path) == record


def test_what_the_record_says():
    assert RECORD.verdict == "masked"
    assert RECORD.causes == ["float32 saturation"]
    assert (RECORD.claimed_accuracy, RECORD.robust_accuracy, RECORD.interval) == (1.0, 0.5, (0.1, 0.9))
    assert (FINDING.accuracy_before, FINDING.accuracy_after) == (1.0, 0.5)
    assert str(SHARE) == "50.0 % (10.0 to 90.0)"


FOREIGN = {
    "no json": "PK\x03\x04",
    "nothing": "",
    "a list": "[1, 2]",
    "a number": "3",
    "no format": "{}",
    "another format": json.dumps({"format": "unmask-audit/9"}),
    "a part is missing": json.dumps({"format": FORMAT, "subject": "a"}),
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
    for raw in (whole | {"colour": 1}, {key: value for key, value in whole.items() if key != "clean"}):
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


# --- write_atomically


def test_a_file_is_made_with_its_folders_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupted"])
@pytest.mark.parametrize("at", ["open", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, at, old):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(os if at == "fsync" else Path, at, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == ({"file": old} if old else {})


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_atomically(tmp_path / "file" / "below", b"")
