"""``unmask diff`` and ``unmask page``: reports compared, and on one page."""

from __future__ import annotations

import re
import shutil

from command_line import FEW, assert_refused, unmask


def test_two_audits_are_compared(audits, monkeypatch):
    monkeypatch.chdir(audits)
    result = unmask("diff", "fixed/report.json", "trained/report.json")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("before, own:fixed: Inconclusive: ")
    assert lines[1].startswith("after, own:trained: ")
    assert lines[3].startswith("clean accuracy rose from ")
    assert [line.partition(" ")[0] for line in lines[3:6]] == ["clean", "claimed", "robust"]
    assert any(line.startswith("The audit before the change is inconclusive") for line in lines[6:])
    unmask("audit", "own:trained", *FEW, "--quick", "--out", "other")
    refused = unmask("diff", "trained/report.json", "other/report.json")
    assert_refused(refused, "images: expected two audits of the same images, got 60 of digits and 20 of digits")


def test_one_or_several_audits_become_a_page(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    alone = unmask("page", "trained/report.json", "--html", tmp_path / "one.html")
    assert (alone.exit_code, alone.stdout) == (0, f"wrote {tmp_path / 'one.html'}\n")
    assert "<h1>Robustness audit: own:trained</h1>" in (tmp_path / "one.html").read_text()
    assert unmask("page", "trained/report.json", "fixed/report.json", "--html", tmp_path / "two.html").exit_code == 0
    page = (tmp_path / "two.html").read_text()
    assert "<h1>Robustness audits of 2 models</h1>" in page
    assert page.index("own:trained") < page.index("own:fixed")
    assert "report.json)" not in page


def test_models_of_one_name_are_told_apart_by_their_files(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    shutil.copy("trained/report.json", tmp_path / "<b>again.json")
    reports = ("trained/report.json", tmp_path / "<b>again.json")
    assert unmask("page", *reports, "--html", tmp_path / "page.html", "--title", "<i>Twice").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "own:trained (trained/report.json)" in page
    assert "&lt;b&gt;again.json" in page
    assert "<h1>&lt;i&gt;Twice</h1>" in page
    assert not {"<b>again", "<i>"} & set(re.findall("<b>again|<i>", page))


def test_a_page_is_made_of_reports_only(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    assert_refused(unmask("page", "--html", tmp_path / "page.html"), "Missing argument 'REPORT...'")
    (tmp_path / "other.json").write_text("{}")
    refused = unmask("page", "trained/report.json", tmp_path / "other.json", "--html", tmp_path / "page.html")
    assert_refused(refused, "other.json: expected an audit record (unmask-audit/2), got 'format'")
    assert not (tmp_path / "page.html").exists()
