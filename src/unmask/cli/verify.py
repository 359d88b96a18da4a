"""``unmask verify``: replay an audit's adversarial examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.loading import find_device, load_data, load_model
from unmask.cli.options import (
    FILE,
    batch_option,
    data_folder,
    device_option,
    network_options,
    split_option,
    weights_option,
)

if TYPE_CHECKING:
    from unmask.auditing.verification import Verification
    from unmask.data import Dataset
    from unmask.reports import AuditRecord
    from unmask.reports.adversarial_examples import AdversarialExamples

__all__ = ["verify"]

TESTS = {"inside": "within epsilon of the clean image", "valid": "in [0, 1]", "fooled": "misclassified"}
"""The three tests of each image, in this order."""


@click.command()
@click.argument("report", type=FILE)
@click.option("--model", required=True, help="PACKAGE.MODULE:FACTORY or a built-in network, as for audit.")
@network_options
@weights_option
@click.option(
    "--adversarial-examples", "file", type=FILE, help="By default REPORT's own name, but ending in .safetensors."
)
@click.option("--data", help="Take the clean images and labels from these data, not from the adversarial examples.")
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
    file: Path | None,
    data: str | None,
    data_dir: Path | None,
    split: str | None,
    batch_size: int,
    device: str,
) -> None:
    """Replay on a model the adversarial examples of REPORT, an audit's report.json.

    Each must lie within epsilon of the clean image and in [0, 1], and must be misclassified. This confirms the
    report's robust accuracy as an upper bound, and nothing else in it. The exit code is 0 if the claim holds and 1 if
    it does not.
    """
    import unmask
    from unmask.reports import AuditRecord
    from unmask.reports.adversarial_examples import read

    record = AuditRecord.from_json(report)
    path = file or report.with_suffix(".safetensors")
    examples = read(path, record)
    if not len(examples.index):
        click.echo(f"None of {record.samples} images is said to have fooled the model: there is nothing to replay.")
        return
    place = find_device(device)
    images = _images(record, examples, data, data_dir, split)
    found = unmask.verify(
        record,
        load_model(model, weights, images, place, widths=widths, width=width),
        images.images if data else None,
        images.labels if data else None,
        path,
        device=place,
        batch_size=batch_size,
        classes=images.classes,
    )
    _tell(found, record, images.name)
    if not found.holds:
        context.exit(1)


def _images(
    record: AuditRecord, examples: AdversarialExamples, name: str | None, data_dir: Path | None, split: str | None
) -> Dataset:
    """Return the user's images, from which those that were audited are drawn, or the clean ones of the file."""
    from unmask.data import Dataset

    if name:
        return load_data(name, data_dir, split=split, samples=record.images_given or record.samples, seed=record.seed)
    classes = tuple(map(str, range(record.classes)))
    source = "the adversarial examples' file; give --data to take your own"
    return Dataset(name=source, images=examples.clean.float(), labels=examples.labels, classes=classes)


def _tell(found: Verification, record: AuditRecord, source: str) -> None:
    total = found.examples
    click.echo(f"{total} of {record.samples} images are said to fool the model at epsilon {record.epsilon:.6g}.")
    click.echo(f"The clean images are those of {source}.")
    if found.random:
        click.echo(
            "The model answers at random: what counts is its mean over draws, which are others than the audit's."
        )
    for name, test in TESTS.items():
        click.echo(f"  {test:<35}{getattr(found, name)} of {total}")
    if found.holds:
        click.echo(f"The claim holds: the robust accuracy is at most {found.robust}.")
    else:
        click.echo(f"The claim does not hold: {found.reason}.")
