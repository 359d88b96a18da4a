"""``unmask attack``: accuracy of a model under one attack, over one epsilon or several."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.cli.attacks import attack_options, make_attack
from unmask.cli.loading import find_device, load_data, load_model
from unmask.cli.options import (
    EPSILON,
    FILE,
    Listed,
    data_options,
    model_options,
    run_options,
    sample_options,
    weights_option,
)
from unmask.cli.processes import launch_all, member, processes, spread_options
from unmask.cli.progress import progress_bar
from unmask.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from unmask.data import Dataset

__all__ = ["attack"]


@click.command()
@model_options
@weights_option
@data_options
@attack_options
@click.option("--epsilon", type=Listed(EPSILON), required=True, help="One L-infinity bound or several: 0.1,0.3,8/255.")
@sample_options
@click.option(
    "--save", type=FILE, help="Write the adversarial images of the last epsilon as .npz (images, labels, classes)."
)
@run_options
@spread_options
def attack(
    model: str,
    widths: tuple[int, ...] | None,
    width: int | None,
    weights: Path | None,
    data: str,
    data_dir: Path | None,
    name: str,
    epsilon: tuple[float, ...],
    split: str | None,
    samples: int,
    batch_size: int,
    save: Path | None,
    device: str,
    seed: int,
    devices: int | None,
    nodes: int | None,
    changed: tuple[str, ...],
    **settings: Any,
) -> None:
    """Attack MODEL and print the accuracy that is left at each epsilon.

    MODEL is PACKAGE.MODULE:FACTORY or the name of a built-in network, as for audit. With --devices or --nodes the
    images are split over several processes, which it starts itself; it may also be started by torchrun.
    """
    import torch

    from unmask.attacks import evaluate
    from unmask.auditing.preflight import preflight
    from unmask.numerics import Batches
    from unmask.statistics import proportion
    from unmask.threats import check_adversarial, threat_model
    from unmask.training.distributed import is_launched

    attacks = [make_attack("attack", name, bound, seed=seed, settings=settings, changed=changed) for bound in epsilon]
    several = processes(devices, nodes)
    if several != (1, 1) and not is_launched():
        launch_all(several, find_device(device))
        return
    with member(device, several) as (spread, place):
        images = load_data(data, data_dir, split=split, samples=samples, seed=seed)
        classifier = load_model(model, weights, images, place, widths=widths, width=width)
        batches = spread.batches(Batches(size=batch_size, device=place))
        checked = preflight(classifier, images.images, images.labels, batches=batches, classes=len(images.classes))
        for note in checked.notes:
            click.echo(note.replace("audited", "attacked"))
        own, _ = spread.share(torch.arange(len(images)))
        with progress_bar(name, total=len(epsilon) * len(own)) as bar:
            for bound, one in zip(epsilon, attacks, strict=True):
                task = (checked.model, checked.images, checked.labels)
                outcome = evaluate(*task, one, batches=batches, progress=bar.advance)
                check_adversarial(name, outcome.images, checked.images, threat_model(bound))
                click.echo(f"epsilon {bound:.4g}: accuracy {proportion(int(outcome.correct.sum()), len(images))}")
        if save and spread.rank == 0:
            _save(save, outcome.images, checked.labels, images)


def _save(path: Path, found: Tensor, labels: Tensor, data: Dataset) -> None:
    """Write adversarial images as a file of data."""
    import numpy as np

    content = io.BytesIO()
    np.savez(content, images=found.numpy(), labels=labels.numpy(), classes=np.array(data.classes))
    write_atomically(path, content.getvalue())
    click.echo(f"wrote {path}")
