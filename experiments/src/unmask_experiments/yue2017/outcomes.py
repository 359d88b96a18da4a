"""From runs to the figures of Yue 2017's part I, overfitting and regularisation, and the claims made of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from unmask_experiments.artefact import ArtefactContent, Predicate, Runs, judge
from unmask_experiments.quantities import Result, minus
from unmask_experiments.yue2017.curves import (
    EPSILONS,
    KINDS,
    accuracy,
    against_epsilon,
    at_best,
    best,
    by_epoch,
    every_epoch,
    fall,
)
from unmask_experiments.yue2017.runs import widths


def fig1(runs: Runs) -> ArtefactContent:
    """A digit and its FGSM image."""
    results = runs()
    shown = best(results[0])["specimen"] if results else None
    images = {}
    if shown:
        for name, read in (("clean", shown["prediction"]), ("adversarial", shown["adversarial_prediction"])):
            images[f"{name}: read as {read}"] = _to_rows(list(base64.b64decode(shown[name])), shown["shape"][2])
    specimens = [best(result)["specimen"] for result in results]
    flipped = [100.0 * (one["label"] == one["prediction"] != one["adversarial_prediction"]) for one in specimens]
    measured = {key: [float(one[name]) for one in specimens] for key, name in FIG1_KEYS.items()}
    part = Predicate(what="runs in which such an image exists", values=flipped, side="above", bound=50)
    return ArtefactContent(
        measured=measured, images=images, claims=[judge("FGSM at epsilon 0.1 makes one digit into another", part)]
    )


FIG1_KEYS = {"label": "label", "read as, clean": "prediction", "read as, FGSM": "adversarial_prediction"}


def fig2(runs: Runs) -> ArtefactContent:
    """Training and validation loss."""
    results, larger = runs(), runs(**KINDS["batch 500"])
    lowest, growth = _overfits(results)
    later, _ = _overfits(larger)
    return ArtefactContent(
        measured={
            "overfits from epoch": lowest,
            "overfits from epoch, batch 500": later,
            "validation loss, last over lowest": growth,
        },
        series={
            f"{name}: {which} loss": every_epoch(found, key)
            for name, found in (("batch 100", results), ("batch 500", larger))
            for which, key in (("training", "loss"), ("validation", "validation_loss"))
        },
        claims=[
            judge(
                "the network overfits from about epoch 25 on",
                Predicate(what="validation loss, last over lowest", values=growth, side="above", bound=1.2, unit=""),
                Predicate(what="epoch of the lowest, batch 500", values=later, side="above", bound=10, unit=""),
                Predicate(what="epoch of the lowest, batch 500", values=later, side="below", bound=40, unit=""),
                Predicate(what="epoch of the lowest, batch 100", values=lowest, side="above", bound=10, unit=""),
            )
        ],
    )


def _overfits(results: Sequence[Result]) -> tuple[list[float], list[float]]:
    """The epoch of the lowest validation loss, and the last loss over the lowest, run by run."""
    losses = [(one["epochs"]["epoch"], one["epochs"]["validation_loss"]) for one in results]
    return [float(epochs[row.index(min(row))]) for epochs, row in losses], [row[-1] / min(row) for _, row in losses]


def fig3(runs: Runs) -> ArtefactContent:
    """Accuracy against epsilon, the plain network."""
    results = runs()
    top, low = against_epsilon(results), against_epsilon(results, last=True)
    drop = minus(top[0.0], top[runs.profile.epsilon]) if results else []
    return ArtefactContent(
        measured={"accuracy, epsilon 0": top[0.0], "accuracy, epsilon 0.1": top.get(0.1, [])},
        series={"at the lowest validation loss": top, "after the last epoch": low},
        claims=[
            judge(
                "accuracy falls with epsilon",
                Predicate(what="drop from 0 to 0.1", values=drop, side="above", bound=20, unit="points"),
            )
        ],
    )


def fig4(runs: Runs) -> ArtefactContent:
    """Accuracy on perturbed inputs by epoch, while overfitting."""
    results, larger, epsilon = runs(), runs(**KINDS["batch 500"]), runs.profile.epsilon
    down, exact = fall(results, accuracy(epsilon)), fall(results, accuracy(epsilon, "log-odds"))
    larger_down = fall(larger, accuracy(epsilon))
    return ArtefactContent(
        measured={
            "fall from the lowest validation loss to the lowest point": down,
            "the same, batch 500": larger_down,
            "the same, log-odds": exact,
        },
        series={
            f"{name}: epsilon {one:g}": by_epoch(found, accuracy(one), 50)
            for name, found in (("batch 100", results), ("batch 500", larger))
            for one in EPSILONS
        },
        claims=[
            judge(
                "overfitting lowers robustness",
                Predicate(what="fall, epsilon 0.1", values=down, side="above", bound=1, unit="points"),
                Predicate(what="fall, batch 500", values=larger_down, side="above", bound=1, unit="points"),
                Predicate(what="fall, log-odds", values=exact, side="above", bound=1, unit="points"),
            )
        ],
    )


def fig5(runs: Runs) -> ArtefactContent:
    """Accuracy against epsilon, plain beside L2."""
    plain, l2, epsilon = runs(), runs(**KINDS["L2"]), runs.profile.epsilon
    gain = minus(at_best(l2, accuracy(epsilon)), at_best(plain, accuracy(epsilon)))
    exact = minus(at_best(l2, accuracy(epsilon, "log-odds")), at_best(plain, accuracy(epsilon, "log-odds")))
    cost = minus(at_best(plain, accuracy(0)), at_best(l2, accuracy(0)))
    return ArtefactContent(
        measured={
            "L2 minus plain, epsilon 0.1": gain,
            "plain minus L2, natural": cost,
            "L2 minus plain, log-odds": exact,
        },
        series={
            "plain": against_epsilon(plain),
            "L2": against_epsilon(l2),
            "plain, last epoch": against_epsilon(plain, last=True),
            "L2, last epoch": against_epsilon(l2, last=True),
        },
        claims=[
            judge(
                "L2 raises robustness at like test accuracy",
                Predicate(what="gain at epsilon 0.1", values=gain, side="above", bound=5, unit="points"),
                Predicate(what="with log-odds", values=exact, side="above", bound=5, unit="points"),
                Predicate(what="loss of natural accuracy", values=cost, side="below", bound=1, unit="points"),
            )
        ],
    )


def fig10(runs: Runs) -> ArtefactContent:
    """Accuracy against epsilon: adversarial training beside L2 and plain."""
    epsilon = runs.profile.epsilon
    results = {name: runs(**KINDS[name]) for name in ("plain", "L2", "adversarial training")}
    plain, l2, trained = (at_best(found, accuracy(epsilon)) for found in results.values())
    exact = {name: at_best(found, accuracy(epsilon, "log-odds")) for name, found in results.items()}
    over_plain, over_l2 = minus(trained, plain), minus(trained, l2)
    measured = {
        "adversarial training minus plain, epsilon 0.1": over_plain,
        "adversarial training minus L2, epsilon 0.1": over_l2,
    }
    measured |= {f"{name}, log-odds, epsilon 0.1": values for name, values in exact.items()}
    return ArtefactContent(
        measured=measured,
        series={name: against_epsilon(found) for name, found in results.items()},
        claims=[
            judge(
                "adversarial training raises robustness above plain and L2",
                Predicate(what="above plain", values=over_plain, side="above", bound=10, unit="points"),
                Predicate(what="above L2", values=over_l2, side="above", bound=0, unit="points"),
            )
        ],
    )


def sec7(runs: Runs) -> ArtefactContent:
    """Accuracy against epsilon by width and depth."""
    epsilon, own = runs.profile.epsilon, runs.profile.widths
    shapes = {
        one.widths: runs(widths=one.widths, epochs=one.epochs, moments=one.moments) for one in widths(runs.profile)
    }
    shapes[own] = runs()
    found = {shape: at_best(results, accuracy(epsilon, "log-odds")) for shape, results in shapes.items()}
    alike = [shape for shape in shapes if len(shape) == len(own)]
    wider = minus(found[max(alike)], found[min(alike)])
    deeper = minus(found[max(shapes, key=len)], found[min(shapes, key=len)])
    return ArtefactContent(
        measured={f"accuracy, log-odds, epsilon 0.1: {_shape(one)}": values for one, values in found.items()},
        series={_shape(one): against_epsilon(results) for one, results in shapes.items()},
        claims=[
            judge(
                "robustness goes with the number of neurons and layers (conjecture)",
                Predicate(what="widest minus narrowest", values=wider, side="above", bound=5, unit="points"),
                Predicate(what="deepest minus shallowest", values=deeper, side="above", bound=5, unit="points"),
            )
        ],
    )


def _shape(widths: Sequence[int]) -> str:
    """Example:
    >>> _shape((200, 300))
    '200-300'
    """
    return "-".join(map(str, widths))


def _to_rows(pixels: Sequence[int], width: int) -> list[list[float]]:
    """Bytes of a grey image to rows of numbers in [0, 1].

    Example:
        >>> _to_rows([0, 255, 0, 255], 2)
        [[0.0, 1.0], [0.0, 1.0]]
    """
    return [[one / 255 for one in pixels[start : start + width]] for start in range(0, len(pixels), width)]
