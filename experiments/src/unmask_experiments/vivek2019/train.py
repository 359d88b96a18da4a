"""Train one network as the paper did, measure it on the way, and evaluate it at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from unmask.attacks import FGSM, IFGSM
from unmask.data import Dataset, load
from unmask.losses import cross_entropy
from unmask.models import load_weights, save_weights
from unmask.numerics import Batches, derive_seed
from unmask.training import STUCK_EVERY, Reading, Steps, Trainer, Watch
from unmask_experiments.evaluation import Attack, count_correct, shuffled, unchanged
from unmask_experiments.follow import Row, follow, rows_so_far, weights_folder
from unmask_experiments.sweeps import finite
from unmask_experiments.vivek2019.config import CHOICES, Config, network, source, updates_per_epoch
from unmask_experiments.vivek2019.evaluate import BATCH, LossCurves, alignment, evaluation, in_parts
from unmask_experiments.vivek2019.methods import Sources, objective_of

LAST, SELECTED = "last.safetensors", "selected.safetensors"
"""Files of a run's weights: those at its end, and those that did best under I-FGSM on validation images."""

RESTARTS = 2
"""Restarts of a run that is stuck."""

PART = 1_000
"""Test images that are evaluated at a time; their results are saved."""

SELECTING_STEPS = 3
"""Of the I-FGSM that chooses among the passes."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The parts of a run's data: the validation images are those measured after each pass."""

    train: Dataset
    validation: Dataset
    test: Dataset


def images_of(config: Config) -> Images:
    """The images of a run; the test images are in random order, so that the first of them are a fair sample."""
    train, validation, test = (load(config.data, part) for part in ("train", "validation", "test"))
    return Images(
        train=_enlarged(train.sample(config.train_images or len(train), 0), config.side),
        validation=_enlarged(validation.sample(config.sample_images, 0), config.side),
        test=_enlarged(shuffled(test, config.test_images), config.side),
    )


def first(data: Dataset, count: int) -> Dataset:
    """The first images, or all if there are no more."""
    return data.take(np.arange(min(count, len(data))))


def device() -> torch.device:
    """A GPU where there is one: CIFAR-10 as published takes it."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_of(config: Config) -> Literal["float32", "bf16-mixed"]:
    """The precision that training takes here; float32 where torch is too old to tell what the processor can do."""
    if config.precision != "fastest":
        return config.precision
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported()
    else:
        able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        native = able.get("avx512_bf16") or able.get("amx_bf16")
    return "bf16-mixed" if native else "float32"


def trained_network(config: Config, data: Dataset, work: Path, name: str = LAST) -> nn.Module:
    """Return the network of a training, from the folder beside ``work`` or trained within it now."""
    folder = weights_folder(train, config, work, [name])
    model = network(config, data, seed=0)
    load_weights(model, folder / name)
    return placed(config, model).eval()


def placed(config: Config, model: nn.Module) -> nn.Module:
    """The network on its device, its filters laid out as in training."""
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    return model.to(device(), memory_format=layout)  # type: ignore[call-overload,no-any-return]


def train(config: Config, *, work: Path, progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Train one network and evaluate it; its weights are saved in ``work``."""
    images = images_of(config)
    sources = tuple(trained_network(source(config, name), images.test, work) for name in config.sources)
    abandoned: list[dict[str, Any]] = []
    for attempt in range(RESTARTS + 1):
        tried = Attempt(config=config, images=images, sources=sources, number=attempt, work=work)
        rows, diverged, watch = tried(progress)
        stuck = [update for update, row in rows.items() if row.get("stuck") and update >= STUCK_EVERY]
        if tried.is_last or not tried.is_stuck(rows):
            break
        abandoned.append({"seed": tried.seed, "stuck at": stuck})
    save_weights(tried.model, work / LAST)
    result = {
        "data": config.shown_data,
        "images": len(images.train),
        "epochs": {name: [row.get(name) for row in rows.values()] for name in ROW} | {"update": list(rows)},
        "readings": _readings(watch.readings if watch else []),
        "curves": [{"update": update, **row["curves"]} for update, row in rows.items() if "curves" in row],
        "stuck at": stuck,
        "begun again": abandoned,
        "diverged": diverged,
        "precision": precision_of(config),
        "device": str(device()),
        "choices": dict(CHOICES),
    }
    if diverged is None:
        result |= _final(config, tried.model, images, work, progress)
    cleaned: dict[str, Any] = finite(result)
    return cleaned


ROW = ("loss", "seconds", "learning_rate", "stuck", "validation")
"""Values of each pass, or of a part of one."""


@dataclass(kw_only=True)
class Attempt:
    """One try at a run; the further ones have other weights and noise, and warm up."""

    config: Config
    images: Images
    sources: Sources
    number: int
    work: Path

    def __post_init__(self) -> None:
        own = derive_seed(self.config.seed, self.config.kind, self.number) % 2**31
        self.seed = self.config.seed if self.config.kind == "training" and not self.number else own
        self.per_epoch = updates_per_epoch(self.config, len(self.images.train))
        self.place = self.work / "checkpoint" / f"attempt-{self.number}"
        self.model = placed(self.config, network(self.config, self.images.train, self.seed))
        self.batches = Batches(size=BATCH, device=device())

    def __call__(self, progress: Callable[[float], None]) -> tuple[dict[int, Row], Row | None, Watch | None]:
        """Train; return the rows of the passes, the point of divergence, if any, and the watch with its readings."""
        plain = self.config.kind == "source"
        watch = None if plain else self.watch()
        rows, diverged = follow(
            self.trainer(),
            self.model,
            self.images.train,
            self.measure,
            work=self.place,
            progress=lambda share: progress(TRAINING * share),
            watch=watch,
            also_at=self.config.moments,
            stop=lambda update, row: not self.is_last and self.is_stuck({update: row}),
        )
        return rows, diverged, watch

    def trainer(self) -> Trainer:
        """The paper's recipe for this run."""
        config = self.config
        return Trainer(
            updates=self.per_epoch * config.epochs,
            batch_size=config.batch_size,
            objective=objective_of(config, self.sources, self.seed),
            optimizer="momentum",
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            schedule=self.schedule(),
            precision=precision_of(config),
            channels_last=config.channels_last,
            seed=self.seed,
        )

    def schedule(self) -> Steps:
        """The learning rate's factor; it rises at first where a try before was stuck."""
        config, updates = self.config, self.per_epoch * self.config.epochs
        return Steps(
            at=[round(share * updates) for share in config.drops],
            factors=[config.decay**-power for power in range(1, len(config.drops) + 1)],
            warmup=self.per_epoch if self.number else 0,
        )

    def watch(self) -> Watch:
        """Return the watch, which reads the network on the way and calls nothing masking."""
        config, few = self.config, self.images.train.sample(self.config.watch_images, 1)
        return Watch(
            epsilon=config.epsilon, images=few.images, labels=few.labels, every=config.watch_every,
            steps=config.watch_steps, alpha=config.noise, rule=None, seed=config.seed,
        )  # fmt: skip

    def measure(self, update: int) -> Row:
        """Return the row of a pass, or of a moment that the paper shows."""
        found: Row = {"learning_rate": self.config.learning_rate * self.schedule()(update - 1)}
        if self.config.kind == "source":
            return found
        if update % self.per_epoch == 0:
            best = max((row.get("validation") or -1 for row in rows_so_far(self.place).values()), default=-1)
            attack = IFGSM(epsilon=self.config.epsilon, steps=SELECTING_STEPS, loss=cross_entropy)
            found["validation"] = count_correct(self.model, attack, self.images.validation, self.batches)
            if self.config.select and found["validation"] > best:
                save_weights(self.model, self.work / SELECTED)
        if update in self.config.moments:
            found["curves"] = curves(self.config, self.model, self.images.validation, self.batches)
        cleaned: Row = finite(found)
        return cleaned

    @property
    def is_last(self) -> bool:
        """True for the last try, which goes on even if it is stuck."""
        return self.number == RESTARTS

    def is_stuck(self, rows: dict[int, Row]) -> bool:
        """Return True if the run was stuck at the end of the first pass that is long enough to tell."""
        asked = -(-STUCK_EVERY // self.per_epoch) * self.per_epoch
        return bool(rows.get(asked, {}).get("stuck")) and asked < self.per_epoch * self.config.epochs


TRAINING = 0.8
"""The share of a run, about, that is training; the rest is its evaluation."""


def curves(config: Config, model: nn.Module, data: Dataset, batches: Batches) -> dict[str, Any]:
    """Measure the loss against epsilon."""
    measure = LossCurves(
        epsilon=config.epsilon, epsilons=config.epsilons, noise=config.noise, steps=config.steps[1],
        step_size=config.step_size, seed=config.seed, batches=batches,
    )  # fmt: skip
    return measure(model, first(data, config.curve_images))


def _final(
    config: Config, model: nn.Module, images: Images, work: Path, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Evaluate in float32 on all test images; a source only on clean images and under FGSM."""
    batches = Batches(size=BATCH, device=device())
    if config.kind == "source":
        attacks: dict[str, Attack] = {
            "clean": unchanged,
            "fgsm": FGSM(epsilon=config.epsilon, loss=cross_entropy),
        }
        counts = {name: count_correct(model, attack, images.test, batches) for name, attack in attacks.items()}
        return {"final": {"last": {"images": len(images.test), "standing": counts}}}
    few = first(images.test, config.curve_images)

    def measure(name: str, begin: float, end: float) -> dict[str, Any]:
        return in_parts(
            evaluation(config, batches), model.eval(), images.test, size=PART,
            folder=work / "checkpoint" / name, progress=lambda share: progress(begin + (end - begin) * share),
        )  # fmt: skip

    until = (1 + TRAINING) / 2 if config.select else 1.0
    found: dict[str, Any] = {
        "final": {"last": measure("last", TRAINING, until)},
        "cosine": alignment(model, few, noise=config.noise, epsilon=config.epsilon, seed=config.seed, batches=batches),
    }
    if config.moments:
        found["test_curves"] = curves(config, model, images.test, batches)
    if config.select:
        same = (work / SELECTED).read_bytes() == (work / LAST).read_bytes()
        load_weights(model, work / SELECTED)
        found["final"]["selected"] = found["final"]["last"] if same else measure("selected", until, 1.0)
    return found


def _readings(readings: list[Reading]) -> dict[str, list[float]]:
    """By quantity, one value for each reading."""
    rows = [asdict(one) for one in readings]
    return {name: [row[name] for row in rows] for name in Reading.__dataclass_fields__ if name != "masked"}


def _enlarged(data: Dataset, side: int) -> Dataset:
    """The images at this side, by bilinear interpolation; 0 leaves them."""
    if not side:
        return data
    return replace(data, images=functional.interpolate(data.images, size=(side, side), mode="bilinear"))
