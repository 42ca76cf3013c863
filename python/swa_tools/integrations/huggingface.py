"""Hugging Face's Trainer: ``swa = SWASnapshots(start=16)``, ``Trainer(callbacks=[swa])``, and then ``swa.finish(trainer)``.

With ``TrainingArguments(save_strategy="no", save_only_model=True)`` the snapshots are all that is saved.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from ._shared import Choice, feed, finish, rate_of


class SWASnapshots(Choice, TrainerCallback):
    """Has the trainer save a checkpoint after the epochs that count, and links it in ``folder``."""

    ending = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._epoch: int | None = None
        self.begin(int(state.epoch or 0) + 1, state.num_train_epochs)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.at_step(*rate_of(given["optimizer"].param_groups), int(state.epoch or 0) + 1)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        epoch = round(state.epoch or 0)
        # The scheduler has made its step.
        rate, _ = rate_of(given["optimizer"].param_groups)
        if self.due(epoch, rate):
            self._epoch = epoch
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._epoch is not None and state.is_world_process_zero:
            self.snapshots.folder.mkdir(parents=True, exist_ok=True)
            checkpoint = Path(args.output_dir).resolve() / f"checkpoint-{state.global_step}"
            link = self.snapshots.path(self._epoch)
            link.unlink(missing_ok=True)
            link.symlink_to(checkpoint)
        self._epoch = None

    def finish(self, trainer: Trainer, output: str | Path = "averaged") -> tuple[Any, Any]:
        """Writes the average, a folder, and leaves it in the trainer's model, with batchnorm statistics of its training data.

        Returns what ``trainer.evaluate`` finds for the trained weights, and for the average.
        """
        model: Any = trainer.model
        return finish(
            model,
            lambda: type(model).from_pretrained(self.average(output)).state_dict(),
            trainer.get_train_dataloader(),
            lambda batch: feed(model, batch),
            trainer.evaluate,
        )
