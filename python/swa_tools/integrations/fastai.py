"""fastai: ``swa = SWASnapshots(start=16)``, ``learn.fit(20, cbs=swa)``, and then ``swa.finish(learn)``."""

# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.learner import Learner

from ._shared import Choice, finish


class SWASnapshots(Choice, Callback):
    """Saves the weights after the epochs that count."""

    # After those that set the learning rate.
    order = 70

    def before_fit(self) -> None:
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        # Validating alone is an epoch, too.
        self._trains = False

    def before_train(self) -> None:
        self._trains = True
        self.begin(self.epoch + 1, self.n_epoch)

    def before_batch(self) -> None:
        rate = self.opt.hypers[-1]["lr"]
        if self.training and self.at_step(rate, lambda rate: self.opt.set_hyper("lr", rate), self.epoch + 1):
            self.snapshots.save(_inner(self.model), self.epoch)

    def after_epoch(self) -> None:
        if self._trains and self.due(self.epoch + 1):
            self.snapshots.save(_inner(self.model), self.epoch + 1)

    def finish(self, learn: Learner, output: str | Path = "swa.pth") -> tuple[Any, Any]:
        """Writes the average and leaves it in ``learn.model``, with batchnorm statistics of the training data.

        Returns what ``learn.validate`` finds for the trained weights, and for the average.
        """
        model: Any = learn.model
        device = next(model.parameters()).device
        return finish(
            model,
            lambda: torch.load(self.average(output), map_location=device, weights_only=True),
            learn.dls.train,
            lambda batch: model(*batch[: getattr(learn.dls, "n_inp", max(len(batch) - 1, 1))]),
            learn.validate,
        )


def _inner(model: Any) -> Any:
    """The model without the wrapper that it has while several processes train it."""
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    return model.module if isinstance(model, parallel) else model
