"""``unmask audit``: is the robustness of this model real?"""

from __future__ import annotations

from pathlib import Path

import click

from unmask.cli.attacks import ATTACK, make_attack, names
from unmask.cli.loading import find_device, load_data, load_model, make
from unmask.cli.options import (
    EPSILON,
    FILE,
    FOLDER,
    RegistryOption,
    data_options,
    model_options,
    run_options,
    sample_options,
    weights_option,
)
from unmask.cli.progress import progress_bar

__all__ = ["audit"]


@click.command()
@model_options
@weights_option
@data_options
@click.option(
    "--epsilon", type=EPSILON, required=True, help="L-infinity bound for images in [0, 1], e.g. 0.3 or 8/255."
)
@click.option(
    "--reference",
    cls=RegistryOption,
    type=ATTACK,
    describe=lambda: (
        f"The attack whose claim is audited: {', '.join(names())}, with another loss as in fgsm-log-odds; "
        "by default fgsm, or square for a model without gradients. Or one of your own, as for --attack."
    ),
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="PACKAGE.MODULE:FACTORY",
    help="An attack of your own that takes part, as FACTORY(epsilon=...) returns it; also FILE.py:FACTORY. May be "
    "repeated.",
)
@click.option(
    "--surrogate",
    metavar="MODEL",
    help="Another network for transfer, such as the same classifier without its defence: attacks are made on it and "
    "tried on MODEL.",
)
@click.option("--surrogate-weights", type=FILE, help="Its weights.")
@sample_options
@click.option("--quick", is_flag=True, help="A first look: the same checks, fewer steps, 400 images.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="An attack that would presumably take longer is not begun, and listed as not run.",
)
@click.option(
    "--out",
    type=FOLDER,
    help="Folder for report.html, report.json and report.safetensors.",
)
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
    surrogate: str | None,
    surrogate_weights: Path | None,
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
    import unmask

    images = load_data(data, data_dir, split=split, samples=samples, seed=seed)
    place = find_device(device)
    classifier = load_model(model, weights, images, place, widths=widths, width=width)
    own = [make("attack", name, epsilon=epsilon) for name in attacks]
    if surrogate_weights and not surrogate:
        raise ValueError("--surrogate-weights: expected --surrogate, the model that they belong to")
    other = load_model(surrogate, surrogate_weights, images, place, widths=widths, width=width) if surrogate else None
    with progress_bar("audit") as bar:
        report = unmask.audit(
            classifier,
            images.images,
            images.labels,
            epsilon=epsilon,
            reference=make_attack("reference", reference, epsilon, seed=seed) if reference else None,
            attacks=own,
            surrogate=other,
            device=place,
            batch_size=batch_size,
            budget=budget,
            effort=unmask.QUICK if quick else unmask.FULL,
            seed=seed,
            model_name=model,
            data_name=f"{images.name}, {split}" if split else images.name,
            classes=images.classes,
            cache=out / "unfinished" if out else None,
            progress=bar.stage,
        )
    click.echo(report.to_text())
    if out:
        report.to_json(out / "report.json")
        report.to_html(out / "report.html")
        report.save_adversarial_examples(out / "report.safetensors")
        click.echo(f"wrote {out / 'report.html'}, report.json and, for unmask verify, report.safetensors")
    if fail_on == report.verdict:
        context.exit(1)
