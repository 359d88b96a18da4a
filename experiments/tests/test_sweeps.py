"""Sweeps: each configuration is recorded once, whatever is killed, fails, or is tampered with."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass

import pytest

from unmask_experiments.sweeps import SweepError, execution, identify, read_run, runs, sweep


@dataclass(frozen=True, kw_only=True)
class Config:
    number: int = 0
    fails: bool = False


def square(config, *, work, progress):
    progress(0.5)
    with (work / "calls").open("a") as calls:
        calls.write("x")
    if config.fails:
        raise RuntimeError("no luck")
    return {"square": config.number**2, "pid": os.getpid()}


@pytest.fixture
def places(tmp_path):
    return {"folder": tmp_path / "runs", "work": tmp_path / "work"}


NUMBERS = [Config(number=number) for number in range(4)]


def calls(places, config):
    return len((places["work"] / identify(config) / "calls").read_text())


def test_every_configuration_has_a_record_and_running_again_skips_it(places):
    paths = sweep(square, NUMBERS, **places)
    assert [read_run(path)["result"]["square"] for path in paths] == [0, 1, 4, 9]
    before = [path.stat().st_mtime_ns for path in paths]
    assert sweep(square, NUMBERS, **places) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert all(calls(places, config) == 1 for config in NUMBERS)


def test_a_record_says_what_it_is_and_what_it_ran_on(places):
    (path,) = sweep(square, [Config(number=3)], **places, threads=1)
    record = read_run(path)
    assert path.stem == record["name"] == identify(Config(number=3))
    assert record["config"] == {"number": 3, "fails": False}
    assert record["environment"]["threads"] == 1
    assert {"python", "torch", "unmask"} <= set(record["environment"]["versions"])


@pytest.mark.slow
def test_processes_give_the_same_records(places, tmp_path):
    alone = sweep(square, NUMBERS, **places)
    paths = sweep(square, NUMBERS, folder=tmp_path / "other", work=tmp_path / "elsewhere", jobs=2)
    assert [path.name for path in paths] == [path.name for path in alone]
    records = [read_run(path)["result"] for path in paths]
    assert [one["square"] for one in records] == [0, 1, 4, 9]
    assert all(one["pid"] != os.getpid() for one in records)


def test_a_failure_is_recorded_stops_nothing_and_is_tried_again(places):
    bad = Config(number=9, fails=True)
    paths = sweep(square, [bad, *NUMBERS], **places)
    assert len(paths) == len(NUMBERS)
    failed = read_run(places["folder"] / f"{identify(bad)}.failed.json")
    assert failed["error"]["message"] == "no luck"
    assert failed["result"] is None
    sweep(square, [bad], **places)
    assert calls(places, bad) == 2


def test_a_killed_sweep_goes_on_where_it_was(places):
    def killed(config, *, work, progress):
        if config.number == 2:
            raise KeyboardInterrupt
        return square(config, work=work, progress=progress)

    with pytest.raises(KeyboardInterrupt):
        sweep(killed, NUMBERS, **places)
    assert len(sweep(square, NUMBERS, **places)) == 4
    assert all(calls(places, config) == 1 for config in NUMBERS)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda text: text[: len(text) // 2], "expected a whole record"),
        (lambda text: text.replace('"square": 9', '"square": 8'), "changed by hand or damaged"),
        (lambda text: text.replace("unmask-run/1", "unmask-run/0"), "format 'unmask-run/0'"),
    ],
)
def test_a_record_that_was_tampered_with_is_named_and_refused(places, tamper, message):
    (path,) = sweep(square, [Config(number=3)], **places)
    path.write_text(tamper(path.read_text()))
    with pytest.raises(ValueError, match=f"{path.name}.*{message}"):
        sweep(square, NUMBERS, **places)


def test_a_record_under_another_name_is_refused(places):
    (path,) = sweep(square, [Config(number=3)], **places)
    other = path.with_name(f"{identify(Config(number=1))}.json")
    path.rename(other)
    with pytest.raises(ValueError, match=f"expected the record of {other.stem}, got that of {path.stem}"):
        sweep(square, NUMBERS, **places)


def test_a_folder_that_cannot_be_written_stops_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match="file/runs: expected a folder that can be written"):
        sweep(square, NUMBERS, folder=tmp_path / "file" / "runs", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("where", ["record", "run"])
def test_a_full_disk_stops_the_sweep_and_loses_no_finished_record(places, monkeypatch, where):
    write = runs.write_atomically

    def full(path, content):
        if path.name == f"{identify(NUMBERS[2])}.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    def run(config, *, work, progress):
        if where == "run" and config == NUMBERS[2]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return square(config, work=work, progress=progress)

    if where == "record":
        monkeypatch.setattr(runs, "write_atomically", full)
    with pytest.raises(SweepError, match=r"No space left on device.*finished records are safe"):
        sweep(run, NUMBERS, **places)
    assert len(list(places["folder"].glob("*.json"))) == 2
    monkeypatch.undo()
    assert len(sweep(square, NUMBERS, **places)) == 4


def test_what_another_sweep_has_begun_is_left_to_it(places):
    place = places["work"] / identify(NUMBERS[1])
    place.mkdir(parents=True)
    with execution.locked(places["work"], NUMBERS[1]) as mine:
        assert mine
        assert len(sweep(square, NUMBERS, **places)) == 3
    assert len(sweep(square, NUMBERS, **places)) == 4


def test_checkpoints_go_and_weights_stay_once_a_run_has_finished(places):
    def run(config, *, work, progress):
        (work / "checkpoint").mkdir()
        (work / "weights").write_text("")
        return {}

    sweep(run, [Config()], **places)
    assert {path.name for path in (places["work"] / identify(Config())).iterdir()} == {"lock", "weights"}


def test_progress_is_reported_by_the_length_of_the_runs(places, monkeypatch):
    sweep(square, NUMBERS[:2], **places)
    shares = []

    def waiting(config, *, work, progress):
        progress(0.5)
        while not shares:
            pass
        return {}

    sweep(waiting, NUMBERS[:3], **places, cost=lambda config: config.number + 1, on_progress=shares.append)
    assert shares[0] == pytest.approx((1 + 2 + 0.5 * 3) / 6)
    assert shares[-1] == 1


def test_a_setting_that_is_added_renames_nothing():
    @dataclass(frozen=True, kw_only=True)
    class Later:
        number: int = 0
        fails: bool = False
        added: str = "as before"

    assert identify(Later(number=2)) == identify(Config(number=2))
    assert identify(Later(number=2, added="new")) != identify(Config(number=2))


def test_results_that_json_cannot_hold_are_a_failure(places):
    def run(config, *, work, progress):
        return {"value": float("nan") if config.number == 0 else config.number}

    assert len(sweep(run, NUMBERS[:2], **places)) == 1
    failed = read_run(places["folder"] / f"{identify(NUMBERS[0])}.failed.json")
    assert "not JSON compliant" in failed["error"]["message"]


def test_fewer_than_one_job_is_refused(places):
    with pytest.raises(ValueError, match="jobs: expected at least 1, got 0"):
        sweep(square, NUMBERS, **places, jobs=0)


def test_the_digest_covers_the_whole_record(places):
    (path,) = sweep(square, [Config(number=3)], **places)
    record = json.loads(path.read_text())
    for key in set(record) - {"digest", "format"}:
        path.write_text(json.dumps(record | {key: "edited"}))
        with pytest.raises(ValueError, match="changed by hand or damaged"):
            read_run(path)
