"""``unmask attack``: accuracy of a model under one attack, over one epsilon or several."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.options import (
    EPSILON,
    FILE,
    Listed,
    NamedOrOwn,
    data_options,
    find_device,
    load_data,
    load_model,
    made,
    model_options,
    progress_bar,
    run_options,
    sample_options,
)
from unmask.cli.several import launch_all, member, processes, spread_options
from unmask.files import write_atomically

if TYPE_CHECKING:
    from unmask.attacks import Attack
    from unmask.losses import Loss

ATTACKS = ("fgsm", "rfgsm", "rs-fgsm", "frsm", "ifgsm", "pgd", "deepfool")
MEANT_FOR = {
    "loss": ("fgsm", "rfgsm", "rs-fgsm", "ifgsm", "pgd"),
    "steps": ("ifgsm", "pgd", "deepfool"),
    "restarts": ("pgd",),
}
LOSSES = ("log-odds", "cross-entropy", "margin", "dlr")


@click.command()
@model_options
@click.option("--weights", type=FILE, help="Safetensors, or .pt holding nothing but tensors.")
@data_options
@click.option(
    "--attack",
    "name",
    type=NamedOrOwn(ATTACKS),
    default="pgd",
    show_default=True,
    help="Or one of your own, PACKAGE.MODULE:FACTORY or FILE.py:FACTORY: what FACTORY(epsilon=...) returns.",
)
@click.option("--epsilon", type=Listed(EPSILON), required=True, help="One L-infinity bound or several: 0.1,0.3,8/255.")
@click.option("--loss", type=click.Choice(LOSSES), default="log-odds", show_default=True, help="What gradients climb.")
@click.option("--steps", type=click.IntRange(1), default=40, show_default=True, help="For ifgsm, pgd and deepfool.")
@click.option("--restarts", type=click.IntRange(1), default=1, show_default=True, help="For pgd.")
@sample_options
@click.option(
    "--save", type=FILE, help="Write the adversarial images of the last epsilon as .npz (images, labels, classes)."
)
@run_options
@spread_options
@click.pass_context
def attack(
    context: click.Context,
    model: str,
    widths: tuple[int, ...] | None,
    width: int | None,
    weights: Path | None,
    data: str,
    data_dir: Path | None,
    name: str,
    epsilon: tuple[float, ...],
    loss: str,
    steps: int,
    restarts: int,
    split: str | None,
    samples: int,
    batch_size: int,
    save: Path | None,
    device: str,
    seed: int,
    devices: int | None,
    nodes: int | None,
) -> None:
    """Attack MODEL and print the accuracy that is left at each epsilon.

    MODEL is PACKAGE.MODULE:FACTORY or the name of a built-in network, as for audit. With --devices or --nodes the
    images are split over several processes, which it starts itself; it may also be started by torchrun.
    """
    import numpy as np
    import torch

    from unmask import losses
    from unmask.attacks import Trial
    from unmask.auditing.ledger import check_reach
    from unmask.auditing.preflight import preflight
    from unmask.numerics import Batches
    from unmask.statistics import proportion
    from unmask.training.distributed import is_launched

    _refuse_meaningless(context, name)
    several = processes(devices, nodes)
    if several != (1, 1) and not is_launched():
        launch_all(several, find_device(device))
        return
    with member(device, several) as (spread, place):
        images = load_data(data, data_dir, split=split, samples=samples, seed=seed)
        classifier = load_model(model, weights, images, place, widths=widths, width=width)
        batches = spread.batches(Batches(size=batch_size, device=place))
        subject = preflight(classifier, images.images, images.labels, batches=batches, classes=len(images.classes))
        for note in subject.notes:
            click.echo(note.replace("audited", "attacked"))
        climb = getattr(losses, loss.replace("-", "_"))
        own, _ = spread.share(torch.arange(len(images)))
        with progress_bar() as bar:
            task = bar.add_task(name, total=len(epsilon) * len(own))
            batches.progress = lambda rows: bar.advance(task, rows)
            for bound in epsilon:
                outcome = Trial(attacks=[_make(name, bound, climb, steps, restarts, seed)], batches=batches)(
                    subject.model, subject.images, subject.labels
                )
                check_reach(name, outcome.images, subject.images, bound)
                share = proportion(int(outcome.correct.sum()), len(images))
                click.echo(f"epsilon {bound:.4g}: accuracy {share}")
        if save and spread.rank == 0:
            content = io.BytesIO()
            np.savez(
                content, images=outcome.images.numpy(), labels=subject.labels.numpy(), classes=np.array(images.classes)
            )
            write_atomically(save, content.getvalue())
            click.echo(f"wrote {save}")


def _refuse_meaningless(context: click.Context, name: str) -> None:
    """Options given by hand that the attack does not have."""
    for option, meant in MEANT_FOR.items():
        given = context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
        if given and name not in meant:
            raise click.UsageError(f"--{option}: is for {', '.join(meant)}, and means nothing to {name}")


def _make(name: str, epsilon: float, loss: Loss, steps: int, restarts: int, seed: int) -> Attack:
    """The attack by this name; what it has no use for is ignored."""
    from unmask.attacks import FGSM, FRSM, IFGSM, PGD, RFGSM, RSFGSM, DeepFool

    match name:
        case "fgsm":
            return FGSM(epsilon=epsilon, loss=loss)
        case "rfgsm":
            return RFGSM(epsilon=epsilon, loss=loss, seed=seed)
        case "rs-fgsm":
            return RSFGSM(epsilon=epsilon, loss=loss, seed=seed)
        case "frsm":
            return FRSM(epsilon=epsilon, seed=seed)
        case "ifgsm":
            return IFGSM(epsilon=epsilon, steps=steps, loss=loss)
        case "deepfool":
            return DeepFool(epsilon=epsilon, steps=steps, norm=math.inf)
        case own if ":" in own:
            return made("attack", own, epsilon=epsilon)  # type: ignore[no-any-return]
        case _:
            return PGD(epsilon=epsilon, steps=steps, restarts=restarts, loss=loss, seed=seed)
