"""``python -m benchmarks``: measure everything, print it, and write ``results/benchmarks.json``."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks import pgd, training, worker
from unmask.files import write_atomically

PACKAGES = ("unmask", "torch", "numpy", "foolbox", "torchattacks", "adversarial-robustness-toolbox")


@click.command()
@click.option("--rounds", default=11, show_default=True, type=click.IntRange(1), help="How often each is timed.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads that torch may use.")
@click.option("--smoke", is_flag=True, help="Tiny sizes: whether it runs, not how fast.")
@click.option("--output", default="results/benchmarks.json", show_default=True, type=click.Path(path_type=Path))
def main(rounds: int, threads: int, smoke: bool, output: Path) -> None:
    """Time unmask beside a bare PyTorch loop and beside other packages' PGD, alternating, in one process."""
    torch.set_num_threads(threads)
    console = Console()
    comparisons = []
    for benchmark, tiny in (
        (training.perceptron, {"updates": 2}),
        (training.convolutional, {"updates": 1}),
        (worker.perceptron, {"updates": 2}),
        (pgd.lenet, {"steps": 3, "count": 16, "updates": 5}),
    ):
        comparisons.append(benchmark(rounds=rounds, **(tiny if smoke else {})))
        console.print(comparisons[-1].table(), *comparisons[-1].checks, *comparisons[-1].notes, "", sep="\n")
    record = {
        "command": f"python -m benchmarks --rounds {rounds} --threads {threads}{' --smoke' if smoke else ''}",
        "machine": machine() | {"threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version()} | versions(),
        "comparisons": [one.as_json() for one in comparisons],
    }
    write_atomically(output, json.dumps(record, indent=1).encode() + b"\n")
    console.print(f"Written to {output}.")


def machine() -> dict[str, object]:
    """Return the machine's properties that the times depend on."""
    described = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in described.read_text().splitlines() if line.startswith("model name")]
    return {
        "system": platform.system(),
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the compared packages that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
