"""Stochastic Weight Averaging after training: the commands of swa-tools, from Python.

Each function runs a command and returns what it reports, as a frozen dataclass. See docs/python.md.
"""

from __future__ import annotations

from . import landscape, reports
from ._errors import (
    ChangedError,
    InputError,
    LimitError,
    SwaError,
    UsageError,
    WriteError,
)
from ._jobs import (
    accumulate,
    average,
    average_part,
    compare_stats,
    contents,
    evaluate,
    evaluate_part,
    finish,
    follow,
    merge_outcomes,
    merge_stats,
    sample_swag,
    soup,
    state_contents,
    train,
    update_bn,
    update_bn_part,
    verify,
)
from ._run import Progress
from ._snapshots import Snapshots
from ._state_dicts import average_state_dicts

__version__ = "0.1.0"

__all__ = [
    "ChangedError",
    "InputError",
    "LimitError",
    "Progress",
    "Snapshots",
    "SwaError",
    "UsageError",
    "WriteError",
    "__version__",
    "accumulate",
    "average",
    "average_part",
    "average_state_dicts",
    "compare_stats",
    "contents",
    "evaluate",
    "evaluate_part",
    "finish",
    "follow",
    "landscape",
    "merge_outcomes",
    "merge_stats",
    "reports",
    "sample_swag",
    "soup",
    "state_contents",
    "train",
    "update_bn",
    "update_bn_part",
    "verify",
]
