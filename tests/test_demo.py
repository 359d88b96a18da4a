"""The demo, with training and audits cut short: its lines, its records and its page."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner

from unmask import demo
from unmask.attacks import FGSM
from unmask.cli import main
from unmask.losses import log_odds
from unmask.reports import AuditRecord


@pytest.fixture
def brief(monkeypatch, tiny):
    """The four candidates after a few updates each."""
    candidates = [replace(one, trainer=replace(one.trainer, updates=20)) for one in demo.CANDIDATES]
    monkeypatch.setattr(demo, "CANDIDATES", candidates)
    monkeypatch.setattr(demo, "run", partial(demo.run, effort=replace(tiny, images=40)))
    return candidates


@pytest.mark.slow
def test_the_demo_audits_each_candidate_and_writes_one_page(brief, tmp_path):
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text()
    for number, candidate in enumerate(brief, start=1):
        record = AuditRecord.from_json(tmp_path / f"{number}.json")
        assert record.model_name == candidate.name
        assert (record.data_name, record.images_given, record.epsilon) == ("digits", 359, demo.EPSILON)
        assert candidate.name in page
        assert f"{candidate.name}: {record.verdict.capitalize()}: claimed accuracy " in result.output


def test_progress_covers_all_training(brief, monkeypatch):
    monkeypatch.setattr(demo, "CANDIDATES", brief[:1])
    shares = []
    assert len(list(demo.run(lambda stage, share: shares.append(share)))) == 1
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_fgsm_training_climbs_the_log_odds():
    """As when the figures of the README were made."""
    assert demo.CANDIDATES[2].trainer.objective.attack == FGSM(demo.EPSILON, loss=log_odds)
