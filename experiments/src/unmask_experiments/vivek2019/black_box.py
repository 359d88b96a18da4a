"""Tables 5 and 6: FGSM images of other networks, tried on a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unmask.attacks import FGSM, Transfer
from unmask.losses import cross_entropy
from unmask.numerics import Batches
from unmask_experiments.evaluation import count_correct, unchanged
from unmask_experiments.vivek2019.config import Config, source, trained
from unmask_experiments.vivek2019.evaluate import BATCH
from unmask_experiments.vivek2019.train import device, images_of, trained_network


def transfer(config: Config, *, work: Path) -> dict[str, Any]:
    """Count the images still correct when FGSM is run on another network, normally trained, as in tables 5 and 6."""
    test = images_of(config).test
    target = trained_network(trained(config), test, work)
    batches = Batches(size=BATCH, device=device())
    fgsm = FGSM(epsilon=config.epsilon, loss=cross_entropy)
    found = {}
    for name in config.sources:
        other = trained_network(source(config, name), test, work)
        found[name] = count_correct(target, Transfer(attack=fgsm, proxy=other), test, batches)
    return {
        "data": config.shown_data,
        "images": len(test),
        "clean": count_correct(target, unchanged, test, batches),
        "own": count_correct(target, fgsm, test, batches),
        "from": found,
    }
