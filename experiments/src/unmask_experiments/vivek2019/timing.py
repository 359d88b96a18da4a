"""Table 7: the time of an update of each method, relative to normal training and to the processor's matrix peak."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from unmask.data import Dataset
from unmask.models import build
from unmask.training import Trainer
from unmask_experiments.vivek2019.config import SIZES, WIDTHS, Config, network
from unmask_experiments.vivek2019.methods import Sources, objective_of, passes
from unmask_experiments.vivek2019.train import device, first, images_of, precision_of


@lru_cache
def forward_operations(name: str, narrowing: int, shape: tuple[int, int, int]) -> float:
    """Floating-point operations of a pass over one image, counted by torch.

    Example:
        >>> forward_operations("lenet+", 1, (1, 28, 28)) / 1e6
        27.767808
    """
    model = build(name, inputs=shape, classes=10, width=WIDTHS[name] // narrowing).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape, device="meta"))
    return float(counter.get_total_flops())


def operations_of(config: Config, name: str | None = None) -> float:
    """Return the operations of a pass over one of the run's images, through its network or the one named."""
    channels, height, width = SIZES[config.data][1]
    shape = (channels, config.side or height, config.side or width)
    return forward_operations(name or config.network, config.narrowing, shape)


def timing(config: Config, methods: dict[str, Config]) -> dict[str, Any]:
    """Time the updates of each method, in rounds that alternate, beside bare loops written by hand."""
    data = images_of(config).train
    fresh = network(config, data, seed=0)
    candidates: dict[str, Callable[[int], list[float]]] = {
        name: partial(_ours, copy.deepcopy(fresh), first(data, 64 * config.batch_size), method, _sources(method, data))
        for name, method in methods.items()
    }
    for name, layout in (("bare loop", torch.contiguous_format), ("bare loop, channels last", torch.channels_last)):
        model = copy.deepcopy(fresh).to(device(), memory_format=layout)  # type: ignore[call-overload]
        candidates[name] = partial(bare_loop, model, first(data, 64 * config.batch_size), config, layout=layout)
    costs = {name: passes(methods.get(name, config)) for name in candidates}
    least = min(3, config.timed_updates)
    updates = {name: max(least, round(config.timed_updates * 3 / cost)) for name, cost in costs.items()}
    return {
        "data": config.shown_data,
        "batch": config.batch_size,
        "updates": updates,
        "passes": costs,
        "operations": operations_of(config),
        "seconds": _alternate(candidates, updates, config.rounds),
        "peak": _peak(torch.float32 if precision_of(config) == "float32" else torch.bfloat16, config.peak_size),
        "threads": torch.get_num_threads(),
        "precision": precision_of(config),
        "device": str(device()),
    }


def bare_loop(
    model: nn.Module, data: Dataset, config: Config, updates: int, *, layout: torch.memory_format
) -> list[float]:
    """Train normally with the bare minimum of code; return the time after each update."""
    optimizer = torch.optim.SGD(
        model.train().parameters(), lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay, fused=True
    )
    where, size, ticks = device(), config.batch_size, []
    order = torch.randperm(len(data)).repeat(1 + updates * size // len(data))
    for update in range(updates):
        rows = order[update * size : (update + 1) * size]
        images = data.images.index_select(0, rows).to(where, memory_format=layout)
        with torch.autocast(where.type, torch.bfloat16, enabled=precision_of(config) == "bf16-mixed"):
            loss = functional.cross_entropy(model(images), data.labels.index_select(0, rows).to(where))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        ticks.append(_now())
    return ticks


def _ours(model: nn.Module, data: Dataset, config: Config, sources: Sources, updates: int) -> list[float]:
    """The same through ``Trainer``."""
    ticks: list[float] = []
    trainer = Trainer(
        updates=updates,
        batch_size=config.batch_size,
        objective=objective_of(config, sources, 0),
        optimizer="momentum",
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        precision=precision_of(config),
        channels_last=config.channels_last,
    )
    for _ in trainer(model.to(device()), data, progress=lambda _: ticks.append(_now())):
        pass
    return ticks


def _sources(config: Config, data: Dataset) -> Sources:
    """An ensemble's sources: three untrained networks of the kind in training, which cost what trained ones cost."""
    count = 3 if config.method == "ensemble" else 0
    return tuple(network(config, data, seed=1 + row).to(device()).eval() for row in range(count))


def _alternate(
    candidates: Mapping[str, Callable[[int], Sequence[float]]], updates: dict[str, int], rounds: int
) -> dict[str, list[float]]:
    """Return seconds per update in each round; the first round does not count, and the order changes.

    The first update of a turn is left out: it finds the caches filled by another.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(rounds + 1):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            ticks = candidates[name](updates[name])
            if number:
                seconds[name].append((ticks[-1] - ticks[0]) / (len(ticks) - 1))
    return seconds


def _peak(dtype: torch.dtype, size: int) -> float:
    """Operations per second of a large matrix product: the best of seven."""
    left, right = (torch.rand(size, size, device=device()).to(dtype) for _ in range(2))
    times = []
    for _ in range(7):
        begun = _now()
        product: Tensor = left @ right
        del product
        times.append(_now() - begun)
    return float(2 * size**3 / min(times))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def methods_timed(config: Config, rows: dict[str, Config]) -> dict[str, Config]:
    """The methods as they train the one network that is timed."""
    kept: dict[str, Any] = {
        "network": config.network,
        "epochs": 1,
        "moments": (),
        "select": False,
        "augment": False,
        "sources": (),
    }
    return {name: replace(row, **kept) for name, row in rows.items()}
