"""The functions: each runs a command and returns what it reports.

What every one raises beside its own: ``TypeError`` for an option that it does not have; ``UsageError`` where the command
is missing or options contradict each other; ``WriteError`` where a file cannot be read or written; ``LimitError`` where memory
runs out; ``SwaError`` of the kind ``killed`` where a signal ended the command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from . import _options, reports
from ._errors import UsageError
from ._flags import Paths, flag, paths, takes, word, words
from ._options import Path
from ._run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: One path, or a path for each scheme: ``{"mean": "swa.pth", "ema:0.99": "ema.pth"}``.
Output = Union[Path, Mapping[str, Path]]
#: What a scheme looks like; the command says what is wrong with its value.
_SCHEME = re.compile(r"(mean|ema|window|wsm|posthoc-ema|swag|prefix)(:[^=]*)?")


def _output(output: Output) -> list[str]:
    if isinstance(output, Mapping):
        for scheme in output:
            # The command would take what it does not know for a part of the path.
            if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
                raise UsageError(f"{scheme!r} is no scheme", remedy="such as mean, ema:0.99, window:5, wsm:1-sqrt, swag:20")
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

    Raises ``UsageError`` where the output exists (``force=True`` overwrites it) or nothing matches, ``InputError`` for
    checkpoints that are damaged, have NaN or infinity, or do not fit together, ``ChangedError`` for one that changes
    meanwhile, ``WriteError`` for a full disk. Nothing is written then.
    """
    flags, progress = words(options, _options.Average)
    return reports.Averaged.of(
        run("swa-avg", [*flags, *_output(output), *paths(checkpoints)], progress)
    )


@takes(_options.Average)
def average_part(
    checkpoints: Paths, output: Path, shard: str, **options: Unpack[_options.Average]
) -> reports.ShareWritten:
    """Writes part ``shard`` (``"0/4"``, or ``"auto"`` for what a scheduler says) of the files of a sharded model.

    They go to a folder beside ``output``; :func:`finish` makes ``output`` of them when all parts are there.

    Raises as :func:`average` does; also ``UsageError`` where the output is no folder or another process does this
    part, and ``InputError`` where the folder was begun with other options.
    """
    flags, progress = words(options, _options.Average)
    own = [*flag("shard", shard), *_output(output)]
    return reports.ShareWritten.of(run("swa-avg", [*flags, *own, *paths(checkpoints)], progress))


@takes(_options.Finish)
def finish(output: Path, **options: Unpack[_options.Finish]) -> reports.Finished:
    """Checks that all parts of a folder are there, and gives it its name.

    Raises ``InputError`` where parts are missing or damaged, ``UsageError`` where none was written or the output exists.
    """
    flags, progress = words(options, _options.Finish)
    return reports.Finished.of(run("swa-avg", [*flags, *flag("finish", output)], progress))


@takes(_options.Tensors)
def accumulate(
    checkpoints: Paths, output: Path, state: Path, **options: Unpack[_options.Tensors]
) -> reports.Accumulated:
    """Adds checkpoints to a running average, whose exact sum is in the file ``state``, and writes its mean.

    Those that were counted before are not counted again. ``checkpoints`` may be empty: the output is written anew.

    Raises as :func:`average` does, and ``InputError`` for a checkpoint of another model than those that were counted.
    """
    flags, progress = words(options, _options.Tensors)
    own = [*flag("state", state), *_output(output)]
    return reports.Accumulated.of(run("swa-avg", [*flags, *own, *paths(checkpoints)], progress))


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

    Raises as :func:`accumulate` does. For a checkpoint that could not be counted, ``InputError`` is raised at the end:
    the output is the mean of the others.
    """
    flags, progress = words(options, _options.Follow)

    def each(line: dict[str, Any]) -> None:
        if on_update is not None:
            on_update(reports.FollowUpdate.of(line))

    arguments = ["--follow", *flags, *_output(output), *paths(checkpoints)]
    return reports.Followed.of(run("swa-avg", arguments, progress, each))


@takes(_options.Names)
def contents(checkpoints: Paths, **options: Unpack[_options.Names]) -> reports.Contents:
    """What checkpoints and exported programs hold: tensors with their types and shapes, and what is beside them.

    Raises ``InputError`` for files that are no checkpoints, ``UsageError`` where nothing matches, and for the state of
    a running average.
    """
    flags, progress = words(options, _options.Names)
    found = run("swa-avg", ["--list", *flags, *paths(checkpoints)], progress)
    if "checkpoints" not in found:
        remedy = "swa_tools.state_contents tells what is in it"
        raise UsageError("it is the state of a running average", remedy=remedy)
    return reports.Contents.of(found)


@takes(_options.Common)
def state_contents(state: Path, **options: Unpack[_options.Common]) -> reports.StateContents:
    """What is in the state of a running average.

    Raises ``UsageError`` for a checkpoint, which is no state, and ``InputError`` for a file that is neither.
    """
    flags, progress = words(options, _options.Common)
    found = run("swa-avg", ["--list", *flags, *paths(state)], progress)
    if "state" not in found:
        raise UsageError(f"`{word(state)}` is no state of a running average", file=word(state))
    return reports.StateContents.of(found)


@takes(_options.Select)
def verify(checkpoints: Paths, **options: Unpack[_options.Select]) -> reports.Verified:
    """Checks files against the checksums in them.

    Raises ``InputError`` for those that do not match or have no checksums, ``UsageError`` where nothing matches.
    """
    flags, progress = words(options, _options.Select)
    return reports.Verified.of(run("swa-avg", ["--verify", *flags, *paths(checkpoints)], progress))


@takes(_options.UpdateBn)
def update_bn(
    model: Path, data: Path, output: Path, **options: Unpack[_options.UpdateBn]
) -> reports.BnUpdated:
    """Recomputes the running statistics of every batchnorm layer in a pass over training images.

    ``model`` is a checkpoint, ``data`` a folder of training images; ``output`` is written with the new statistics.

    Raises ``UsageError`` where the output exists, there is no such device or no libtorch; ``InputError`` for a network
    that is not known, an image that cannot be read, data that do not fit the model, statistics that are not finite;
    ``LimitError`` where the device's memory runs out.
    """
    flags, progress = words(options, _options.UpdateBn)
    own = [*flag("data", data), *flag("output", output)]
    return reports.BnUpdated.of(run("swa-bn-update", [*flags, *own, *paths(model)], progress))


@takes(_options.UpdateBnPart)
def update_bn_part(
    model: Path, data: Path, part: Path, shard: str, **options: Unpack[_options.UpdateBnPart]
) -> reports.PartSaved:
    """Does part ``shard`` (``"0/4"``, or ``"auto"`` for what a scheduler says) of the pass, and saves it in ``part``.

    Raises as :func:`update_bn` does.
    """
    flags, progress = words(options, _options.UpdateBnPart)
    own = [*flag("data", data), *flag("save_stats", part), *flag("shard", shard)]
    return reports.PartSaved.of(run("swa-bn-update", [*flags, *own, *paths(model)], progress))


@takes(_options.MergeStats)
def merge_stats(
    model: Path, parts: Sequence[Path], output: Path, **options: Unpack[_options.MergeStats]
) -> reports.BnUpdated:
    """Writes the model from the parts of all processes. They say what was done, so there is no option of it here.

    Raises ``InputError`` where parts are missing, damaged, or of different passes, ``UsageError`` where the output exists.
    """
    flags, progress = words(options, _options.MergeStats)
    own = [*flag("merge_stats", parts), *flag("output", output)]
    return reports.BnUpdated.of(run("swa-bn-update", [*flags, *own, *paths(model)], progress))


@takes(_options.Evaluate)
def evaluate(
    models: Paths, data: Path, **options: Unpack[_options.Evaluate]
) -> reports.Evaluated:
    """Evaluates models in one pass over images: ``.models[i].top1`` with its ``.interval`` in percent, ``.nll``, ``.ece``.

    Each model is compared with the first on the same images (``.difference``, ``.mcnemar_p``).

    Raises ``UsageError`` where a file to write exists, there is no such device or no libtorch; ``InputError`` for a
    network that is not known, an image that cannot be read, data that do not fit the models, outputs that are not
    finite; ``LimitError`` where the device's memory runs out.
    """
    flags, progress = words(options, _options.Evaluate)
    own = flag("data", data)
    return reports.Evaluated.of(run("swa-eval", [*flags, *own, *paths(models)], progress))


@takes(_options.EvaluatePart)
def evaluate_part(
    models: Paths, data: Path, part: Path, shard: str, **options: Unpack[_options.EvaluatePart]
) -> reports.PartSaved:
    """Does part ``shard`` (``"0/4"``, or ``"auto"`` for what a scheduler says) of the pass, and saves it in ``part``.

    Raises as :func:`evaluate` does.
    """
    flags, progress = words(options, _options.EvaluatePart)
    own = [*flag("data", data), *flag("save_outcomes", part), *flag("shard", shard)]
    return reports.PartSaved.of(run("swa-eval", [*flags, *own, *paths(models)], progress))


@takes(_options.MergeOutcomes)
def merge_outcomes(
    parts: Sequence[Path], **options: Unpack[_options.MergeOutcomes]
) -> reports.Evaluated:
    """What :func:`evaluate` returns, from the parts of all processes; neither models nor data are read.

    Raises ``InputError`` where parts are missing, damaged, or of different passes, ``UsageError`` where a file to write
    exists.
    """
    flags, progress = words(options, _options.MergeOutcomes)
    return reports.Evaluated.of(run("swa-eval", [*flags, *flag("merge_outcomes", parts)], progress))


@takes(_options.Recompute)
def compare_stats(
    model: Path,
    data: Path,
    bn_data: Path,
    *,
    last: Path | None = None,
    **options: Unpack[_options.Recompute],
) -> reports.StatsCompared:
    """Evaluates a model with its own batchnorm statistics, those of the checkpoint ``last``, and recomputed ones.

    ``bn_data`` are training images. What is returned says whether recomputing pays, and by which method.

    Raises as :func:`evaluate` does, and ``LimitError`` where the training images do not fit into memory.
    """
    flags, progress = words(options, _options.Recompute)
    own = [*flag("data", data), *flag("bn_data", bn_data), *flag("last", last)]
    arguments = ["--compare-stats", *flags, *own, *paths(model)]
    return reports.StatsCompared.of(run("swa-eval", arguments, progress))


@takes(_options.Swag)
def sample_swag(
    model: Path, data: Path, draws: int, **options: Unpack[_options.Swag]
) -> reports.SwagSampled:
    """Draws models from the moments that ``average(…, scheme="swag:K")`` has written, and averages their outputs.

    ``draws`` is how many models. The statistics of each are recomputed from ``bn_data``.

    Raises as :func:`compare_stats` does, and ``UsageError`` for a file without moments, or without ``bn_data`` for a
    network with batchnorm.
    """
    flags, progress = words(options, _options.Swag)
    own = [*flag("data", data), *flag("swag_samples", draws)]
    return reports.SwagSampled.of(run("swa-eval", [*flags, *own, *paths(model)], progress))


@takes(_options.Soup)
def soup(
    candidates: Paths, data: Path, output: Path, **options: Unpack[_options.Soup]
) -> reports.SoupMade:
    """Writes the mean of those models that do not make it worse on ``data``, tried one after the other.

    Raises as :func:`compare_stats` does, and ``UsageError`` where the output exists.
    """
    flags, progress = words(options, _options.Soup)
    own = [*flag("data", data), *flag("soup", output)]
    return reports.SoupMade.of(run("swa-eval", [*flags, *own, *paths(candidates)], progress))


@takes(_options.Train)
def train(
    folder: Path, data: Path, *, epochs: int, lr: float, **options: Unpack[_options.Train]
) -> reports.Trained:
    """Trains a network as the papers on weight averaging do, and averages its weights beside it: what swa-train does.

    ``folder`` is where snapshots, results and the state go, ``data`` a folder of training images. ``lr`` is the
    learning rate at the beginning.

    Raises ``UsageError`` where the run exists (``resume=True`` goes on with it) or settings contradict each other;
    ``InputError`` where it was begun with others, or the loss is not finite; and as :func:`update_bn` does.
    """
    flags, progress = words(options, _options.Train)
    own = [*flag("data", data), *flag("epochs", epochs), *flag("lr", lr)]
    return reports.Trained.of(run("swa-train", [*flags, *own, *paths(folder)], progress))
