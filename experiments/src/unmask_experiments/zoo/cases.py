"""The pairs of the zoo: each a network, a defence of it, and the attack whose claim is audited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from torch import nn

from unmask.attacks import FGSM, PGD, Attack
from unmask.losses import Loss, cross_entropy, log_odds
from unmask_experiments.zoo.defences import DEFENCES
from unmask_experiments.zoo.networks import Network

Kind = Literal["exact", "sandwiched", "published", "not masked"]
"""The purpose of a pair in the zoo. It decides nothing: the truth of each pair is measured."""

SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Case(Network):
    """A pair of a model, which is a network with a defence, and the attack whose claim is audited.

    Attributes:
        defence: a key of ``DEFENCES``; ``epsilon``: of the audit.
        reference: ``"fgsm"``, with cross entropy, or ``"pgd, log-odds"``; ``"none"`` for a network's worst case.
        images: number of test images.
        steps, restarts: of the gradient attacks that establish the truth; ``queries``: of Square there.
    """

    defence: str = ""
    reference: str = "fgsm"
    epsilon: float = 0.1
    images: int = 1_000
    steps: int = 100
    restarts: int = 3
    queries: int = 2_000

    @property
    def undefended(self) -> Self:
        """The network without a defence and without a claim: its worst case is that of every exact pair.

        Example:
            >>> Case(defence="softmax", seed=2).undefended == Case(reference="none", seed=2)
            True
        """
        return replace(self, defence="", reference="none")

    @property
    def label(self) -> str:
        """The name of a pair without its seed.

        Example:
            >>> Case(method="pgd", strength=0.2, epsilon=0.2, defence="softmax").label
            'cnn, pgd 0.2, softmax'
        """
        method = f"{self.method} {self.strength:g}" if self.strength else self.method.replace("normal", "")
        claim = "" if self.reference == "fgsm" else f"claimed by {self.reference}"
        return ", ".join(part for part in (self.network, method, self.defence, claim) if part)

    @property
    def name(self) -> str:
        """The label with the seed."""
        return f"{self.label}, seed {self.seed}"

    @property
    def kind(self) -> Kind:
        """The purpose of the pair in the zoo."""
        truth = DEFENCES[self.defence].truth
        if self.defence in HARMLESS or self.reference != "fgsm":
            return "not masked"
        if self.defence:
            return "published" if truth == "own" else truth
        return "published" if self.method in MASKING else "not masked"

    def attack(self, loss: Loss | None = None) -> Attack:
        """Return the attack whose claim is audited, or the same with another loss."""
        if self.reference == "fgsm":
            return FGSM(epsilon=self.epsilon, loss=loss or cross_entropy)
        return PGD(epsilon=self.epsilon, loss=loss or log_odds, seed=self.seed)

    def published(self, network: nn.Module) -> nn.Module:
        """Return the audited model: the network with the defence."""
        return DEFENCES[self.defence].wrap(network).eval()

    def proxy(self, network: nn.Module) -> nn.Module:
        """Return the model that an attacker who knows the defence differentiates."""
        return DEFENCES[self.defence].proxy(network).eval()


HARMLESS = ("times 0.3",)
MASKING = ("fgsm", "tempered", "distilled", "high rate")
"""Defences and ways of training, for the listing alone."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The settings that differ between data sets: epsilons, and the length of training.

    Attributes:
        little: the epsilon at which plain networks are audited, ``faint`` linear ones.
        robust: those of training with PGD, from small to large; ``distance``: of the logit distance.
        single: those of training with FGSM.
    """

    little: float
    faint: float
    robust: tuple[float, ...]
    distance: tuple[float, ...]
    single: tuple[float, ...]
    networks: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, Any]


SCALES: Mapping[str, Scale] = {
    "digits": Scale(
        little=0.1,
        faint=0.05,
        robust=(0.05, 0.1, 0.15),
        distance=(0.1, 0.15),
        single=(0.15, 0.2),
        networks={
            "cnn": {"size": 8, "updates": 600, "learning_rate": 0.003},
            "mlp": {"network": "mlp", "size": 128, "updates": 600},
            "linear": {"network": "linear", "updates": 1_000, "learning_rate": 0.01},
            "fast": {"network": "mlp", "method": "high rate", "size": 256, "updates": 3_000, "learning_rate": 0.05},
            "single": {"size": 16, "updates": 3_000, "learning_rate": 0.003},
        },
        shared={"data": "digits", "images": 359, "restarts": 1, "queries": 1_000},
    ),
    "mnist": Scale(
        little=0.1,
        faint=0.02,
        robust=(0.1, 0.2, 0.3),
        distance=(0.2, 0.3),
        single=(0.2, 0.3),
        networks={
            "cnn": {"size": 8, "updates": 2_500, "warmup": 250},
            "mlp": {"network": "mlp", "size": 256, "updates": 2_500},
            "linear": {"network": "linear", "updates": 4_000},
            "fast": {
                "network": "mlp",
                "method": "high rate",
                "size": 600,
                "updates": 10_000,
                "learning_rate": 0.01,
                "batch_size": 125,
            },
            "single": {"size": 16, "updates": 3_000, "learning_rate": 0.003},
        },
        shared={"data": "mnist"},
    ),
}
"""The zoo's two sizes. The digits are for looking at and for calibration, MNIST for the report."""


EXACT = ("times 300", "times 0.001", "softmax", "zero backward", "random signs", "squashed", *HARMLESS)
"""Defences of a plain network, and of one trained with PGD."""


def cases(data: str, *, seeds: int = SEEDS) -> list[Case]:
    """Return every pair of the zoo, seed by seed.

    Raises:
        ValueError: no zoo for these data.

    Example:
        >>> zoo = cases("digits", seeds=1)
        >>> [case.name for case in zoo if case.kind == "sandwiched"]
        ['linear, plus 1e6, seed 0', 'linear, 256 levels, seed 0']
    """
    if data not in SCALES:
        raise ValueError(f"data: expected one of {', '.join(SCALES)}, got {data!r}")
    return [case for seed in range(seeds) for case in _of_seed(SCALES[data], seed)]


def _of_seed(scale: Scale, seed: int) -> Iterator[Case]:
    def case(recipe: str, **settings: Any) -> Case:
        return Case(**{**scale.networks[recipe], **scale.shared, "seed": seed, **settings})

    plain = case("cnn", epsilon=scale.little)
    robust = [case("cnn", method="pgd", strength=epsilon, epsilon=epsilon) for epsilon in scale.robust]
    distant = [case("cnn", method="logit distance", strength=epsilon, epsilon=epsilon) for epsilon in scale.distance]
    linear, fast = case("linear", epsilon=scale.faint), case("fast", epsilon=scale.little)
    yield from (linear, plain, case("mlp", epsilon=scale.little))
    yield case("mlp", method="l2", strength=0.001, epsilon=scale.little)
    yield from (*robust, *distant)
    for base in (plain, robust[1]):
        for defence in EXACT:
            yield replace(base, defence=defence)
    yield from (replace(linear, defence=defence) for defence in ("plus 1e6", "256 levels"))
    for defence in ("8 levels", "2 levels", "dct", "steps", "pruned", "resized", "noise", "jump, retrofit"):
        yield replace(plain, defence=defence)
    for within, defence in (
        ("thermometer", "thermometer"), ("k winners", "k winners"), ("jump", "jump"), ("noise", "trained noise"),
    ):  # fmt: skip
        yield replace(plain, within=within, defence=defence)
    yield from (replace(plain, method=method, strength=100.0) for method in ("tempered", "distilled"))
    for epsilon in scale.single:
        single = case("single", method="fgsm", strength=epsilon, epsilon=epsilon)
        yield from (single, replace(single, reference="pgd, log-odds"))
    yield from (fast, replace(fast, reference="pgd, log-odds"), replace(fast, defence="softmax"))
