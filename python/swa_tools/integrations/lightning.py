"""Lightning: ``swa = SWASnapshots(start=16)``, ``Trainer(callbacks=[swa])``, and after ``fit`` ``swa.finish(…)``."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ._shared import Choice, feed, finish, rate_of


class SWASnapshots(Choice, Callback):
    """Saves the weights after the epochs that count; all processes take part, as sharded models need it."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer.current_epoch + 1, trainer.max_epochs if trainer.max_epochs != -1 else None)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if self.at_step(*rate_of(groups), trainer.current_epoch + 1):
            trainer.save_checkpoint(self.snapshots.path(trainer.current_epoch), weights_only=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.due(trainer.current_epoch + 1):
            trainer.save_checkpoint(self.snapshots.path(trainer.current_epoch + 1), weights_only=True)

    def finish(
        self,
        trainer: Trainer,
        module: LightningModule,
        train: Any,
        val: Any,
        output: str | Path = "swa.pth",
        call: Callable[[Any], Any] | None = None,
    ) -> tuple[Any, Any]:
        """Writes the average and leaves it in ``module``, with batchnorm statistics from the loader ``train``.

        ``call`` runs the module on a batch; without it the module is given the batch's first part, or its entries by
        name. Returns what ``trainer.validate`` finds for the trained weights, and for the average.
        """
        device = trainer.strategy.root_device
        # trainer.validate leaves the module on the CPU.
        return finish(
            module,
            lambda: torch.load(self.average(output), map_location=device, weights_only=True),
            train,
            lambda batch: feed(module.to(device), trainer.strategy.batch_to_device(batch, device), call),
            lambda: trainer.validate(module, val, verbose=False)[0],
        )
