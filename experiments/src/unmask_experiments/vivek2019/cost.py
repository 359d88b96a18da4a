"""The cost of a run, in floating-point operations."""

from __future__ import annotations

from functools import cache

from unmask_experiments.vivek2019.config import COMPARED, SIZES, Config
from unmask_experiments.vivek2019.grid import timed
from unmask_experiments.vivek2019.methods import passes
from unmask_experiments.vivek2019.precision import DRAWS
from unmask_experiments.vivek2019.timing import operations_of


@cache
def cost(config: Config) -> float:
    """Estimate the floating-point operations of a run: its training, its readings and its evaluation."""
    forward = operations_of(config)
    training = min(config.train_images or SIZES[config.data][0], SIZES[config.data][0]) * config.epochs
    attacked = [forward, *(operations_of(config, name) for name in config.sources)]
    test, short, longer = config.test_images, config.steps[1], config.steps[2]
    if config.kind == "transfer":
        return test * (2 * sum(attacked) + 4 * forward)
    if config.kind == "precision":
        return 2 * (3 + DRAWS) * min(COMPARED, test) * longer * forward
    if config.kind == "starts":
        return config.starts * training * passes(config) * forward
    if config.kind == "timing":
        return (config.rounds + 1) * (len(timed(config)) + 2) * 3 * config.timed_updates * config.batch_size * forward
    total = training * passes(config, sum(attacked) / len(attacked) / forward)
    if config.kind == "source":
        return forward * (total + 4 * test)
    looks = 1 + len(config.moments) if config.moments else 0
    updates = training / config.batch_size
    total += updates / config.watch_every * config.watch_images * (2 * config.watch_steps + 8)
    total += looks * config.curve_images * len(config.epsilons) * 2 * config.steps[1]
    total += config.epochs * config.sample_images * 7
    total += (2 if config.select else 1) * test * 2 * (2 + config.steps[0] + longer + short)
    return forward * total
