"""A loop of your own in PyTorch: ``swa = SWASnapshots(start=16)``, ``for epoch in swa.epochs(20, model, optimizer)``, and
then ``swa.finish(…)``."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ._shared import Choice, feed, finish, rate_of


class SWASnapshots(Choice):
    """Saves the weights after the epochs that count."""

    def epochs(self, epochs: int, model: Any, optimizer: torch.optim.Optimizer, first: int = 1) -> Iterator[int]:
        """The numbers of the epochs, from 1, or from ``first`` if a run goes on: one for each turn of the loop.

        ``model`` has a ``state_dict`` method. A scheduler of ``optimizer`` makes its step before the turn ends.
        """
        self.begin(first, epochs)

        def before_step(*_: Any) -> None:
            self.at_step(*rate_of(optimizer.param_groups), epoch)

        hook = optimizer.register_step_pre_hook(before_step)
        try:
            for epoch in range(first, epochs + 1):
                yield epoch
                rate, _ = rate_of(optimizer.param_groups)
                if self.due(epoch, rate):
                    self.snapshots.save(model, epoch)
        finally:
            hook.remove()

    def finish(
        self,
        model: Any,
        batches: Iterable[Any],
        validate: Callable[[], Any],
        output: str | Path = "swa.pth",
        call: Callable[[Any], Any] | None = None,
    ) -> tuple[Any, Any]:
        """Writes the average and leaves it in ``model``, with batchnorm statistics of ``batches`` of training data.

        ``call`` runs the model on a batch, which lies on its device; without it the model is given the batch's first
        part, or its entries by name. Returns what ``validate()`` returns for the trained weights, and for the average.
        Raises as :func:`swa_tools.average` does, and ``UsageError`` without snapshots.
        """
        device = next(model.parameters()).device
        return finish(
            model,
            lambda: torch.load(self.average(output), map_location=device, weights_only=True),
            (_moved(batch, device) for batch in batches),
            lambda batch: feed(model, batch, call),
            validate,
        )


def _moved(batch: Any, device: torch.device) -> Any:
    """A batch on a device."""
    if isinstance(batch, Mapping):
        return {name: _moved(part, device) for name, part in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_moved(part, device) for part in batch]
    return batch.to(device) if isinstance(batch, torch.Tensor) else batch
