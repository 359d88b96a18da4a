"""Vivek et al. 2019: the runs of the grid, their order, their sources and their costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unmask.attacks import PGD
from unmask.losses import cross_entropy
from unmask.training.objectives import Adversarial, Augmented, LogitDistance
from unmask_experiments import vivek2019
from unmask_experiments.sweeps import identify
from unmask_experiments.vivek2019 import PAPER, QUICK, SMOKE, train
from unmask_experiments.vivek2019.config import CIFAR, FULL, NARROW, source
from unmask_experiments.vivek2019.figures import growth
from unmask_experiments.vivek2019.grid import (
    ablation,
    cifar_rows,
    ensembles,
    methods,
    single_step,
    sources_of,
    table3,
)
from unmask_experiments.vivek2019.methods import METHODS, objective_of, passes


def test_the_paper_profile_is_the_recipe(tmp_path):
    assert (PAPER.learning_rate, PAPER.weight_decay, PAPER.batch_size, PAPER.epochs) == (0.01, 5e-4, 32, 20)
    assert (PAPER.epsilon, PAPER.weight, PAPER.alpha, PAPER.steps) == (0.3, 5, 0.01, (40, 40, 100))
    schedule = train.Attempt(config=PAPER, images=Sized(50_000), sources=(), number=0, work=tmp_path).schedule()
    epochs = [schedule(1563 * epoch) for epoch in (5, 6, 11, 16)]
    assert epochs == pytest.approx([1, 1 / 5, 1 / 25, 1 / 125])
    rows = methods(PAPER)
    assert objective_of(rows["proposed"], (), 0) == LogitDistance(epsilon=0.3, alpha=0.01, loss=cross_entropy)
    assert objective_of(rows["pgd"], (), 0) == Adversarial(
        attack=PGD(epsilon=0.3, steps=40, step_size=0.01, keep="last", loss=cross_entropy)
    )
    assert isinstance(objective_of(methods(NARROW)["normal"], (), 0), Augmented)
    assert (FULL.epsilon, FULL.steps, FULL.training_steps) == (8 / 255, (7, 7, 20), 7)


class Sized:
    """Images of which only the number matters."""

    def __init__(self, count):
        self.train = torch.zeros(count, 1, 28, 28)
        self.train.classes, self.train.images = "0123456789", self.train[:1]


def test_the_order_of_the_runs():
    configs, rows = vivek2019.grid(PAPER, seeds=3), table3(PAPER)
    assert len({identify(config) for config in configs}) == len(configs)
    assert configs[:5] == [rows[name] for name in ("normal", "fgsm", "fgsm_only", "proposed", "pgd")]
    place = {name: configs.index(row) for name, row in table3(PAPER).items()}
    assert max(place, key=place.get) == "eat_b"
    first_repeat = next(row for row, one in enumerate(configs) if one.seed)
    assert first_repeat > place["eat_b"]
    for name in ("fgsm", "proposed", "pgd"):
        assert {one.seed for one in configs if replace(one, seed=0) == rows[name]} == {0, 1, 2}
    for row in [rows[name] for name in ensembles(PAPER)]:
        assert all(configs.index(one) < configs.index(row) for one in sources_of([row]))


@pytest.mark.parametrize("profile", [PAPER, QUICK, SMOKE], ids=["paper", "quick", "smoke"])
def test_every_run_finds_its_sources_among_the_others(profile):
    configs = set(vivek2019.grid(profile, seeds=1))
    for config in configs:
        assert {source(config, name) for name in config.sources} <= configs
    assert len(sources_of(table3(profile).values())) == 4


def test_the_ablation_is_a_whole_grid_around_the_proposed_run():
    rows = ablation(PAPER)
    proposed, central = methods(PAPER)["proposed"], rows["weight 5, alpha 0.01"]
    assert central == replace(proposed, epochs=5, moments=(), select=False, watch_every=500, curve_images=1_000)
    assert {(one.weight, one.alpha) for one in rows.values()} >= {
        (w, a) for w in (1, 5, 25) for a in (0.01, 0.05, 0.15)
    }
    assert rows["weight 0"] == single_step(PAPER)["fgsm_only"]
    assert rows["weight 5, alpha 0.01, all passes"] == proposed


@pytest.mark.parametrize(
    ("method", "settings", "thirds"),
    [
        ("normal", {}, 3), ("fgsm", {}, 5), ("fgsm", {"clean_weight": 0.5}, 8), ("rfgsm+fgsm", {}, 10),
        ("ensemble", {"clean_weight": 0.5}, 8), ("pgd", {"training_steps": 40}, 83), ("logit-distance", {}, 10),
        ("step-distance", {}, 7), ("gat", {}, 8), ("gradalign", {}, 17), ("rs-fgsm", {}, 5), ("n-fgsm", {}, 5),
    ],
)  # fmt: skip
def test_the_passes_of_an_update_are_those_of_the_objectives(method, settings, thirds):
    assert method in METHODS
    assert passes(replace(PAPER, method=method, **settings)) == thirds


def test_growth_counts_from_the_first_updates_or_since_the_network_has_learned():
    readings = {
        "update": [1, 5, 10, 20],
        "clean_accuracy": [0.1, 0.1, 0.9, 0.9],
        "logit_distance": [9.0, 1.0, 4.0, 8.0],
    }
    assert growth({"readings": readings}, until=10) == 8 / 2.5
    assert growth({"readings": readings}, until=10, learned=0.5) == 2
    assert growth({"readings": readings}, until=5, learned=0.5) == 8  # none has learned by then


def test_the_rows_of_cifar_10_are_augmented_and_labelled():
    for profile in (PAPER, QUICK):
        for row in cifar_rows(CIFAR[profile]).values():
            assert row.augment
            assert row.shown_data == "CIFAR-10 (JPEG copy)"
