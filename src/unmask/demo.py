"""The demo: four classifiers of the embedded digits, each trained in its own way, audited side by side.

All of it is below. The settings were chosen while looking at the test images that the audit uses, so the figures show
how the audit works and estimate nothing.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from torch import nn

from unmask.attacks import FGSM
from unmask.auditing import FULL, Effort, audit
from unmask.data import Dataset, load
from unmask.losses import log_odds
from unmask.models import build
from unmask.numerics import threads_for
from unmask.reports import Report
from unmask.training import Trainer
from unmask.training.objectives import Adversarial, LogitDistance

__all__ = ["CANDIDATES", "EPSILON", "Candidate", "run"]

EPSILON = 0.2
"""The L-infinity bound of the audits."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One classifier of the demo.

    Attributes:
        name: what it is called on the page.
        network: makes the untrained network.
        trainer: trains it.

    Example:
        >>> [candidate.name for candidate in CANDIDATES][:2]
        ['MLP, trained as usual', 'MLP, trained long at a high rate']
    """

    name: str
    network: Callable[[], nn.Module]
    trainer: Trainer

    def train(self, data: Dataset, progress: Callable[[int], None] | None = None) -> nn.Module:
        """Return the trained network, in evaluation mode; ``progress`` is called with the updates done since."""
        model = self.network()
        for _ in self.trainer(model, data, progress=progress):
            pass
        return model.eval()


def _perceptron() -> nn.Module:
    return build("mlp", inputs=(1, 8, 8), classes=10, widths=(256, 128), initialisation="xavier")


def _convolutional() -> nn.Module:
    return build("lenet+", inputs=(1, 8, 8), classes=10, width=16)


CANDIDATES: Sequence[Candidate] = (
    Candidate(
        name="MLP, trained as usual",
        network=_perceptron,
        trainer=Trainer(updates=500, batch_size=64, learning_rate=0.001),
    ),
    Candidate(
        name="MLP, trained long at a high rate",
        network=_perceptron,
        trainer=Trainer(updates=3000, batch_size=64, learning_rate=0.05),
    ),
    Candidate(
        name="CNN, trained with FGSM",
        network=_convolutional,
        trainer=Trainer(
            updates=3000,
            batch_size=64,
            learning_rate=0.003,
            objective=Adversarial(attack=FGSM(EPSILON, loss=log_odds)),
        ),
    ),
    Candidate(
        name="CNN, trained with the logit distance",
        network=_convolutional,
        trainer=Trainer(updates=1500, batch_size=64, learning_rate=0.001, objective=LogitDistance(epsilon=EPSILON)),
    ),
)
"""The four classifiers, in the order of the page."""


def run(
    progress: Callable[[str, float], None] | None = None, *, effort: Effort = FULL, processes: int = 1
) -> Iterator[Report]:
    """Train and audit each candidate, and yield the reports in the order of the candidates.

    Args:
        progress: called with the stage and the share of all training that is done.
        effort: of the audits.
        processes: the number of candidates at work at a time; with more than one, each is in a process of its own.
    """
    updates, done = sum(candidate.trainer.updates for candidate in CANDIDATES), 0

    def advance(number: int, rows: int) -> None:
        nonlocal done
        done += rows
        if progress:
            progress(f"training: {CANDIDATES[number].name}", done / updates)

    if processes == 1:
        yield from (_report(number, effort, partial(advance, number)) for number in range(len(CANDIDATES)))
        return
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.SimpleQueue[tuple[int, int]] = context.SimpleQueue()
    pool = ProcessPoolExecutor(processes, context, _share, (told,))
    reports = [pool.submit(_report, number, effort) for number in range(len(CANDIDATES))]

    def done_after(seconds: float, report: Future[Report]) -> bool:
        """Pass on what was told, without which a process waits for the pipe for ever."""
        wait([report], timeout=seconds)
        while not told.empty():
            advance(*told.get())
        return report.done()

    try:
        for report in reports:
            while not done_after(0.2, report):
                pass
            yield report.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for report in reports:
            while not done_after(0.2, report):
                pass


_told: multiprocessing.SimpleQueue[tuple[int, int]]
"""Takes the updates that a process has done to the one that shows them."""


def _share(told: multiprocessing.SimpleQueue[tuple[int, int]]) -> None:
    """Begin a process that works beside others."""
    global _told
    _told = told


def _report(number: int, effort: Effort, advance: Callable[[int], None] | None = None) -> Report:
    """Train and audit one candidate."""
    candidate, test = CANDIDATES[number], load("digits", "test")
    with threads_for(candidate.network(), test.images):
        model = candidate.train(load("digits", "train"), advance or (lambda rows: _told.put((number, rows))))
        return audit(
            model,
            test.images,
            test.labels,
            epsilon=EPSILON,
            effort=effort,
            model_name=candidate.name,
            data_name="digits",
            classes=test.classes,
        )
