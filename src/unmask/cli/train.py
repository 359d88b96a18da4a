"""``unmask train``: train a classifier, as usual or against attacks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.loading import find_device, find_model, load_data
from unmask.cli.objectives import make_objective, objective_option, refuse_meaningless
from unmask.cli.options import (
    EPSILON,
    FILE,
    FOLDER,
    Named,
    RegistryOption,
    data_options,
    model_options,
    run_options,
)
from unmask.cli.processes import launch_all, member, processes, spread_options
from unmask.cli.settings import set_option, with_settings
from unmask.cli.training_log import follow, tell_accuracy, tell_readings, tell_what_next

if TYPE_CHECKING:
    import torch
    from torch import nn

    from unmask.data import Dataset
    from unmask.numerics import Model
    from unmask.training.optimizers import Schedule
    from unmask.training.watch import Watch

__all__ = ["train"]

WEIGHTS = "weights.safetensors"
"""The file in --out that holds the weights at the end."""

WATCHED = 500
"""The number of training images on which masking is looked for."""


def _optimizers() -> list[str]:
    from unmask.training.optimizers import OPTIMIZERS

    return list(OPTIMIZERS)


@click.command()
@model_options
@data_options
@objective_option
@click.option("--epsilon", type=EPSILON, help="L-infinity bound that the objective trains against.")
@set_option
@click.option(
    "--source",
    "sources",
    type=(str, FILE),
    multiple=True,
    metavar="MODEL WEIGHTS",
    help="For ensemble: a finished model to make images against; give several.",
)
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--updates", type=click.IntRange(1), help="Stop after so many gradient steps, in place of --epochs.")
@click.option("--batch-size", type=click.IntRange(1), default=125, show_default=True)
@click.option(
    "--optimizer",
    cls=RegistryOption,
    type=Named("optimizer", lambda name: name in _optimizers(), _optimizers, factories=False),
    default="adam",
    show_default=True,
    describe=lambda: f"{', '.join(_optimizers())}.",
)
@click.option(
    "--lr",
    "learning_rate",
    type=click.FloatRange(0, min_open=True),
    default=0.001,
    show_default=True,
    help="Learning rate.",
)
@click.option("--weight-decay", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option(
    "--schedule",
    type=click.Choice(["constant", "cosine"]),
    default="constant",
    show_default=True,
    help="Of the learning rate; cosine falls to 0 at the run's end, which --resume can then not move.",
)
@click.option("--warmup", type=click.IntRange(0), default=0, help="Let the learning rate rise over so many updates.")
@click.option(
    "--precision", type=click.Choice(["float32", "float64", "bf16-mixed"]), default="float32", show_default=True
)
@click.option("--channels-last", is_flag=True, help="Lay images out as (N, H, W, C), which convolutions often prefer.")
@click.option(
    "--watch",
    "every",
    type=click.IntRange(1),
    help="Look for masking every so many updates; go back to before it where it sets in.",
)
@click.option(
    "--initialisation",
    type=click.Choice(["torch", "xavier"]),
    default="torch",
    show_default=True,
    help="Weights as torch draws them, or Xavier-uniform with zero biases.",
)
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for checkpoints, and for weights.safetensors at the end."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out, if there is one.")
@run_options
@spread_options
@click.option(
    "--strategy",
    type=click.Choice(["ddp", "ddp_find_unused_parameters_true"]),
    default="ddp",
    show_default=True,
    help="The second if some weights do not take part in every loss.",
)
def train(
    model: str,
    widths: tuple[int, ...] | None,
    width: int | None,
    data: str,
    data_dir: Path | None,
    objective: str,
    epsilon: float | None,
    changed: tuple[str, ...],
    sources: tuple[tuple[str, Path], ...],
    epochs: int,
    updates: int | None,
    batch_size: int,
    optimizer: str,
    learning_rate: float,
    weight_decay: float,
    schedule: str,
    warmup: int,
    precision: str,
    channels_last: bool,
    every: int | None,
    initialisation: str,
    out: Path,
    resume: bool,
    device: str,
    seed: int,
    devices: int | None,
    nodes: int | None,
    strategy: str,
) -> None:
    """Train MODEL on the training images of a data set; print the validation accuracy at the end.

    MODEL is the name of a built-in network, or PACKAGE.MODULE:FACTORY or FILE.py:FACTORY for a torch module of your
    own. With --devices or --nodes it starts the processes itself; it may also be started by torchrun.
    """
    from unmask.models.weights import save_weights
    from unmask.numerics import Batches
    from unmask.training import Trainer
    from unmask.training.distributed import is_launched

    refuse_meaningless(objective, epsilon, sources)
    if every and epsilon is None:
        raise click.UsageError("--watch: expected --objective and --epsilon, the attack that is trained against")
    _refuse_to_overwrite(out, resume)
    several = processes(devices, nodes)
    if several != (1, 1) and not is_launched():
        launch_all(several, find_device(device), out)
        return
    with member(device, several, strategy) as (spread, place):
        images, held_out = (load_data(data, data_dir, split=split) for split in ("train", "validation"))
        batches = spread.batches(Batches(size=1000, device=place))
        found = find_model(model, images, widths=widths, width=width, seed=seed, initialisation=initialisation)
        network = _placed(found, model, place)
        goal = make_objective(objective, epsilon, sources, images, place, precision, seed)
        total = updates or epochs * math.ceil(len(images) / batch_size)
        trainer = Trainer(
            updates=total,
            batch_size=batch_size,
            objective=with_settings(goal, changed),
            optimizer=optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            schedule=_schedule(schedule, total, warmup),
            precision=precision,  # type: ignore[arg-type]
            channels_last=channels_last,
            seed=seed,
        )
        watch = _watch(every, epsilon, images, seed)
        follow(trainer, network, images, out, resume, watch, spread)
        if spread.rank == 0:
            save_weights(network, out / WEIGHTS)
            click.echo(f"wrote {out / WEIGHTS}")
        if watch:
            tell_readings(watch)
        tell_accuracy(network, held_out, batches)
        tell_what_next(model, data, data_dir, epsilon, out / WEIGHTS)


def _refuse_to_overwrite(out: Path, resume: bool) -> None:
    """Refuse a folder that holds another run, or weights without one."""
    if not resume and (out / "checkpoint.json").is_file():
        raise click.UsageError(f"--out: {out} holds a run already; go on with it by --resume, or name another folder")
    if (out / WEIGHTS).is_file() and not (out / "checkpoint.json").is_file():
        raise click.UsageError(f"--out: {out} holds a {WEIGHTS} already, and no run to go on with; name another folder")


def _watch(every: int | None, epsilon: float | None, images: Dataset, seed: int) -> Watch | None:
    """Return the watch for masking, if one is wanted."""
    from unmask.training.watch import Watch

    if not every or epsilon is None:
        return None
    few = images.sample(WATCHED, seed=seed)
    return Watch(epsilon=epsilon, images=few.images, labels=few.labels, every=every, seed=seed)


def _schedule(name: str, updates: int, warmup: int) -> Schedule:
    from unmask.training.optimizers import Constant, Cosine, Steps

    if name == "cosine":
        return Cosine(updates=updates, warmup=warmup)
    return Steps(at=(), factors=(), warmup=warmup) if warmup else Constant()


def _placed(found: Model, name: str, place: torch.device) -> nn.Module:
    """Return the network on its device."""
    from torch import nn

    if not isinstance(found, nn.Module):
        raise ValueError(f"model: expected {name} to return a torch module to train, got {type(found).__name__}")
    return found.to(place)
