"""The functions: each runs a command and returns what it reports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from . import _options, reports
from ._errors import UsageError
from ._options import Path, flag, takes, word, words
from ._run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: One file, folder or pattern, or several.
Paths = Union[Path, Iterable[Path]]
#: One path, or a path for each scheme: ``{"mean": "swa.pth", "ema:0.99": "ema.pth"}``.
Output = Union[Path, Mapping[str, Path]]


def _paths(paths: Paths) -> list[str]:
    """As arguments; nothing of them is a flag."""
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    return ["--", *(word(path) for path in several)]


def _output(output: Output) -> list[str]:
    if isinstance(output, Mapping):
        return [f"--output={scheme}={word(path)}" for scheme, path in output.items()]
    text = word(output)
    # The command takes what stands before `=` for a scheme.
    return [f"--output={text if '=' not in text or os.path.isabs(text) else os.path.join('.', text)}"]


@takes(_options.Average)
def average(
    checkpoints: Paths, output: Output, **options: Unpack[_options.Average]
) -> reports.Averaged:
    """Averages the weights of checkpoints into one model: the exact mean of each tensor, rounded once.

    ``checkpoints`` are files of any trainer, folders, or patterns. ``output`` is a file (``.safetensors``, ``.pth``)
    or folder, or one for each of several schemes; the first is in ``output`` of what is returned, all are in
    ``outputs``.

    Raises ``InputError`` for checkpoints that are damaged or do not fit together, ``UsageError`` where the output
    exists (``force=True`` overwrites it), ``WriteError`` for a full disk. Nothing is written then.
    """
    flags, progress = words(options, _options.Average)
    return reports.Averaged.of(
        run("swa-avg", [*flags, *_output(output), *_paths(checkpoints)], progress)
    )


@takes(_options.Average)
def average_part(
    checkpoints: Paths, output: Path, shard: str, **options: Unpack[_options.Average]
) -> reports.ShareWritten:
    """Writes part ``shard`` (``"0/4"``, or ``"auto"`` for what a scheduler says) of the files of a sharded model.

    They go to a folder beside ``output``; :func:`finish` makes ``output`` of them when all parts are there.
    """
    flags, progress = words(options, _options.Average)
    own = [*flag("shard", shard), *_output(output)]
    return reports.ShareWritten.of(run("swa-avg", [*flags, *own, *_paths(checkpoints)], progress))


@takes(_options.Finish)
def finish(output: Path, **options: Unpack[_options.Finish]) -> reports.Finished:
    """Checks that all parts of a folder are there, and gives it its name."""
    flags, progress = words(options, _options.Finish)
    return reports.Finished.of(run("swa-avg", [*flags, *flag("finish", output)], progress))


@takes(_options.Tensors)
def accumulate(
    checkpoints: Paths, output: Path, state: Path, **options: Unpack[_options.Tensors]
) -> reports.Accumulated:
    """Adds checkpoints to a running average, whose exact sum is in the file ``state``, and writes its mean.

    Those that were counted before are not counted again. ``checkpoints`` may be empty: the output is written anew.
    """
    flags, progress = words(options, _options.Tensors)
    own = [*flag("state", state), *_output(output)]
    return reports.Accumulated.of(run("swa-avg", [*flags, *own, *_paths(checkpoints)], progress))


@takes(_options.Follow)
def follow(
    checkpoints: Paths,
    output: Path,
    *,
    on_update: Callable[[reports.FollowUpdate], None] | None = None,
    **options: Unpack[_options.Follow],
) -> reports.Followed:
    """Averages the checkpoints of a run while it trains, and replaces the output after each.

    ``on_update`` is called after each update. It returns when ``until`` checkpoints are counted or nothing has come
    for ``idle`` seconds; else Ctrl-C ends it, and what was counted stays in the output and in ``state``.
    """
    flags, progress = words(options, _options.Follow)

    def each(line: dict[str, Any]) -> None:
        if on_update is not None:
            on_update(reports.FollowUpdate.of(line))

    arguments = ["--follow", *flags, *_output(output), *_paths(checkpoints)]
    return reports.Followed.of(run("swa-avg", arguments, progress, each))


@takes(_options.Select)
def contents(checkpoints: Paths, **options: Unpack[_options.Select]) -> reports.Contents:
    """What checkpoints and exported programs hold: tensors with their types and shapes, and what is beside them."""
    flags, progress = words(options, _options.Select)
    found = run("swa-avg", ["--list", *flags, *_paths(checkpoints)], progress)
    if "checkpoints" not in found:
        remedy = "swa_tools.state_contents tells what is in it"
        raise UsageError("it is the state of a running average", remedy=remedy)
    return reports.Contents.of(found)


@takes(_options.Common)
def state_contents(state: Path, **options: Unpack[_options.Common]) -> reports.StateContents:
    """What is in the state of a running average."""
    flags, progress = words(options, _options.Common)
    found = run("swa-avg", ["--list", *flags, *_paths(state)], progress)
    if "state" not in found:
        raise UsageError(f"{word(state)} is no state of a running average")
    return reports.StateContents.of(found)


@takes(_options.Select)
def verify(checkpoints: Paths, **options: Unpack[_options.Select]) -> reports.Verified:
    """Checks files against the checksums in them. Raises ``InputError`` for the first that does not match."""
    flags, progress = words(options, _options.Select)
    return reports.Verified.of(run("swa-avg", ["--verify", *flags, *_paths(checkpoints)], progress))


@takes(_options.UpdateBn)
def update_bn(
    model: Path, data: Path, output: Path, **options: Unpack[_options.UpdateBn]
) -> reports.BnUpdated:
    """Recomputes the running statistics of every batchnorm layer in a pass over training images.

    ``model`` is a checkpoint, ``data`` a folder of training images; ``output`` is written with the new statistics.
    """
    flags, progress = words(options, _options.UpdateBn)
    own = [*flag("data", data), *flag("output", output)]
    return reports.BnUpdated.of(run("swa-bn-update", [*flags, *own, *_paths(model)], progress))


@takes(_options.UpdateBn)
def update_bn_part(
    model: Path, data: Path, part: Path, shard: str, **options: Unpack[_options.UpdateBn]
) -> reports.PartSaved:
    """Does part ``shard`` (``"0/4"``, or ``"I/N"`` of what a scheduler says) of the pass, and saves it in ``part``."""
    flags, progress = words(options, _options.UpdateBn)
    own = [*flag("data", data), *flag("save_stats", part), *flag("shard", shard)]
    return reports.PartSaved.of(run("swa-bn-update", [*flags, *own, *_paths(model)], progress))


@takes(_options.UpdateBn)
def merge_stats(
    model: Path, parts: Sequence[Path], output: Path, **options: Unpack[_options.UpdateBn]
) -> reports.BnUpdated:
    """Writes the model from the parts of all processes. Of the options, those of pixels and passes have no meaning."""
    flags, progress = words(options, _options.UpdateBn)
    own = [*flag("merge_stats", parts), *flag("output", output)]
    return reports.BnUpdated.of(run("swa-bn-update", [*flags, *own, *_paths(model)], progress))


@takes(_options.Evaluate)
def evaluate(
    models: Paths, data: Path, **options: Unpack[_options.Evaluate]
) -> reports.Evaluated:
    """Evaluates models in one pass over images: ``.models[i].top1`` with its ``.interval`` in percent, ``.nll``, ``.ece``.

    Each model is compared with the first on the same images (``.difference``, ``.mcnemar_p``).
    """
    flags, progress = words(options, _options.Evaluate)
    own = flag("data", data)
    return reports.Evaluated.of(run("swa-eval", [*flags, *own, *_paths(models)], progress))


@takes(_options.Evaluate)
def evaluate_part(
    models: Paths, data: Path, part: Path, shard: str, **options: Unpack[_options.Evaluate]
) -> reports.PartSaved:
    """Does part ``shard`` (``"0/4"``) of the pass, and saves it in ``part``."""
    flags, progress = words(options, _options.Evaluate)
    own = [*flag("data", data), *flag("save_outcomes", part), *flag("shard", shard)]
    return reports.PartSaved.of(run("swa-eval", [*flags, *own, *_paths(models)], progress))


@takes(_options.Merge)
def merge_outcomes(
    parts: Sequence[Path], **options: Unpack[_options.Merge]
) -> reports.Evaluated:
    """What :func:`evaluate` returns, from the parts of all processes; neither models nor data are read."""
    flags, progress = words(options, _options.Merge)
    return reports.Evaluated.of(run("swa-eval", [*flags, *flag("merge_outcomes", parts)], progress))


@takes(_options.Statistics)
def compare_stats(
    model: Path,
    data: Path,
    bn_data: Path,
    *,
    last: Path | None = None,
    **options: Unpack[_options.Statistics],
) -> reports.StatsCompared:
    """Evaluates a model with its own batchnorm statistics, those of the checkpoint ``last``, and recomputed ones.

    ``bn_data`` are training images. What is returned says whether recomputing pays, and by which method.
    """
    flags, progress = words(options, _options.Statistics)
    own = [*flag("data", data), *flag("bn_data", bn_data), *flag("last", last)]
    arguments = ["--compare-stats", *flags, *own, *_paths(model)]
    return reports.StatsCompared.of(run("swa-eval", arguments, progress))


@takes(_options.Swag)
def sample_swag(
    model: Path, data: Path, draws: int, **options: Unpack[_options.Swag]
) -> reports.SwagSampled:
    """Draws models from the moments that ``average(…, scheme="swag:K")`` has written, and averages their outputs.

    ``draws`` is how many models. The statistics of each are recomputed from ``bn_data``.
    """
    flags, progress = words(options, _options.Swag)
    own = [*flag("data", data), *flag("swag_samples", draws)]
    return reports.SwagSampled.of(run("swa-eval", [*flags, *own, *_paths(model)], progress))


@takes(_options.Soup)
def soup(
    candidates: Paths, data: Path, output: Path, **options: Unpack[_options.Soup]
) -> reports.SoupMade:
    """Writes the mean of those models that do not make it worse on ``data``, tried one after the other."""
    flags, progress = words(options, _options.Soup)
    own = [*flag("data", data), *flag("soup", output)]
    return reports.SoupMade.of(run("swa-eval", [*flags, *own, *_paths(candidates)], progress))
