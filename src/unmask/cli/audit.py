"""``unmask audit``: is the robustness of this model real?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.options import (
    EPSILON,
    FILE,
    FOLDER,
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

if TYPE_CHECKING:
    from unmask.attacks import Attack

REFERENCES = ("fgsm", "fgsm-log-odds", "pgd", "pgd-log-odds", "square")


@click.command()
@model_options
@click.option("--weights", type=FILE, help="Safetensors, or .pt holding nothing but tensors.")
@data_options
@click.option(
    "--epsilon", type=EPSILON, required=True, help="L-infinity bound for images in [0, 1], e.g. 0.3 or 8/255."
)
@click.option(
    "--reference",
    type=NamedOrOwn(REFERENCES),
    help="The attack whose claim is audited, by default fgsm, or square for a model without gradients; with cross "
    "entropy unless it says log-odds. Or one of your own, as for --attack.",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="PACKAGE.MODULE:FACTORY",
    help="An attack of your own that takes part: what FACTORY(epsilon=...) returns; also FILE.py:FACTORY. May be "
    "repeated.",
)
@click.option(
    "--twin", metavar="MODEL", help="The same classifier without its defence: attacks on it are tried on MODEL."
)
@click.option("--twin-weights", type=FILE, help="Its weights.")
@sample_options
@click.option("--quick", is_flag=True, help="A first look: the same checks, fewer steps, 400 images.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="What would presumably take longer is not begun, and listed as not run.",
)
@click.option("--out", type=FOLDER, help="Where to write report.html, .json and .safetensors, the evidence.")
@click.option("--fail-on", type=click.Choice(["masked"]), help="Exit with 1 if that is the verdict.")
@run_options
@click.pass_context
def audit(
    context: click.Context,
    model: str,
    widths: tuple[int, ...] | None,
    width: int | None,
    weights: Path | None,
    data: str,
    data_dir: Path | None,
    epsilon: float,
    reference: str | None,
    attacks: tuple[str, ...],
    twin: str | None,
    twin_weights: Path | None,
    split: str | None,
    samples: int,
    batch_size: int,
    quick: bool,
    budget: float | None,
    out: Path | None,
    fail_on: str | None,
    device: str,
    seed: int,
) -> None:
    """Tell whether MODEL's robustness is real or gradient masking.

    MODEL is PACKAGE.MODULE:FACTORY or FILE.py:FACTORY, a function that returns a classifier for images in [0, 1], an
    .onnx file, or the name of a built-in network such as mlp, lenet+ or resnet-18.
    """
    from unmask.auditing.kit import FULL, QUICK
    from unmask.auditing.runner import audit as run

    images = load_data(data, data_dir, split=split, samples=samples, seed=seed)
    place = find_device(device)
    classifier = load_model(model, weights, images, place, widths=widths, width=width)
    own = [made("attack", name, epsilon=epsilon) for name in attacks]
    if twin_weights and not twin:
        raise ValueError("--twin-weights: expected --twin, the model that they belong to")
    other = load_model(twin, twin_weights, images, place, widths=widths, width=width) if twin else None
    with progress_bar() as bar:
        task = bar.add_task("audit", total=1.0)
        report = run(
            classifier,
            images.images,
            images.labels,
            epsilon=epsilon,
            reference=_reference(reference, epsilon, seed),
            attacks=own,
            twin=other,
            device=place,
            batch_size=batch_size,
            budget=budget,
            effort=QUICK if quick else FULL,
            seed=seed,
            subject=model,
            data=f"{images.name}, {split}" if split else images.name,
            classes=images.classes,
            keep=out / "unfinished" if out else None,
            progress=lambda stage, share: bar.update(task, description=stage, completed=share),
        )
    click.echo(report.to_text())
    if out:
        report.to_json(out / "report.json")
        report.to_html(out / "report.html")
        report.save_evidence(out / "report.safetensors")
        click.echo(f"wrote {out / 'report.html'}, report.json and, for unmask verify, report.safetensors")
    if fail_on == report.verdict:
        context.exit(1)


def _reference(name: str | None, epsilon: float, seed: int) -> Attack | None:
    """The attack by this name; none is the audit's own choice."""
    from unmask.attacks import FGSM, PGD, Square
    from unmask.losses import cross_entropy, log_odds

    loss = log_odds if name and name.endswith("log-odds") else cross_entropy
    match name:
        case None:
            return None
        case own if ":" in own:
            return made("reference", own, epsilon=epsilon)  # type: ignore[no-any-return]
        case "square":
            return Square(epsilon=epsilon, seed=seed)
        case "fgsm" | "fgsm-log-odds":
            return FGSM(epsilon=epsilon, loss=loss)
        case _:
            return PGD(epsilon=epsilon, loss=loss, seed=seed)
