"""A sweep's worker beside a process with the bare loop: the same training on one thread, its time and its memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import bare_loop
from benchmarks.measure import Comparison
from unmask.data import DataError, load


def perceptron(*, rounds: int, updates: int = 2_000) -> Comparison:
    """784-600-128-10 on MNIST, each candidate in processes of its own; only the updates are timed."""
    name = f"a sweep's worker: {updates:,} updates of the perceptron on MNIST, one thread, checkpoints included"
    try:
        load("mnist", "test", download=False)
    except DataError:
        return Comparison(name=name, seconds={"unmask": [1.0]}, notes=["Not run: it needs MNIST (UNMASK_DATA)."])
    found: dict[str, list[tuple[float, float]]] = {"unmask": [], "bare loop": []}
    for number in range(rounds):
        for candidate in sorted(found, reverse=bool(number % 2)):
            found[candidate].append(_process(candidate, updates))
    memory = {candidate: median(peak for _, peak in rows) for candidate, rows in found.items()}
    ours, bare = memory["unmask"], memory["bare loop"]
    return Comparison(
        name=name,
        seconds={candidate: [seconds for seconds, _ in rows] for candidate, rows in found.items()},
        notes=[f"Peak memory: {ours:.0f} MB against the bare loop's {bare:.0f}, {ours / bare:.2f} times (medians)."],
    )


def _process(candidate: str, updates: int) -> tuple[float, float]:
    """Seconds of the updates and the peak memory in MB of a process that does them on one thread."""
    command = [sys.executable, "-m", "benchmarks.worker", candidate, str(updates)]
    run_environment = os.environ | {"OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, env=run_environment, stdout=subprocess.PIPE, check=True, text=True)
    seconds, peak = json.loads(answer.stdout)
    return seconds, peak


def _ours(updates: int) -> float:
    """A run of the first paper, as a sweep's worker does it, measurements at the end included but not timed."""
    from unmask_experiments.sweeps import read_run, sweep
    from unmask_experiments.yanagita2018 import PAPER, run

    config = replace(PAPER, updates=updates, moments=(), surrogate_updates=0)
    with tempfile.TemporaryDirectory() as folder:
        (path,) = sweep(run, [config], folder=Path(folder) / "runs", work=Path(folder) / "work", threads=1)
        return float(sum(read_run(path)["result"]["epochs"]["seconds"]))


def _bare(updates: int) -> float:
    """The same training, and the test error at the end."""
    folder = next(path for path in Path(os.environ["UNMASK_DATA"]).rglob("train-images-idx3-ubyte*")).parent

    def read(name: str, start: int) -> np.ndarray:
        (path,) = folder.glob(f"{name}*")
        content = path.read_bytes()
        return np.frombuffer(gzip.decompress(content) if path.suffix == ".gz" else content, np.uint8, offset=start)

    def images(name: str) -> torch.Tensor:
        return torch.from_numpy(read(name, 16).reshape(-1, 1, 28, 28)[:50_000].astype(np.float32)).div_(255)

    train, labels = images("train-images"), torch.from_numpy(read("train-labels", 8)[:50_000].astype(np.int64))
    test, answers = images("t10k-images"), torch.from_numpy(read("t10k-labels", 8).astype(np.int64))
    layers = [torch.nn.Linear(784, 600), torch.nn.Linear(600, 128), torch.nn.Linear(128, 10)]
    model = torch.nn.Sequential(torch.nn.Flatten(), layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    begun = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    bare_loop.train(model, train, labels, updates=updates, batch_size=125, learning_rate=0.001, generator=generator)
    seconds = time.perf_counter() - begun
    with torch.no_grad():
        right = (model(test).argmax(1) == answers).double().mean()
    assert updates < 100 or right > 0.5, "it should have learned something"
    return seconds


def _peak() -> float:
    """The most memory this process has had, in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    taken = (_ours if sys.argv[1] == "unmask" else _bare)(int(sys.argv[2]))
    print(json.dumps([taken, _peak()]))
