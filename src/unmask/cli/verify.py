"""``unmask verify``: replay the images that an audit says fooled the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.options import (
    FILE,
    batch_option,
    data_folder,
    device_option,
    find_device,
    load_data,
    load_model,
    network_options,
    split_option,
)

if TYPE_CHECKING:
    import torch

    from unmask.data import Dataset
    from unmask.numerics import Model
    from unmask.reports.adversarial_examples import Evidence
    from unmask.reports.record import AuditRecord
    from unmask.reports.replay import Replay

TESTS = {"inside": "within epsilon of the clean image", "valid": "in [0, 1]", "fooled": "misclassified"}
"""What is asked of each image, in this order."""


@click.command()
@click.argument("report", type=FILE)
@click.option("--model", required=True, help="PACKAGE.MODULE:FACTORY or a built-in network, as for audit.")
@network_options
@click.option("--weights", type=FILE, help="Safetensors, or .pt holding nothing but tensors.")
@click.option("--evidence", type=FILE, help="By default REPORT's own name, but ending in .safetensors.")
@click.option("--data", help="Take the clean images and labels from these data, not from the evidence.")
@data_folder
@split_option
@batch_option
@device_option
@click.pass_context
def verify(
    context: click.Context,
    report: Path,
    model: str,
    widths: tuple[int, ...] | None,
    width: int | None,
    weights: Path | None,
    evidence: Path | None,
    data: str | None,
    data_dir: Path | None,
    split: str | None,
    batch_size: int,
    device: str,
) -> None:
    """Replay on a model the images that, says REPORT (an audit's report.json), fooled it.

    Each must lie within epsilon of the clean image and in [0, 1], and must be misclassified. This confirms the
    report's worst case as an upper bound of the robust accuracy, and nothing else in it. The exit code is 0 if the
    claim holds and 1 if it does not.
    """
    from unmask.reports.adversarial_examples import read
    from unmask.reports.record import AuditRecord

    record = AuditRecord.from_json(report)
    found = read(evidence or report.with_suffix(".safetensors"), record)
    if not len(found.index):
        click.echo(f"None of {record.samples} images is said to have fooled the model: there is nothing to replay.")
        return
    originals = _originals(found, record, data, data_dir, split)
    place = find_device(device)
    classifier = load_model(model, weights, originals, place, widths=widths, width=width)
    outcome, random = _replay(classifier, originals, found, record, batch_size, place)
    total = len(originals)
    click.echo(f"{total} of {record.samples} images are said to fool the model at epsilon {record.epsilon:.6g}.")
    click.echo(f"The clean images are those of {originals.name}.")
    if random:
        click.echo(
            "The model answers at random: what counts is its mean over draws, which are others than the audit's."
        )
    for name, test in TESTS.items():
        click.echo(f"  {test:<35}{int(getattr(outcome, name).sum())} of {total}")
    if random and record.samples - int(outcome.fooled.sum()) <= record.robust.high * record.samples:
        outcome = outcome._replace(fooled=outcome.fooled | True)  # as many as the report's interval has room for
    if offence := _first_offence(outcome, found, originals, record):
        click.echo(f"The claim does not hold: {offence}.")
        context.exit(1)
    click.echo(f"The claim holds: the robust accuracy is at most {record.robust}.")


def _originals(
    found: Evidence, record: AuditRecord, name: str | None, data_dir: Path | None, split: str | None
) -> Dataset:
    """The clean images and labels: the user's own, if they are those that were audited, or the evidence's."""
    from unmask.auditing.preflight import chosen
    from unmask.data import Dataset
    from unmask.data.dataset import images_digest

    if not name:
        classes = tuple(map(str, range(record.classes)))
        source = "the evidence itself; give --data to take your own"
        return Dataset(name=source, images=found.clean.float(), labels=found.labels, classes=classes)
    data = load_data(name, data_dir, split=split, samples=record.given or record.samples, seed=record.seed)
    if record.given:
        data = data.take(chosen(data.images, record.samples, record.seed).numpy())
    if images_digest(data.images, data.labels) != record.images_digest:
        raise ValueError(
            f"data: expected the {record.samples} images that were audited ({record.data}), got others from "
            f"{data.name}; is it the same --split?"
        )
    return data.take(found.index.numpy())


def _replay(
    model: Model, originals: Dataset, found: Evidence, record: AuditRecord, batch_size: int, place: torch.device
) -> tuple[Replay, bool]:
    """Look at the model as an audit does, then at what it says to the images; and whether it answers at random."""
    from torch import nn

    from unmask.attacks import Averaged
    from unmask.attacks.trial import examined
    from unmask.auditing.course import FRESH_DRAWS
    from unmask.auditing.preflight import preflight
    from unmask.numerics import Batches
    from unmask.reports.replay import replay

    batches = Batches(size=batch_size, device=place)
    subject = preflight(model, originals.images, originals.labels, batches=batches, classes=record.classes)
    kind = subject.images.dtype
    if found.adversarial.dtype != kind:
        raise ValueError(
            f"evidence: expected images in the model's precision, {kind}, found {found.adversarial.dtype}; a coarser "
            "one would hide how far pixels were moved"
        )
    if isinstance(model, nn.Module):
        model.eval()
    judge = Averaged(subject.model, draws=FRESH_DRAWS) if subject.random else model
    outcome = replay(
        lambda images: examined(judge, images.to(place, kind), seed=1),
        originals.images,
        found.adversarial,
        originals.labels,
        epsilon=record.epsilon,
        batch_size=batches.size,
    )
    return outcome, subject.random


def _first_offence(outcome: Replay, found: Evidence, originals: Dataset, record: AuditRecord) -> str | None:
    """What is wrong with the first image that is not what the report says."""
    wrong = ~(outcome.inside & outcome.valid & outcome.fooled)
    if not wrong.any():
        return None
    row = int(wrong.double().argmax())
    attack = int(found.attack[row])
    name = f"image {int(found.index[row])}, found by {record.attacks[attack].name if attack >= 0 else 'no attack'},"
    if not outcome.inside[row]:
        return f"{name} has a pixel that moved by {outcome.moved[row]:.6g}, more than epsilon {record.epsilon:.6g}"
    if not outcome.valid[row]:
        return f"{name} has pixels outside [0, 1]"
    label = int(originals.labels[row])
    first, second = outcome.logits[row].topk(2).values.tolist()
    lead = f"a logit {first - second:.3g} above the next"
    return f"{name} is classified correctly, as {originals.classes[label]}, with {lead}"
