"""``python -m benchmarks.worst_case``: an audit's worst case beside AutoAttack's standard set, and what both take."""

from __future__ import annotations

import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.__main__ import machine, versions
from unmask.attacks import predict
from unmask.auditing import QUICK, audit
from unmask.data import Dataset
from unmask.files import write_atomically
from unmask.statistics import proportion
from unmask_experiments.sweeps import run_environment
from unmask_experiments.zoo.networks import Network, audited_images, batches, trained_network

EPSILON, STEPS = 0.3, 100
"""As MNIST is attacked in the literature; AutoAttack's own number of steps, of which torchattacks takes a tenth."""

NETWORKS = {
    "PGD-trained LeNet+": Network(size=32, method="pgd", strength=EPSILON, updates=2_500, warmup=500),
    "logit-distance LeNet+": Network(size=32, method="logit distance", strength=EPSILON, updates=5_000),
}


@dataclass(frozen=True)
class Measured:
    """The images that are still classified correctly, bool (N,), and the seconds of the measurement."""

    correct: Tensor
    seconds: float


@click.command()
@click.option("--images", default=1_000, show_default=True, type=click.IntRange(1), help="Test images of MNIST.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads that torch may use.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Where the networks are kept.")
@click.option("--only", type=click.Choice(list(NETWORKS)), help="One of the networks.")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(1), help="Of AutoAttack's Auto-PGD.")
@click.option("--queries", default=5_000, show_default=True, type=click.IntRange(1), help="Of AutoAttack's Square.")
@click.option("--output", default="results/worst-case.json", show_default=True, type=click.Path(path_type=Path))
def main(images: int, threads: int, work: Path, only: str | None, steps: int, queries: int, output: Path) -> None:
    """Train the networks where that was not done yet, then measure one after the other, each in its own process.

    A network that was left out keeps what an earlier run of the same code, with the same settings, has found.
    """
    console = Console()
    record: dict[str, Any] = {
        "command": f"python -m benchmarks.worst_case --images {images} --threads {threads} --work WORK",
        "machine": machine() | {"threads": threads},
        "commit": run_environment(0)["commit"],
        "versions": versions(),
        "epsilon": EPSILON,
        "steps": steps,
        "queries": queries,
    }
    before = json.loads(output.read_text()) if output.is_file() else {}
    found = before.pop("networks", {}) if {**before, "networks": 0} == {**record, "networks": 0} else {}
    for name in NETWORKS if only is None else [only]:
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as own:
            settings = {"images": images, "threads": threads, "steps": steps, "queries": queries}
            found[name] = own.submit(compare, name, work, **settings).result()
        console.print(name, json.dumps(found[name], indent=1), sep="\n", highlight=False)
        write_atomically(output, json.dumps(record | {"networks": found}, indent=1).encode() + b"\n")
    console.print(f"Written to {output}.")


def compare(name: str, work: Path, *, images: int, threads: int, steps: int, queries: int) -> dict[str, Any]:
    """Run the audit, the quick audit and AutoAttack on the same images; ours come first, for the peak of their memory.

    The quick audit looks at some of the images only, which is where its accuracy is from.
    """
    torch.set_num_threads(threads)
    data = audited_images("mnist", images)
    model = trained_network(NETWORKS[name], work / "worst-case" / str(list(NETWORKS).index(name)))
    quick, full = (_audited(model, data, **effort) for effort in ({"effort": QUICK}, {}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    theirs = autoattack(model, data, steps=steps, queries=queries)
    (clean,) = batches()(lambda x, y: predict(model, x) == y, data.images, data.labels)
    return {
        "images": len(data),
        "clean": _share(clean),
        "audit": _share(full.correct) | {"seconds": round(full.seconds, 1), "memory, MB": round(peak)},
        "quick audit": _share(quick.correct) | {"seconds": round(quick.seconds, 1)},
        "AutoAttack": _share(theirs.correct) | {"seconds": round(theirs.seconds, 1)},
        "fallen to the audit alone": int((theirs.correct & ~full.correct).sum()),
        "fallen to AutoAttack alone": int((full.correct & ~theirs.correct).sum()),
        "points above AutoAttack": round(100 * float(full.correct.double().mean() - theirs.correct.double().mean()), 2),
        "time of AutoAttack over the audit's": round(theirs.seconds / full.seconds, 1),
    }


def autoattack(model: nn.Module, data: Dataset, *, steps: int, queries: int, batch_size: int = 250) -> Measured:
    """Run torchattacks' standard set, each attack on the images still correct after those before it."""
    torchattacks, count = import_module("torchattacks"), 10
    settings = {"eps": EPSILON, "seed": 0}
    standard = torchattacks.MultiAttack(
        [
            torchattacks.APGD(model, steps=steps, loss="ce", **settings),
            torchattacks.APGDT(model, steps=steps, n_classes=count, **settings),
            torchattacks.FAB(model, multi_targeted=True, n_classes=count, **settings),
            torchattacks.Square(model, n_queries=queries, **settings),
        ]
    )
    begun = time.perf_counter()
    (correct,) = replace(batches(), size=batch_size)(
        lambda x, y: predict(model, standard(x, y).clamp(0, 1)) == y, data.images, data.labels
    )
    return Measured(correct, time.perf_counter() - begun)


def _audited(model: nn.Module, data: Dataset, **effort: Any) -> Measured:
    begun = time.perf_counter()
    cut = batches()
    report = audit(model, data.images, data.labels, epsilon=EPSILON, batch_size=cut.size, device=cut.device, **effort)
    return Measured(torch.tensor(report.correct["robust"]), time.perf_counter() - begun)


def _share(correct: Tensor) -> dict[str, Any]:
    share = proportion(int(correct.sum()), len(correct))
    return {"accuracy": str(share), "correct": share.count, "of": share.total}


if __name__ == "__main__":
    main()
