"""Checkpoints of runs that were killed are whole, and belong to one process at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

from training_cases import RESUMED, assert_same, dropping, filled, run, save_filled

HOLDER = """
import sys
from pathlib import Path
from unmask.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_train_into_one_folder(few, tmp_path):
    epochs = RESUMED(dropping(), few, checkpoint=tmp_path)
    next(epochs)
    other = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    tried = subprocess.run(other, input="", capture_output=True, text=True)
    assert "LockedError" in tried.stderr
    epochs.close()
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="expected no other process to train into it, got one that does; wait for"):
            next(RESUMED(dropping(), few, checkpoint=tmp_path, resume=True))
        process.communicate("")
    next(RESUMED(dropping(), few, checkpoint=tmp_path, resume=True))


KILLED = """
import itertools, os, signal, sys, time
from pathlib import Path
import numpy, torch
torch.set_num_threads(int(sys.argv[2]))
from training_cases import RESUMED, dropping, save_filled
from unmask.data import load

def begin(work, *arguments):
    process = os.fork()
    if not process:
        work(*arguments)
        os._exit(0)
    return process

def train(folder):
    few = load("digits", "train").take(numpy.arange(120))
    for epoch in RESUMED(dropping(), few, checkpoint=folder):
        if epoch.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

def save(folder):
    for update in itertools.count(1):
        save_filled(folder, update, value=update, width=300)

save_filled(Path(sys.argv[1], "first"), 1, value=1)  # loads what torch loads late, once for all processes
os.waitpid(begin(train, Path(sys.argv[1], "trained")), 0)
for number in range(8):
    folder = Path(sys.argv[1], f"saved-{number}")
    process = begin(save, folder)
    while not (folder / "checkpoint.json").exists():
        time.sleep(0.001)
    time.sleep(0.004 * number)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders that SIGKILL left: of a run that it met after two epochs, and of processes that it met at saving."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, "-c", KILLED, str(folder), str(torch.get_num_threads())]
    subprocess.run(program, cwd=Path(__file__).parent, check=True)
    return folder


@pytest.mark.slow
def test_another_process_takes_over_from_one_that_was_killed(few, killed):
    run(RESUMED, through := dropping(), few)
    (last,) = run(RESUMED, resumed := dropping(seed=1), few, checkpoint=killed / "trained", resume=True)
    assert last.update == 10
    assert_same(resumed, through)


@pytest.mark.slow
def test_a_kill_at_any_instant_leaves_a_whole_checkpoint(killed):
    for folder in killed.glob("saved-*"):
        update, value = filled(folder, width=300)
        assert update == value >= 1


class Crash(BaseException):
    """The end of the process, as far as the code that runs in it can tell."""


@pytest.mark.parametrize("next_update", [1, 2], ids=["anew", "on"])
def test_a_crash_at_each_step_of_writing_leaves_a_whole_checkpoint(next_update, tmp_path, monkeypatch):
    """After the crash nothing works any more, not even clearing up; what is not yet on the disk is torn in half."""
    steps = {"fsync": os.fsync, "replace": Path.replace, "unlink": Path.unlink}
    left = 0

    def step(name):
        def work(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                if name == "fsync" and left == -1 and not stat.S_ISDIR(os.fstat(arguments[0]).st_mode):
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                raise Crash
            return steps[name](*arguments, **options)

        return work

    found = set()
    for survived in count():
        folder = tmp_path / str(survived)
        save_filled(folder, 1, value=1)
        left = survived
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", step("fsync"))
            patched.setattr(Path, "replace", step("replace"))
            patched.setattr(Path, "unlink", step("unlink"))
            try:
                save_filled(folder, next_update, value=2)
            except Crash:
                crashed = True
            else:
                crashed = False
        found.add(filled(folder))
        save_filled(folder, 3, value=3)  # and it can go on
        assert filled(folder) == (3, 3)
        assert len(list(folder.glob("update-*"))) == 1
        if not crashed:
            break
    assert survived > 4
    assert found == {(1, 1), (next_update, 2)}
