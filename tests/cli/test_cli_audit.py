"""``unmask audit``: its options, its files, and its exit code."""

from __future__ import annotations

import pytest
from command_line import BOUND, DATA, FEW, assert_refused, unmask

from unmask.reports import Report

NOTES = {
    "probabilities": "The model returns probabilities, not logits",
    "in_training_mode": "The model was in training mode",
}


@pytest.mark.parametrize("command", ["audit", "attack"])
@pytest.mark.parametrize("factory", [*NOTES, "fixed", "just_a_function"])
def test_what_can_be_repaired_is_said_and_work_goes_on(command, factory):
    quick = ["--quick"] * (command == "audit")
    result = unmask(command, f"own:{factory}", *FEW, *quick)
    assert result.exit_code == 0
    assert [name for name, note in NOTES.items() if note in result.stdout] == [factory] * (factory in NOTES)


def test_a_surrogate_and_an_attack_of_the_users_take_part():
    own = ["--surrogate", "own:fixed", "--attack", "own:step", "--quick"]
    result = unmask("audit", "own:fixed", *own, *FEW)
    assert result.exit_code == 0, result.stderr
    assert "Not masked" in result.stdout or "Inconclusive" in result.stdout


@pytest.mark.parametrize(("factory", "code"), [("masked", 1), ("trained", 0)])
def test_masking_can_fail_a_pipeline(factory, code, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    result = unmask(
        "audit",
        f"own:{factory}",
        *DATA,
        *BOUND,
        "--samples",
        150,
        "--quick",
        "--fail-on",
        "masked",
        "--out",
        tmp_path / "new",
    )
    assert result.exit_code == code
    report = Report.from_json(tmp_path / "new" / "report.json")
    assert report.verdict == ("masked" if code else "not masked")
    assert (report.samples, report.data_name, report.model_name) == (150, "digits", f"own:{factory}")
    assert report.to_text().splitlines()[1] in result.stdout
    assert report.verdict.capitalize() in (tmp_path / "new" / "report.html").read_text()


def test_a_model_without_gradients_is_audited_by_queries(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    audited = unmask("audit", "own:behind_a_wall", *FEW, "--quick", "--out", tmp_path)
    assert audited.exit_code == 0
    said = " ".join(audited.stdout.split())
    assert "under Square: epsilon 0.1, queries 1000" in said
    assert "no gradients: float32 saturation, logit scale" in said
    assert unmask("verify", tmp_path / "report.json", "--model", "own:behind_a_wall", *DATA).exit_code == 0
    refused = unmask("audit", "own:behind_a_wall", *FEW, "--reference", "fgsm")
    assert_refused(refused, "model: gives no gradients; expected an attack on scores alone, such as Square")


@pytest.mark.parametrize("name", ["fgsm", "fgsm-log-odds", "pgd", "pgd-log-odds", "square"])
def test_a_reference_has_the_name_of_its_attack(name, tmp_path):
    few = [*DATA, "--epsilon", "1/255", "--samples", 5, "--quick", "--out", tmp_path]
    assert unmask("audit", "own:fixed", *few, "--reference", name).exit_code == 0
    kind, _, loss = name.partition("-")
    said = Report.from_json(tmp_path / "report.json").reference
    assert said.lower().startswith(f"{kind}: epsilon 0.00392157, ")
    assert kind == "square" or f"loss {loss.replace('-', ' ') or 'cross entropy'}" in said
