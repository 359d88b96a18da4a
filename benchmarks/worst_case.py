"""``python -m benchmarks.worst_case``: an audit's worst case beside AutoAttack's standard set, and what both take."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.__main__ import machine, versions
from unmask.attacks.trial import predict
from unmask.audit import audit
from unmask.data import Dataset
from unmask.experiments.zoo.networks import Network, audited_images, kept_network
from unmask.numerics import Batches
from unmask.probes import QUICK
from unmask.record import write_atomically
from unmask.verdict import proportion

EPSILON, STEPS = 0.3, 100
"""As MNIST is attacked in the literature; AutoAttack's own number of steps, of which torchattacks takes a tenth."""

NETWORKS = {
    "PGD-trained LeNet+": Network(size=32, method="pgd", strength=EPSILON, updates=2_500, warmup=500),
    "logit-distance LeNet+": Network(size=32, method="logit distance", strength=EPSILON, updates=5_000),
}


@dataclass(frozen=True)
class Measured:
    """Who is still classified correctly, bool (N,), and the seconds that it took to know."""

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
    """Train the networks where that was not done yet, then measure them one after the other, in one process."""
    torch.set_num_threads(threads)
    console, found = Console(), {}
    data = audited_images("mnist", images)
    for number, (name, network) in enumerate(NETWORKS.items()):
        if only in (None, name):
            model = kept_network(network, work / "worst-case" / f"{number}")
            found[name] = compare(model, data, steps=steps, queries=queries)
            console.print(name, json.dumps(found[name], indent=1), sep="\n", highlight=False)
    record = {
        "command": f"python -m benchmarks.worst_case --images {images} --threads {threads} --work WORK",
        "machine": machine() | {"threads": torch.get_num_threads()},
        "versions": versions(),
        "epsilon": EPSILON,
        "steps": steps,
        "queries": queries,
        "networks": found,
    }
    write_atomically(output, json.dumps(record, indent=1).encode() + b"\n")
    console.print(f"Written to {output}.")


def compare(model: nn.Module, data: Dataset, *, steps: int, queries: int) -> dict[str, Any]:
    """The audit, the quick audit and AutoAttack on the same images; ours come first, and their memory is the peak."""
    quick, full = (_audited(model, data, **effort) for effort in ({"effort": QUICK}, {}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    theirs = autoattack(model, data, steps=steps, queries=queries)
    clean = predict(model, data.images) == data.labels
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
    """The standard set as torchattacks has it, each attack on what withstood those before it."""
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
    (correct,) = Batches(size=batch_size)(
        lambda x, y: predict(model, standard(x, y).clamp(0, 1)) == y, data.images, data.labels
    )
    return Measured(correct, time.perf_counter() - begun)


def _audited(model: nn.Module, data: Dataset, **effort: Any) -> Measured:
    begun = time.perf_counter()
    report = audit(model, data.images, data.labels, epsilon=EPSILON, **effort)
    return Measured(torch.tensor(report.correct["worst case"]), time.perf_counter() - begun)


def _share(correct: Tensor) -> dict[str, Any]:
    share = proportion(int(correct.sum()), len(correct))
    return {"accuracy": str(share), "correct": share.count}


if __name__ == "__main__":
    main()
