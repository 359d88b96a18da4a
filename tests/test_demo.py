"""The demo, with training cut short: what it prints and writes. What it finds is measured by running it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from unmask import demo
from unmask.cli import main
from unmask.reports.record import AuditRecord


@pytest.fixture
def brief(monkeypatch):
    """The four candidates after a few updates each."""
    candidates = [replace(one, trainer=replace(one.trainer, updates=20)) for one in demo.CANDIDATES]
    monkeypatch.setattr(demo, "CANDIDATES", candidates)
    return candidates


def test_the_demo_audits_each_candidate_and_writes_one_page(brief, tmp_path):
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text()
    for number, candidate in enumerate(brief, start=1):
        record = AuditRecord.from_json(tmp_path / f"{number}.json")
        assert record.subject == candidate.name
        assert (record.data, record.samples, record.epsilon) == ("digits", 359, demo.EPSILON)
        assert candidate.name in page
        assert f"{candidate.name}: " in result.output


def test_progress_covers_all_training(brief, monkeypatch):
    monkeypatch.setattr(demo, "CANDIDATES", brief[:1])
    shares = []
    assert len(list(demo.run(lambda stage, share: shares.append(share)))) == 1
    assert shares == sorted(shares)
    assert shares[-1] == 1
