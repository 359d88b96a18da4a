"""Reports: what the text says, that it goes through JSON, and that reading a record loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import SATURATION, inconclusive, masked, not_masked, share
from unmask.reports import SUMMARY_COLUMNS, Report, answer, summary_rows
from unmask.reports.record import revive
from unmask.reports.words import as_text, listing


def test_the_answer_names_claim_remainder_interval_and_cause() -> None:
    record = replace(masked(), claimed=share(626), robust=share(29))
    assert answer(record) == (
        "Masked: claimed accuracy 62.6 %, robust accuracy 2.9 % (95 % interval 2.0 to 4.1); cause: float32 saturation."
    )


def test_an_open_verdict_gives_the_robust_accuracy_as_an_upper_bound() -> None:
    assert answer(inconclusive()).startswith("Inconclusive: claimed accuracy 71.0 %, robust accuracy at most 64.0 % (")


def test_the_answer_names_every_cause() -> None:
    decision = masked().decision
    both = replace(decision, causes=[*decision.causes, *decision.weaknesses])
    assert answer(replace(masked(), decision=both)).endswith("causes: float32 saturation and too few steps.")


def test_the_answer_without_masking_still_says_that_the_attack_is_weak() -> None:
    decision = replace(not_masked().decision, weaknesses=masked().decision.weaknesses)
    sentence = answer(replace(not_masked(), decision=decision))
    assert sentence.startswith("Not masked: claimed accuracy 93.2 %, robust accuracy 89.0 % (95 % interval")
    assert sentence.endswith("the reference attack is weak: too few steps.")


def test_summary_rows_match_their_columns() -> None:
    rows = summary_rows([masked(), not_masked(), inconclusive()])
    assert {len(row) for row in rows} == {len(SUMMARY_COLUMNS)}
    assert rows[0][1:] == ("masked", "98.4 %", "62.6 %", "0.3 % (0.1 to 0.9)", "float32 saturation, (too few steps)")
    assert rows[1][-1] == "none"


def test_the_text_gives_answer_figures_causes_and_notes_in_80_columns() -> None:
    text = as_text(masked())
    assert max(len(line) for line in text.splitlines()) <= 80
    flat = " ".join(text.split())
    for part in (
        answer(masked()), masked().decision.reason, "clean accuracy 98.4 % (97.4 to 99.0)",
        "claimed accuracy 62.6 % (59.6 to 65.5)",
        "robust accuracy 0.3 % (0.1 to 0.9) under all 4 attacks",
        "float32 saturation: the remedy wins 59.7 points (55.2 to",
        SATURATION.symptom, SATURATION.advice, "FGSM with the log-odds loss, 1 gradient: accuracy 2.9 %",
        "FGSM with cross entropy in float32, 1 gradient: accuracy 62.6 %", "too few steps: the remedy wins 2.6 points",
        "31.0 % of the gradients are ten times smaller", "Square ran on 500 of the 1000 examples.",
    ):  # fmt: skip
        assert part in flat


def test_what_was_not_run_is_said_once_for_each_reason() -> None:
    record = replace(not_masked(), not_run={"a": "no gradients", "b": "no time", "c": "no gradients"})
    assert "\nNot run\n  - no gradients: a, c\n  - no time: b\n" in as_text(record)
    assert "Not run" not in as_text(not_masked())


@given(st.text(), st.text())
def test_the_text_never_steers_a_terminal(model_name: str, note: str) -> None:
    text = as_text(replace(not_masked(), model_name=model_name, notes=[note]))
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(("names", "phrase"), [([], ""), (["a"], "a"), (["a", "b"], "a and b")])
def test_listing(names: list[str], phrase: str) -> None:
    assert listing(names) == phrase


def test_a_cause_without_its_finding_is_an_error() -> None:
    with pytest.raises(ValueError, match="cause 'float32 saturation': expected a finding of that name, got"):
        as_text(replace(masked(), findings=[]))


def test_a_report_goes_through_json_and_gives_the_same_page_and_text(tmp_path) -> None:  # type: ignore[no-untyped-def]
    report = Report(**revive(asdict(masked())))
    report.to_json(tmp_path / "audit.json")
    report.to_html(tmp_path / "audit.html")
    again = Report.from_json(tmp_path / "audit.json")
    again.to_html(tmp_path / "again.html")
    assert again.to_text() == report.to_text() == as_text(masked())
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "audit.html").read_bytes()
    assert "Robustness audit: LeNet+, trained with FGSM" in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_a_name_that_is_not_valid_unicode_does_not_cost_the_report(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = replace(masked(), model_name="net-\udcff.pt")
    Report(**revive(asdict(record))).to_html(tmp_path / "audit.html")
    assert "net-?.pt" in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_importing_reports_loads_nothing_heavy() -> None:
    code = "import sys, unmask.reports; print({'torch', 'matplotlib', 'numpy', 'jinja2', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_writing_a_page_does_not_load_torch(tmp_path) -> None:  # type: ignore[no-untyped-def]
    masked().to_json(tmp_path / "audit.json")
    code = (
        "import sys; from unmask.reports import Report; Report.from_json('audit.json').to_html('audit.html');"
        "print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "False False"
