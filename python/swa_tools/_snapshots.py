"""Checkpoints of a training loop of one's own, for averaging."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import _options
from ._errors import UsageError
from ._flags import word
from ._jobs import Output, average
from ._report import optional

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .reports import Averaged


class Snapshots:
    """A folder of checkpoints, one for each epoch that counts.

    Epochs are counted from 1, as those that are finished. ``start``: the first one that counts, or the share of all
    epochs that comes before it, if it is below 1. ``every``: how many epochs apart, counted from there. ``keep``: how many files to keep, the newest; all by
    default. Of several processes of torch.distributed only the one of rank 0 writes.

        snapshots = Snapshots("run/swa", start=0.75)
        for epoch in range(1, epochs + 1):
            ...
            if snapshots.due(epoch, epochs):
                snapshots.save(model, epoch)
        snapshots.average("swa.pth")
    """

    #: What the names of the files end with.
    ending = ".pth"

    def __init__(
        self,
        folder: Union[str, os.PathLike[str]],
        *,
        start: float = 0.75,
        every: int = 1,
        keep: int | None = None,
    ) -> None:
        if start < 0:
            raise UsageError("start is below 0", remedy="an epoch, or a share of all epochs below 1")
        if every < 1 or (keep is not None and keep < 1):
            raise UsageError("every and keep are at least 1")
        self.folder = Path(folder)
        self.start = start
        self.every = every
        self.keep = keep
        #: The epoch that was last asked about or saved.
        self.reached: int | None = None

    def first(self, epochs: int | None = None) -> int:
        """The first epoch that counts, of so many."""
        if self.start >= 1:
            return int(self.start)
        if epochs is None:
            remedy = "say how many epochs there are, or start at the number of one"
            raise UsageError(f"start is a share of all epochs: {self.start}", remedy=remedy)
        return math.floor(self.start * epochs + 0.5) + 1

    def due(self, epoch: int, epochs: int | None = None) -> bool:
        """Whether to save after an epoch, of so many."""
        self.reached = epoch
        since = epoch - self.first(epochs)
        return since >= 0 and since % self.every == 0

    def path(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self.folder / f"epoch_{epoch:04}{self.ending}"

    def save(self, model: Any, epoch: int) -> Path | None:
        """Writes the weights of a model, or a state dict, whole or not at all; None where another process does.

        ``model`` has a ``state_dict`` method, or is a mapping from names to tensors. Wrappers such as DDP may stay
        around it.
        """
        state_dict = model if isinstance(model, Mapping) else model.state_dict()
        if not _is_first():
            return None
        torch = optional("torch")
        if torch is None:
            raise UsageError("snapshots are written by torch, which is not installed", remedy="pip install torch")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(epoch)
        # No checkpoint by its name, until it is whole.
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                torch.save(dict(state_dict), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self.reached = epoch
        if self.keep is not None:
            # Never what was just written, were the others of a longer run.
            for old in [file for file in self.files() if file != path][: 1 - self.keep or None]:
                old.unlink()
        return path

    def files(self) -> list[Path]:
        """The files that are there, oldest first."""
        found = {_epoch(path): path for path in self.folder.glob(f"epoch_*{self.ending}")}
        return [path for epoch, path in sorted(found.items()) if epoch >= 0]

    def average(self, output: Output, **options: Unpack[_options.Average]) -> Averaged | None:
        """The mean of all snapshots: see :func:`swa_tools.average`. None where another process does it.

        A file of a later epoch than the last that was saved or asked about is an error: it is of a longer run.
        """
        if not _is_first():
            return None
        if not self.files():
            remedy = "train beyond the first epoch that counts, or lower start"
            raise UsageError(f"`{word(self.folder)}` has no snapshots", kind="no-match", remedy=remedy)
        last = self.reached
        later = [path for path in self.files() if last is not None and _epoch(path) > last]
        if later:
            raise UsageError(
                f"`{word(later[0])}` is of a longer run: this one ended with epoch {last}",
                remedy="remove what is of another run, or give each run a folder of its own",
            )
        return average(self.files(), output, **options)


def _epoch(path: Path) -> int:
    """The number in a file's name; below 0 if it has none."""
    number = re.match(r"epoch_(\d+)(\.|$)", path.name)
    return int(number[1]) if number else -1


def _is_first() -> bool:
    """Whether this process writes: alone, or of rank 0."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return True
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or (
        distributed.get_rank() == 0
    )
