"""PGD beside foolbox, torchattacks and the Adversarial Robustness Toolbox: one network, the same images and steps."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.data import digits_like
from benchmarks.measure import Comparison, alternate
from unmask.attacks import PGD, predict
from unmask.losses import cross_entropy
from unmask.models import build
from unmask.training import Trainer

EPSILON, STEP_SIZE = 0.3, 0.01
COUNT, BATCH_SIZE, TRAINING_UPDATES = 256, 128, 100

Attack = Callable[[Tensor, Tensor], Tensor]


def lenet(*, rounds: int, steps: int = 40, count: int = COUNT, updates: int = TRAINING_UPDATES) -> Comparison:
    """LeNet+ on digits, trained a little; every attack starts from the images and climbs cross entropy."""
    model = trained(updates)
    data = digits_like(count, seed=1)
    attacks = ours(model, steps) | peers(model, steps)
    found: dict[str, Tensor] = {}

    def run(name: str) -> None:
        parts = zip(torch.split(data.images, BATCH_SIZE), torch.split(data.labels, BATCH_SIZE), strict=True)
        found[name] = torch.cat([attacks[name](*part) for part in parts])

    seconds = alternate({name: partial(run, name) for name in attacks}, rounds=rounds)
    first = next(iter(found))
    checks = [
        f"{name}: {int((predict(model, points) == data.labels).sum())} of {count} still right, "
        f"{100 * ((points - found[first]).abs() < 1e-5).double().mean():.2f} % of pixels as with {first}"
        for name, points in found.items()
    ]
    return Comparison(
        name=f"PGD on LeNet+, {count} images in batches of {BATCH_SIZE}, {steps} steps",
        seconds=seconds,
        checks=checks,
        notes=[
            "Unless they are frozen, foolbox and ART also compute the parameters' gradients.",
            *(
                f"{package} is not installed."
                for package in ("torchattacks", "foolbox", "art")
                if not find_spec(package)
            ),
        ],
    )


def trained(updates: int) -> nn.Module:
    """LeNet+ after a few updates, enough to be right on most digits."""
    model = build("lenet+", inputs=(1, 28, 28), classes=10)
    for _ in Trainer(updates=updates, channels_last=True)(model, digits_like(5000, seed=0)):
        pass
    return model.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload, no-any-return]


def ours(model: nn.Module, steps: int) -> dict[str, Attack]:
    """Our PGD, keeping the last point as the others do, and keeping the best."""

    def attack(keep: Any) -> Attack:
        pgd = PGD(epsilon=EPSILON, steps=steps, step_size=STEP_SIZE, start="clean", keep=keep, loss=cross_entropy)
        return lambda images, labels: pgd(model, images, labels)

    return {"unmask": attack("last"), "unmask, keeping the best": attack("best")}


def peers(model: nn.Module, steps: int) -> dict[str, Attack]:
    """The others that are installed, as their documentation shows them, and with frozen parameters where it matters."""
    frozen = copy.deepcopy(model).requires_grad_(False)
    attacks: dict[str, Attack] = {}
    with quiet():
        if find_spec("torchattacks"):
            attacks["torchattacks"] = torchattacks_pgd(model, steps)
        if find_spec("foolbox"):
            attacks["foolbox"] = foolbox_pgd(model, steps)
            attacks["foolbox, parameters frozen"] = foolbox_pgd(frozen, steps)
        if find_spec("art"):
            attacks["ART"] = art_pgd(model, steps)
            attacks["ART, parameters frozen"] = art_pgd(frozen, steps)
    return attacks


def torchattacks_pgd(model: nn.Module, steps: int) -> Attack:
    """Its PGD, which computes the images' gradient alone, as ours does."""
    torchattacks = import_module("torchattacks")
    attack: Attack = torchattacks.PGD(model, eps=EPSILON, alpha=STEP_SIZE, steps=steps, random_start=False)
    return attack


def foolbox_pgd(model: nn.Module, steps: int) -> Attack:
    """Its LinfPGD; ``run`` returns the images, without judging them."""
    foolbox = import_module("foolbox")
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=steps, random_start=False)
    return lambda images, labels: attack.run(wrapped, images, labels, epsilon=EPSILON)


def art_pgd(model: nn.Module, steps: int) -> Attack:
    """Its ProjectedGradientDescent, in the form for PyTorch."""
    estimator = import_module("art.estimators.classification").PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = import_module("art.attacks.evasion").ProjectedGradientDescentPyTorch(
        estimator, eps=EPSILON, eps_step=STEP_SIZE, max_iter=steps, batch_size=BATCH_SIZE, verbose=False
    )
    return lambda images, labels: torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of the packages that are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
