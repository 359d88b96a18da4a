"""Several processes, on one or several machines, that train or attack one network, each with a share of its images."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from unmask.numerics import Batches

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Alone:
    """One process, which has every batch to itself.

    Example:
        >>> Alone().share(torch.arange(5))
        (tensor([0, 1, 2, 3, 4]), 1.0)
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0; the first one writes the checkpoints."""
        return 0

    def network(self, model: nn.Module) -> nn.Module:
        """Return the network whose loss this process may differentiate for all."""
        return model

    def share(self, rows: Tensor) -> tuple[Tensor, float]:
        """Return this process's rows of a batch, and the factor by which its mean loss counts as much as they do."""
        return rows, 1.0

    def backward(self, loss: Tensor) -> None:
        """Add to each weight's gradient that of the mean of the losses over the processes."""
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes."""
        return value

    def align(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, such as what batch norm keeps, before they share work."""

    def batches(self, batches: Batches) -> Batches:
        """Return the same batches, split over the processes."""
        return batches


ALONE = Alone()


@dataclass(frozen=True, kw_only=True)
class Spread(Alone):
    """The processes that ``fabric`` has launched: each has its part of every batch, and all have the same weights.

    Of a batch of n rows, process r of R has n_r, in the order in which one process would have them all. Its mean loss
    is multiplied by ``R n_r / n``, so that the mean over the processes is the mean over the batch also where n_r
    differ. Attacks draw an example's noise from its own content, so it does not matter who attacks it: the losses of a
    run are those of one process, but for rounding. The network's own random numbers (dropout) differ between processes.
    Batch norm takes its statistics from each process's own rows, without SyncBatchNorm, and those that are kept are
    the first process's: a network with batch norm therefore learns something else than in one process.

    Every process reads the whole data set, and a checkpoint's folder must be one that all of them see. A run may be
    resumed with another number of processes. Attacks see the network itself, in evaluation mode; only passes in
    training mode share gradients.

    Attributes:
        fabric: a launched ``lightning_fabric.Fabric`` with a strategy that keeps whole copies of the network, as
            ``"ddp"`` does, and its default precision: ``Trainer`` has its own.

    Example:
        >>> from types import SimpleNamespace
        >>> second_of_two = Spread(fabric=SimpleNamespace(world_size=2, global_rank=1))
        >>> second_of_two.share(torch.arange(5))
        (tensor([3, 4]), 0.8)
    """

    fabric: Fabric

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self.fabric.global_rank)

    def network(self, model: nn.Module) -> nn.Module:
        """Return the network with its gradients shared; the processes begin with the first one's weights."""
        return _Shared(model, self.fabric.setup_module(model, move_to_device=False))

    def share(self, rows: Tensor) -> tuple[Tensor, float]:
        """Return this process's part; where it is empty, a row of weight 0: every process must take part."""
        own = rows.tensor_split(self.fabric.world_size)[self.rank]
        return (own, self.fabric.world_size * len(own) / len(rows)) if len(own) else (rows[:1], 0.0)

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass, in which all processes average their gradients."""
        self.fabric.backward(loss)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes, the same in all of them."""
        return cast(Tensor, self.fabric.all_reduce(value.clone()))

    def align(self, model: nn.Module) -> None:
        """Give all the first process's buffers; DDP does so only before a pass in training mode."""
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)

    def batches(self, batches: Batches) -> Batches:
        """Return batches of which each process does its part; all get the rows of all, in their order."""
        if isinstance(batches, _Parts):
            return batches
        size = self.fabric.world_size
        return _Parts(size=batches.size, device=batches.device, part=self.rank, parts=size)


class _Shared(nn.Module):
    """A network, of which passes in training mode go by way of ``shared``, which shares their gradients.

    Attacks pass through it in evaluation mode, as often as each process likes; the others must not wait for them.
    """

    def __init__(self, bare: nn.Module, shared: nn.Module) -> None:
        super().__init__()
        self.bare, self.shared = bare, shared

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = (self.shared if self.training else self.bare)(images)
        return logits


@dataclass(frozen=True)
class _Parts(Batches):
    part: int = 0
    parts: int = 1

    def __call__(
        self,
        function: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...]],
        images: Tensor,
        labels: Tensor,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Tensor, ...]:
        """Apply ``function`` to all examples, each in one of the processes; ``progress`` hears of this process's."""
        own = [whole.tensor_split(self.parts)[self.part] for whole in (images, labels)]
        if len(own[0]):
            columns = super().__call__(function, *own, progress=progress)
        else:  # the first example only shows what rows look like
            columns = tuple(column[:0] for column in super().__call__(function, images[:1], labels[:1]))
        gathered: list[Any] = [None] * self.parts
        torch.distributed.all_gather_object(gathered, columns)
        return tuple(torch.cat(column) for column in zip(*gathered, strict=True))


def join(*, accelerator: str, devices: int, nodes: int, strategy: str) -> Spread:
    """Join the processes that a launcher has started, each with a device of its own.

    Raises:
        ValueError: lightning-fabric is not installed, or the launcher started another number of processes.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ValueError("devices: several need lightning-fabric; install unmask[fabric]") from error
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if devices * nodes != started:
        raise ValueError(f"devices and nodes: expected {started} processes, as were started, got {devices} x {nodes}")
    if is_launched():
        end_with_parent()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy)
    fabric.launch()
    return Spread(fabric=fabric)


def end_with_parent() -> None:
    """End this process once the one that started it has ended.

    Example:
        >>> end_with_parent()
    """
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(LOST)

    threading.Thread(target=wait, daemon=True).start()


def is_launched() -> bool:
    """Return True in a process that ``launch`` or ``torchrun`` has started.

    Example:
        >>> is_launched()
        False
    """
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


class WorkerError(RuntimeError):
    """One of the processes ended before its time, and the others were ended for it.

    ``rank`` is its number and ``code`` its exit code, below 0 where a signal killed it.
    """

    def __init__(self, rank: int, reason: str, code: int) -> None:
        self.rank = rank
        self.code = code
        super().__init__(f"rank {rank}: {reason}")


def launch(arguments: Sequence[str], *, devices: int, nodes: int) -> None:
    """Run ``python`` with these arguments in ``devices`` processes by torch's own launcher, ``torchrun``'s, and wait.

    With several nodes it must be called on each, with ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK`` set.

    Raises:
        ValueError: where to meet the other nodes is not set.
        WorkerError: a process failed or was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "127.0.0.1"}
    if nodes > 1:
        if missing := {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} - set(os.environ):
            raise ValueError(
                f"nodes: expected {', '.join(sorted(missing))} in the environment of each; or use torchrun"
            )
        endpoint = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        rank = int(os.environ["NODE_RANK"])
        meeting = {"rdzv_backend": "static", "rdzv_endpoint": endpoint, "rdzv_configs": {"rank": rank}}
    config = LaunchConfig(
        min_nodes=nodes, max_nodes=nodes, nproc_per_node=devices, run_id="unmask", max_restarts=0, **meeting
    )
    logging.disable(logging.CRITICAL)  # the launcher's own report goes on for a page
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        raise _first(error.failures) from error
    except SignalException as error:
        raise KeyboardInterrupt from error
    finally:
        logging.disable(logging.NOTSET)


def _first(failures: dict[int, Any]) -> WorkerError:
    """Return the failure that came first: when one process is gone, the others fail for it or are ended."""

    def follows(rank: int) -> tuple[bool, int]:
        failure = failures[rank]
        return failure.exitcode in (-signal.SIGTERM, LOST), failure.timestamp

    rank = min(failures, key=follows)
    failure = failures[rank]
    if failure.exitcode < 0:
        killer = signal.Signals(-failure.exitcode).name
        return WorkerError(rank, f"its process was killed by {killer}, and the others were ended", failure.exitcode)
    message = failure.message if isinstance(failure.message, str) else failure.message["message"]
    return WorkerError(rank, message, failure.exitcode)


LOST = 75
"""The exit code of a process that failed because another one was out of reach."""


@contextmanager
def reporting(code: Callable[[Exception], int]) -> Iterator[None]:
    """Hand an error of this process to the launcher, which reports it; ``code`` gives its exit code.

    Errors that only say that another process is out of reach end in ``LOST``.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    try:
        yield
    except Exception as error:
        if not path:
            raise
        message, lost = " ".join(str(error).split()), _is_lost(error)
        if lost:
            message = f"it lost touch with another process ({message.partition('. ')[0]})"
        Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))
        sys.exit(LOST if lost else code(error))


def _is_lost(error: Exception) -> bool:
    return isinstance(error, torch.distributed.DistError) or "/gloo/" in str(error)
