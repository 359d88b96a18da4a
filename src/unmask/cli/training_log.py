"""The lines that ``unmask train`` prints: as a run goes on, and at its end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.processes import Ended, Stopped, how_to_go_on
from unmask.cli.progress import progress_bar

if TYPE_CHECKING:
    from torch import nn

    from unmask.data import Dataset
    from unmask.numerics import Batches
    from unmask.training import Trainer
    from unmask.training.distributed import Alone
    from unmask.training.watch import Watch


def tell_accuracy(network: nn.Module, held_out: Dataset, batches: Batches) -> None:
    """Print the accuracy on the validation images."""
    from unmask.attacks import predict
    from unmask.statistics import proportion

    images = held_out.images.to(next(network.parameters()).dtype)
    (predictions,) = batches(lambda x, y: predict(network, x), images, held_out.labels)
    share = proportion(int((predictions == held_out.labels).sum()), len(held_out))
    click.echo(f"validation accuracy {share}")


def tell_what_next(model: str, data: str, data_dir: Path | None, epsilon: float | None, weights: Path) -> None:
    """Print the command that audits what was trained, on images that it has not seen."""
    from unmask.data import NAMES

    where = data + (f" --data-dir {data_dir}" if data_dir else "") + ("" if data in NAMES else " --split test")
    bound = "EPSILON" if epsilon is None else epsilon
    click.echo(f"audit it: unmask audit {model} --weights {weights} --data {where} --epsilon {bound}")


def follow(
    trainer: Trainer,
    network: nn.Module,
    images: Dataset,
    out: Path,
    resume: bool,
    watch: Watch | None,
    spread: Alone,
) -> None:
    """Train with a bar and a line for each epoch, and say at once if the training is stuck."""
    from unmask.training import DivergedError
    from unmask.training.checkpoint import Checkpoint

    stuck, done, told = False, -1, -1
    if resume and not (out / "checkpoint.json").is_file():
        click.echo(f"--resume: {out} holds no checkpoint; beginning a new run")
    with progress_bar("training", total=trainer.updates) as bar:
        epochs = trainer(
            network,
            images,
            checkpoint=out,
            resume=resume,
            watch=watch,
            progress=bar.advance,
            spread=spread,
        )
        try:
            for epoch in epochs:
                done = epoch.update
                bar.reach(done)
                line = f"epoch {epoch.number}: update {done}, loss {epoch.loss:.4f}, {epoch.seconds:.1f} s"
                click.echo(line + ", stuck" * epoch.stuck)
                if epoch.stuck and not stuck:
                    click.echo(_advice(done))
                    told = done
                stuck = epoch.stuck
            if stuck and told < done:
                click.echo(_advice(done))
        except DivergedError as error:
            raise Ended(str(error)) from error
        except KeyboardInterrupt as error:
            raise Stopped(f"stopped; {how_to_go_on(out)}") from error
    if done < 0:
        over = f"The run in {out} is over already, after {Checkpoint(folder=out, settings={}).done} updates"
        if watch and watch.masked:
            click.echo(f"{over}: masking ended it. Begin another in a folder of its own, with another --objective.")
        else:
            click.echo(f"{over}: give more --epochs or --updates to go on with it.")


def _advice(done: int) -> str:
    """Return advice on a training that is at chance after so many updates."""
    from unmask.training import STUCK_EVERY

    if done < STUCK_EVERY:
        return (
            f"The training is at chance at its end, after {done} updates; before {STUCK_EVERY} it is too early to tell "
            "whether it is stuck: give more --epochs or --updates."
        )
    return (
        "The training is stuck at chance: its loss is that of guessing. Try a lower learning rate (--lr), a warm-up of "
        "it (--warmup 500), another --seed, or for --objective logit-distance a smaller --set weight."
    )


def tell_readings(watch: Watch) -> None:
    """Print about twenty of the readings, and the update at which masking set in."""
    from unmask.training.watch import above_chance

    click.echo(" update   clean    FGSM     PGD  FGSM loss  PGD loss  logit distance")
    readings = watch.readings
    for reading in [*readings[:-1][:: math.ceil(len(readings) / 20)], readings[-1]]:
        shares = (reading.clean_accuracy, reading.fgsm_accuracy, reading.pgd_accuracy)
        click.echo(
            f"{reading.update:7}" + "".join(f"{100 * share:6.1f} %" for share in shares) + f"{reading.fgsm_loss:11.4f}"
            f"{reading.pgd_loss:10.4f}{reading.logit_distance:16.4f}"
        )
    last, healthy = readings[-1], watch.healthy
    if last.masked and healthy:
        learned = above_chance(healthy.clean_accuracy, watch.chance)
        click.echo(
            f"Masking set in at update {last.update}: {last.masked}. The weights are those of update {healthy.update} "
            f"again, whose accuracy under PGD was {100 * healthy.pgd_accuracy:.1f} %"
            + ("." if learned else " and had learned nothing yet: begin again with another --objective.")
        )
    elif above_chance(last.fgsm_accuracy, watch.chance):
        click.echo(f"No masking was seen at {len(readings)} looks, the last at update {last.update}.")
    else:
        click.echo(
            f"Nothing can be said of masking: at update {last.update} accuracy under FGSM is "
            f"{100 * last.fgsm_accuracy:.1f} %, and guessing gives {100 * watch.chance:.1f} %."
        )
