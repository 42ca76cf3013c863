"""Keras 3, any backend: ``swa = SWASnapshots(start=16)``, ``model.fit(callbacks=[swa])``, and then ``swa.finish(…)``."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy

from .._errors import UsageError
from .._state_dicts import load
from ._shared import Choice


class SWASnapshots(Choice, keras.callbacks.Callback):
    """Saves the weights after the epochs that count. Callbacks that set the learning rate come before it."""

    ending = ".weights.h5"

    def on_train_begin(self, logs: Any = None) -> None:
        check_rate(self.model.optimizer, self.swa_lr)
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.epoch == 0:
            self.begin(epoch + 1, self.params["epochs"])
        self.epoch = epoch + 1

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        if self.at_step(rate, lambda rate: setattr(optimizer, "learning_rate", rate), self.epoch):
            self._save(self.epoch - 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.due(epoch + 1):
            self._save(epoch + 1)

    def _save(self, epoch: int) -> None:
        self.snapshots.folder.mkdir(parents=True, exist_ok=True)
        self.model.save_weights(self.snapshots.path(epoch))

    def finish(
        self, model: Any, batches: Any, validate: Any, output: str | Path = "swa.weights.h5"
    ) -> tuple[Any, Any]:
        """Writes the average and leaves it in ``model``, with batchnorm statistics of ``batches``, inputs alone.

        Returns what ``validate()`` returns for the trained weights, and for the average.
        """
        trained = validate()
        with tempfile.TemporaryDirectory() as folder:
            average = self.average(Path(folder) / "average.safetensors")
            load_average(model, average, self.snapshots.files()[-1])
        update_bn(model, batches)
        model.save_weights(output)
        return trained, validate()


def check_rate(optimizer: Any, swa_lr: float | None) -> None:
    """Raises ``UsageError`` for an optimizer whose learning rate cannot be set, if it is to be."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if swa_lr is not None and isinstance(inner._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        raise UsageError(
            "swa_lr cannot take the place of the optimizer's LearningRateSchedule",
            remedy="give the optimizer a number, and a LearningRateScheduler to fit, before this callback",
        )


def load_average(model: Any, average: str | Path, like: str | Path) -> None:
    """Loads what swa-avg wrote (``.safetensors``) into a model, by way of a copy of a snapshot (``.weights.h5``)."""
    tensors = load(Path(average))
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(like, Path(folder) / "average.weights.h5")
        with h5py.File(copy, "r+") as file:
            # swa-avg leaves out the group that all names begin with.
            group: Any = file if all(name in file for name in tensors) else file["layers"]
            for name, values in tensors.items():
                group[name][...] = numpy.asarray(values)
        model.load_weights(copy)


def update_bn(model: Any, batches: Iterable[Any]) -> None:
    """Recomputes the statistics of batchnorm layers as means over batches of inputs. Frozen layers keep theirs."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    try:
        for seen, batch in enumerate(batches if layers else ()):
            for layer in layers:
                layer.momentum = seen / (seen + 1)
            model(batch, training=True)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
