"""What the callbacks share: which epochs count, the learning rate of those, and the end."""

# pyright: reportMissingImports=false

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from .._errors import UsageError
from .._snapshots import Snapshots


class Choice:
    """Which epochs count: the arguments of every ``SWASnapshots``.

    Epochs are counted from 1. ``start``: the first one that counts, or the share of all epochs that comes before it, if
    it is below 1. ``every``: how many epochs apart, counted from there. ``at_cycle_end``: instead, the epochs after
    which the learning rate rises again, and the last one. ``swa_lr``: a constant learning rate for the epochs that
    count; without it the rate is the trainer's business. ``folder``: where the snapshots go, a new one for each run.

    Raises ``UsageError`` for values that contradict each other, and as training begins where ``folder`` holds another run.
    """

    ending = ".pth"

    def __init__(
        self,
        start: float = 0.75,
        every: int = 1,
        *,
        at_cycle_end: bool = False,
        swa_lr: float | None = None,
        folder: str | Path = "swa",
    ) -> None:
        super().__init__()
        if at_cycle_end and (every != 1 or swa_lr is not None):
            raise UsageError("at_cycle_end goes with neither every nor swa_lr")
        self.snapshots = Snapshots(folder, start=start, every=every)
        self.snapshots.ending = self.ending
        self.at_cycle_end = at_cycle_end
        self.swa_lr = swa_lr
        self._rate = 0.0
        self._falling = False
        self._epochs: int | None = None

    def begin(self, epoch: int, epochs: int | None) -> None:
        """Before the first step of a run of so many epochs, or of its continuation from a later one."""
        if epoch == 1 and self.snapshots.files():
            raise UsageError(
                f"`{self.snapshots.folder}` has snapshots of another run",
                remedy="name another folder, or remove it",
            )
        self._epochs = epochs

    def counts(self, epoch: int) -> bool:
        """Whether it is the first epoch that counts, or a later one."""
        return epoch >= self.snapshots.first(self._epochs)

    def due(self, epoch: int, rate: float | None = None) -> bool:
        """Whether to save after an epoch. ``rate``: that of the next step, where it is known by then."""
        self.snapshots.reached = epoch
        if self.at_cycle_end:
            ended = epoch == self._epochs or (rate is not None and self.rises(rate))
            return self._falling and ended and self.counts(epoch)
        return self.snapshots.due(epoch, self._epochs)

    def rises(self, rate: float) -> bool:
        """Whether a cycle has ended, if this is the rate of the next step: it fell and rises."""
        return self.at_cycle_end and self._falling and rate > self._rate

    def at_step(self, rate: float, set_rate: Callable[[float], Any], epoch: int) -> bool:
        """Before a step: notes its rate, or sets it. True if the epoch before ended a cycle and counts."""
        ended = self.rises(rate) and self.counts(epoch - 1)
        if rate != self._rate:
            self._falling = rate < self._rate
        self._rate = rate
        if self.swa_lr is not None and self.counts(epoch):
            set_rate(self.swa_lr)
        return ended

    def average(self, output: str | Path) -> Path:
        """Writes the average, under the model's own names even if they look like a wrapper's.

        All processes of torch.distributed wait for the first, which does it, and raise what it raises.
        """
        failed: list[Exception | None] = [None]
        try:
            self.snapshots.average(output, force=True, keep_names=True)
        except Exception as error:
            failed = [error]
        torch: Any = sys.modules.get("torch")
        if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(failed)
        if failed[0] is not None:
            raise failed[0]
        return Path(output)


def rate_of(groups: Sequence[MutableMapping[str, Any]]) -> tuple[float, Callable[[float], Any]]:
    """The learning rate of an optimizer of PyTorch, and what sets it."""
    return float(groups[0]["lr"]), lambda rate: [group.update(lr=rate) for group in groups]


def feed(model: Any, batch: Any, call: Callable[[Any], Any] | None = None) -> Any:
    """Runs a model on a batch: on its first part, or on its entries by name, unless ``call`` does it otherwise."""
    if call is not None:
        return call(batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch[0] if isinstance(batch, (list, tuple)) else batch)


def finish(
    model: Any,
    load: Callable[[], Any],
    batches: Iterable[Any],
    call: Callable[[Any], Any],
    validate: Callable[[], Any],
) -> tuple[Any, Any]:
    """Leaves in ``model`` what ``load`` returns, with batchnorm statistics of the batches that ``call`` takes.

    Returns what ``validate`` returns before and after. All processes of torch.distributed call it, each with its
    batches; their statistics are averaged.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.optim.swa_utils import update_bn

    class Call(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: dict[str, Any]) -> Any:
            return call(batch["batch"])

    trained = validate()
    model.load_state_dict(load())
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    if layers:
        update_bn(({"batch": batch} for batch in batches), Call())
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for layer in layers:
            for statistics in (layer.running_mean, layer.running_var):
                if statistics is not None:
                    torch.distributed.all_reduce(statistics)
                    statistics /= torch.distributed.get_world_size()
    return trained, validate()
