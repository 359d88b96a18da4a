"""Audit records made by hand, with the figures a real audit has: one masked, one not masked, one inconclusive."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from unmask.reports.record import (
    AttackResult,
    AuditRecord,
    Cause,
    Curve,
    Example,
    Finding,
    Histogram,
    Surface,
    Verdict,
)
from unmask.statistics import Proportion

SAMPLES = 1000


def first(count: int, total: int = SAMPLES) -> list[bool]:
    """The first ``count`` of ``total`` are correct."""
    return [index < count for index in range(total)]


def share(count: int, total: int = SAMPLES) -> Proportion:
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return Proportion(count=count, total=total, low=float(interval.low), high=float(interval.high))


def attack(name: str, settings: str, count: int) -> AttackResult:
    return AttackResult(name=name, settings=settings, correct=first(count), accuracy=share(count))


def finding(name: str, before: int, after: int, total: int = SAMPLES, **changes: Any) -> Finding:
    silent = Finding(
        name=name,
        kind="masking",
        value=0.02,
        threshold=0.1,
        fired=False,
        symptom="2.0 % of the examples show the symptom (10.0 % would count).",
        remedy="the remedied attack",
        control="FGSM with cross entropy in float32, 1 gradient",
        before=first(before, total),
        after=first(after, total),
        advice="Nothing to do.",
    )
    return replace(silent, **changes)


def example(index: int, adversarial_prediction: str, attack: str | None, strength: float = 0.25) -> Example:
    clean = np.kron(load_digits().images[index] / 16, np.ones((3, 3)))[None]
    noise = np.sign(np.random.default_rng(index).standard_normal(clean.shape)) * strength
    images = [(255 * np.clip(image, 0, 1)).round().astype(np.uint8) for image in (clean, clean + noise)]
    digit = str(load_digits().target[index])
    return Example(
        index=index, shape=(1, 24, 24), clean=base64.b64encode(images[0].tobytes()).decode(),
        adversarial=base64.b64encode(images[1].tobytes()).decode(), label=digit, prediction=digit,
        adversarial_prediction=adversarial_prediction, attack=attack,
    )  # fmt: skip


def margins(location: float, scale: float, marks: bool = True) -> Histogram:
    drawn = np.random.default_rng(0).normal(location, scale, SAMPLES)
    counts, edges = np.histogram(drawn, bins=40)
    named = {"float32 rounds 1 \N{MINUS SIGN} p to 0": 16.6, "the gradient underflows to 0": 104.0} if marks else {}
    return Histogram(name="log-odds margin", edges=edges.tolist(), counts=counts.tolist(), marks=named)


def surface(index: int, slope: float) -> Surface:
    """Rises along the gradient, waves along the random signs; 0 in the middle."""
    steps = np.linspace(-0.25, 0.25, 21)
    loss = slope * steps[:, None] + np.sin(20 * steps)
    return Surface(index=index, gradient=steps.tolist(), random=steps.tolist(), loss=loss.round(6).tolist())


SATURATION = finding(
    "float32 saturation", 626, 29, value=0.597, threshold=0.02, fired=True,
    symptom="59.7 % of the examples have a log-odds margin above 16.6, where 1 \N{MINUS SIGN} p rounds to 0 in float32 "
    "and cross entropy has no gradient (2.0 % would count).",
    remedy="FGSM with the log-odds loss, 1 gradient",
    advice="Attack the log-odds instead of cross entropy, or compute in float64; do not quote the claimed figure.",
    values={"log-odds margin": np.linspace(-4.1, 130.2, SAMPLES).tolist()},
)  # fmt: skip
FEW_STEPS = finding(
    "too few steps", 29, 3, kind="weak attack", value=0.026, threshold=0.02, fired=True,
    symptom="PGD still gains 2.6 points from step 10 to step 40.", remedy="PGD with 40 steps and log-odds",
    control="PGD with 10 steps and 4 restarts, log-odds", advice="Give the attack at least 40 steps.",
)  # fmt: skip
SILENT = [
    finding("randomised defence", 626, 622, symptom="Repeated passes agree to 0.0 (1e-6 would count).", value=0.0),
    finding("non-differentiable layer", 626, 611, symptom="Finite differences agree to 0.3 % (10 % would count)."),
    finding("vanishing gradients", 0, 0, 0, symptom="No gradient is zero throughout."),
]  # fmt: skip


@cache
def masked() -> AuditRecord:
    steps = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
    gain = Cause(name="float32 saturation", kind="masking", gain=0.597, low=0.552, high=0.639, p_value=1e-120)
    weak = Cause(name="too few steps", kind="weak attack", gain=0.026, low=0.021, high=0.034, p_value=2e-5)
    return AuditRecord(
        model_name="LeNet+, trained with FGSM", data_name="MNIST", samples=SAMPLES, classes=10, epsilon=0.25,
        reference="FGSM with cross entropy, float32", clean=share(984), claimed=share(626), robust=share(3),
        decision=Verdict(
            answer="masked", causes=[gain], weaknesses=[weak],
            reason="One remedy, float32 saturation, beats an unrepaired attack of equal budget by 59.7 points; the "
            "interval lies above the 2 points that count.",
        ),
        findings=[SATURATION, FEW_STEPS, *SILENT,
                  finding("ill-conditioned gradients", 626, 620, value=0.31, fired=True,
                          symptom="31.0 % of the gradients are ten times smaller than the median (10 % would count).")],
        attacks=[
            attack("FGSM with cross entropy, float32", "1 gradient, epsilon 0.25", 626),
            attack("FGSM with log-odds", "1 gradient, epsilon 0.25", 29),
            attack("PGD", "40 steps of 0.01, 2 restarts, log-odds loss, seed 0", 3),
            attack("Square", "1000 queries, seed 0", 118),
        ],
        curves=[
            Curve(name="FGSM, cross entropy", x=steps, y=[0.984, 0.921, 0.853, 0.768, 0.690, 0.626, 0.571]),
            Curve(name="FGSM, log-odds", x=steps, y=[0.984, 0.853, 0.512, 0.214, 0.080, 0.029, 0.012]),
            Curve(name="PGD-40, log-odds", x=steps, y=[0.984, 0.801, 0.330, 0.071, 0.016, 0.003, 0.0]),
        ],
        histograms=[margins(38, 18)],
        examples=[example(3, "8", "FGSM with log-odds"), example(7, "9", "PGD"), example(12, "2", None, 0.03)],
        surfaces=[surface(3, 40.0), surface(7, 4.0)],
        notes=["The images were scaled from 0 to 255 into [0, 1].", "Square ran on 500 of the 1000 examples."],
        seconds=41.3, environment={"unmask": "0.1.0", "torch": "2.6.0", "device": "cpu", "precision": "float32"},
    )  # fmt: skip


@cache
def not_masked() -> AuditRecord:
    steps = [0.0, 0.001, 0.01, 0.1, 0.3]
    return replace(
        masked(), model_name="LeNet+, trained with PGD", claimed=share(932), robust=share(890), clean=share(991),
        decision=Verdict(answer="not masked", reason="No remedy beats an unrepaired attack of equal budget."),
        findings=SILENT, curves=[Curve(name="PGD-40, log-odds", x=steps, y=[0.991, 0.991, 0.987, 0.961, 0.87])],
        attacks=[attack("FGSM with cross entropy, float32", "1 gradient", 932), attack("PGD", "40 steps", 890)],
        histograms=[margins(6, 3)], examples=[], surfaces=[], notes=[],
    )  # fmt: skip


@cache
def inconclusive() -> AuditRecord:
    return replace(
        masked(), model_name="VGG-16 with input noise, quantised to 4 bits", data_name="CIFAR-10", epsilon=8 / 255,
        claimed=share(71, 100), robust=share(64, 100), clean=share(88, 100), samples=100,
        decision=Verdict(answer="inconclusive", reason="100 examples leave the interval of every gain around 2 points; "
                         "400 would settle it."),
        findings=[finding("randomised defence", 71, 66, 100, fired=True, value=0.4,
                          symptom="Repeated forward passes differ by 0.4 (1e-6 would count).")],
        curves=[], histograms=[margins(3, 2, marks=False)], examples=[], surfaces=[],
        attacks=[AttackResult(name="PGD", settings="40 steps", correct=first(64, 100), accuracy=share(64, 100))],
    )  # fmt: skip
