"""What the commands report, as frozen dataclasses: the objects of docs/json.md, field by field.

Made of the types that the commands print: `UPDATE_DOCS=1 cargo test --release -p swa-torch --test json` writes it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ._report import Loads, Object, Report


@dataclass(frozen=True)
class Valley(Object):
    """Where SWAD averages (Cha et al. 2021)."""

    start: str
    """The first row: its number, or the file that it names."""
    end: str
    """The last one."""
    level: float
    """The mean of the losses at the start."""
    threshold: float
    """The loss that the end is decided by."""
    left: bool
    """Whether the loss left the valley; else the end is the last row."""
    converge: int
    """How many losses in a row the start is the least of."""
    overfit: int
    """How many losses in a row, all above the threshold, follow the end."""
    tolerance: float
    """The threshold is 1 + this times the level."""


@dataclass(frozen=True)
class Chosen(Object):
    """A checkpoint that was chosen by results."""

    checkpoint: str
    """A file, or the folder of a model."""
    number: int | None
    """Its number; None where rows name files."""
    value: float | None
    """Its result; None where no row is of it, or the result is not finite."""


@dataclass(frozen=True)
class Selection(Object):
    """What was chosen by results."""

    file: str
    """The file of results."""
    metric: str
    """The name of those that decided."""
    column: str
    """The column by which rows and checkpoints found each other."""
    results: int
    """How many results took part."""
    rule: str
    """`top`: the best; `swad`: those of the loss's valley."""
    direction: str | None
    """Of `top`: `max` or `min`, whichever is the best; else None."""
    valley: Valley | None
    """Of `swad`: where it begins and ends; else None."""
    taken: tuple[Chosen, ...]
    """The checkpoints that were taken, in natural order."""


@dataclass(frozen=True)
class TensorCounts(Object):
    """What became of the tensors."""

    averaged: int
    """How many are means."""
    copied: int
    """How many are the last checkpoint's."""


@dataclass(frozen=True)
class NonFinite(Object):
    """A tensor with means that are not finite."""

    tensor: str
    """Its name."""
    values: int
    """How many of its values are not finite."""


@dataclass(frozen=True)
class Fit(Object):
    """How well stored moving averages make another one."""

    condition: float
    """Condition number of the system of equations: the coefficients are certain to about this times 1e-16."""
    misfit: float
    """How far the profile is from the one that was asked for, relative to its length: 0 is the same."""


@dataclass(frozen=True)
class Output(Object):
    """An output."""

    output: str
    """The file or folder."""
    scheme: str
    """What it is, such as `mean` or `ema:0.99`; `weights` where weights were given, `prefix` for the mean
    of the first few."""
    coefficients: tuple[float, ...]
    """The share of each input in the sum; all add up to 1. 0: it does not count."""
    counting: int
    """How many inputs count."""
    fit: Fit | None
    """Of `posthoc-ema`: how well the inputs make what was asked for; None elsewhere."""
    tensors: TensorCounts
    """What became of the tensors."""
    nonfinite: tuple[NonFinite, ...]
    """Tensors with means that are not finite (with `--allow-nonfinite`)."""
    bytes: int
    """Size in bytes, all files together."""
    next: str | None
    """The command that recomputes its batchnorm statistics; None where nothing needs recomputing."""


@dataclass(frozen=True)
class Averaged(Loads, Report):
    """What `swa-avg` prints. Of several outputs, `output`, `coefficients`, `tensors`, `nonfinite`, `bytes`
    and `next` are the first one's."""

    main_table: ClassVar[str] = "outputs"

    output: str
    """The file or folder."""
    written: bool
    """False with `--dry-run`: nothing was written."""
    inputs: tuple[str, ...]
    """The checkpoints that were averaged, in natural order."""
    coefficients: tuple[float, ...]
    """The share of each in the sum; all add up to 1."""
    left_out: int
    """How many checkpoints were found and not taken."""
    selection: Selection | None
    """With `--metrics`: which checkpoints were chosen by results, and why; else None."""
    tensors: TensorCounts
    """What became of the tensors."""
    nonfinite: tuple[NonFinite, ...]
    """Tensors with means that are not finite (with `--allow-nonfinite`)."""
    bytes: int
    """Size of the output in bytes, all files together."""
    bytes_read: int
    """Bytes read from the inputs, each once for all outputs."""
    batchnorm_layers: int
    """Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was
    copied."""
    next: str | None
    """The command that recomputes their statistics; None where nothing needs recomputing, or Keras has to
    do it."""
    seconds: float
    """Time that the job took."""
    seconds_expected: float | None
    """With `--dry-run`: the time that it would take, by a sample of the reading."""
    memory_expected: int | None
    """With `--dry-run`: bytes of memory that it would take."""
    outputs: tuple[Output, ...]
    """All outputs, the first included."""


@dataclass(frozen=True)
class SharedFile(Object):
    """A file of a part."""

    file: str
    """Its name."""
    bytes: int
    """Its size."""
    was_there: bool
    """It was there already, and was not written again."""


@dataclass(frozen=True)
class ShareWritten(Report):
    """What `swa-avg --shard` prints."""

    output: str
    """The folder that it becomes."""
    partial: str
    """Where its files are until all are there."""
    shard: str
    """Which part of the files this process had, as `0/4`."""
    written: bool
    """False with `--dry-run`: nothing was written."""
    files: tuple[SharedFile, ...]
    """The files of this part, the largest first."""
    all: int
    """How many files the folder has, without configuration and index."""
    there: int
    """How many of them are there, those of other processes included."""
    inputs: tuple[str, ...]
    """The checkpoints that are averaged, in natural order."""
    nonfinite: tuple[NonFinite, ...]
    """Tensors of this part with means that are not finite (with `--allow-nonfinite`)."""
    bytes_read: int
    """Bytes that this process read from the inputs."""
    next: str | None
    """The command that makes the folder, once all files are there; None before."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class Finished(Loads, Report):
    """What `swa-avg --finish` prints."""

    output: str
    """The folder."""
    files: int
    """How many files are in it."""
    bytes: int
    """All files together."""
    batchnorm_layers: int
    """Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was
    copied."""
    next: str | None
    """The command that recomputes their statistics; None where nothing needs recomputing."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class State(Object):
    """The state of a running average."""

    path: str | None
    """Its file; None for one that goes with the process."""
    bytes: int
    """Size of the file in bytes."""


@dataclass(frozen=True)
class Accumulated(Loads, Report):
    """What `swa-avg --state` prints."""

    output: str
    """The file."""
    written: bool
    """False: it was there already, byte for byte."""
    state: State
    """The state."""
    inputs: tuple[str, ...]
    """All checkpoints that are counted, in natural order."""
    added: tuple[str, ...]
    """Those that were added now."""
    repeated: tuple[str, ...]
    """Those that had been counted before, and were not counted again."""
    tensors: TensorCounts
    """What became of the tensors."""
    nonfinite: tuple[NonFinite, ...]
    """Tensors with means that are not finite (with `--allow-nonfinite`)."""
    bytes: int
    """Size of the output in bytes."""
    batchnorm_layers: int
    """Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was
    counted."""
    next: str | None
    """The command that recomputes their statistics; None where nothing needs recomputing."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class FollowUpdate(Loads, Report):
    """What `swa-avg --follow` prints after each update."""

    event: str
    """`update`."""
    output: str
    """The file or folder."""
    count: int
    """How many checkpoints it is the mean of."""
    added: tuple[str, ...]
    """Those that this update added, in natural order."""
    newest: str
    """The largest number in their names, or the name of the last one if they have none."""
    bytes: int
    """Size of the output in bytes."""
    state: State | None
    """The state; None with `--last`."""
    nonfinite: tuple[NonFinite, ...]
    """Tensors with means that are not finite (with `--allow-nonfinite`)."""
    seconds: float
    """Time that the update took."""


@dataclass(frozen=True)
class NotCounted(Object):
    """A checkpoint that was not counted."""

    path: str
    """Its path."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True)
class Followed(Loads, Report):
    """What `swa-avg --follow` prints at its end."""

    event: str
    """`end`."""
    ended: str
    """Why it ended: `count`, `idle` or `stopped`."""
    output: str
    """The file or folder."""
    inputs: tuple[str, ...]
    """The checkpoints in it, in natural order; none: nothing was written."""
    updates: int
    """How many updates there were."""
    state: State | None
    """The state; None with `--last`."""
    refused: tuple[NotCounted, ...]
    """Checkpoints that are complete and were not counted."""
    unfinished: tuple[NotCounted, ...]
    """Checkpoints that were not complete."""
    failed_commands: int
    """How many times the command failed."""
    batchnorm_layers: int
    """Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was
    counted."""
    next: str | None
    """The command that recomputes their statistics; None where nothing needs recomputing."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class Other(Object):
    """Something beside the weights, or among them."""

    key: str
    """Its key at the root, or its name among the weights."""
    what: str
    """What it is, in a few words."""


@dataclass(frozen=True)
class Tensor(Object):
    """A tensor."""

    name: str
    """Without what wrappers put into it."""
    written_name: str
    """As the file has it."""
    dtype: str
    """The type of its values, as safetensors names types: `F32`, `BF16`, `I64`."""
    shape: tuple[int, ...]
    """Its dimensions; empty for a single value."""
    fate: str
    """What would become of it: `averaged`, `from the last`, `left out` or `refused`."""


@dataclass(frozen=True)
class Checkpoint(Object):
    """What a checkpoint holds."""

    path: str
    """The file or folder."""
    container: str
    """How it is stored, such as `safetensors` or `PyTorch zip`."""
    weights_key: str
    """Where in the file the weights are: keys with dots between them; empty at the root."""
    is_average: bool
    """The weights are an average that the trainer made."""
    has_average: bool
    """The file holds averaged weights as well, which were not taken."""
    wrappers: tuple[str, ...]
    """Parts of names that wrappers (DDP, torch.compile, FSDP) put there, and that were taken out."""
    others: tuple[Other, ...]
    """What else is in the file."""
    no_tensors: tuple[Other, ...]
    """What stands among the weights and is no tensor."""
    metadata: Mapping[str, str]
    """The file's own metadata."""
    tensors: tuple[Tensor, ...]
    """The tensors of the weights."""


@dataclass(frozen=True)
class Operator(Object):
    """An operator and how many nodes call it."""

    target: str
    """As PyTorch spells it: `aten.conv2d.default`."""
    nodes: int
    """How many nodes call it."""


@dataclass(frozen=True)
class ProgramTensor(Object):
    """A parameter or buffer of an exported program."""

    name: str
    """As a state dict has it."""
    dtype: str
    """The type of its values, as safetensors names types."""
    shape: tuple[int, ...]
    """Its dimensions; empty for a single value."""
    is_parameter: bool
    """It is trained; buffers are not."""
    is_used: bool
    """A node uses it."""
    alias_of: str | None
    """The first of the tensors that are the same values, if it is not this one; None else."""


@dataclass(frozen=True)
class Program(Object):
    """What an exported program holds."""

    path: str
    """The file."""
    torch: str
    """The version of PyTorch that exported it; empty where the file does not say."""
    schema: str
    """The version of the file's schema, such as `8.17`."""
    digest: str
    """What tells programs apart: 32 hexadecimal digits. Two exports of one model are equal."""
    image: tuple[int, ...] | None
    """The dimensions of a batch of images, such as batch, channels, height and width; None for one that is
    free."""
    outputs: tuple[str, ...]
    """The names of its outputs, from its dicts and positions; empty for an only one."""
    operators: tuple[Operator, ...]
    """The operators that its nodes call, most nodes first."""
    batchnorm_nodes: int
    """How many nodes are batch normalisations."""
    is_training: bool
    """It was exported in training mode."""
    random: tuple[Operator, ...]
    """Operators that draw random numbers, most nodes first."""
    unreached: tuple[str, ...]
    """Batchnorm layers of the model that it does not reach."""
    unread_statistics: tuple[str, ...]
    """Buffers that are called like running statistics and are none: no batch normalisation has them."""
    constants: int
    """How many tensors stand in the program alone."""
    tensors: tuple[ProgramTensor, ...]
    """The parameters and buffers that a checkpoint must have."""


@dataclass(frozen=True)
class Contents(Report):
    """What `swa-avg --list` prints."""

    main_table: ClassVar[str] = "checkpoints"

    checkpoints: tuple[Checkpoint, ...]
    """The checkpoints, in natural order."""
    programs: tuple[Program, ...]
    """The exported programs, in natural order."""


@dataclass(frozen=True)
class HeldInput(Object):
    """A checkpoint in a state."""

    path: str
    """The path that it was given by."""
    size: int
    """Bytes of its files."""
    digest: str
    """XXH3-128 of the digests of its tensors, in the order of their names."""


@dataclass(frozen=True)
class HeldSetting(Object):
    """A setting that a state was begun with."""

    name: str
    """Its name."""
    value: str
    """Its value."""


@dataclass(frozen=True)
class StateContents(Report):
    """What `swa-avg --list` prints of a state."""

    state: str
    """The state's file."""
    bytes: int
    """Size of the file in bytes."""
    inputs: tuple[HeldInput, ...]
    """What was counted, in natural order of the paths."""
    tensors: int
    """How many tensors the model has."""
    values: int
    """How many values."""
    settings: tuple[HeldSetting, ...]
    """The settings it was begun with, as far as they are not the usual ones."""


@dataclass(frozen=True)
class Verified(Report):
    """What `swa-avg --verify` prints."""

    verified: tuple[str, ...]
    """Paths of the checkpoints whose bytes match the checksums in them, in natural order."""
    bytes: int
    """Bytes of tensors in all of them."""
    tensors: tuple[int, ...]
    """For each checkpoint, how many tensors it has."""
    without_checksum: tuple[int, ...]
    """For each checkpoint, how many of its tensors have no checksum: nothing is known of these."""


@dataclass(frozen=True)
class UsedProgram(Object):
    """The program that a model runs, and what of the checkpoint it leaves as it is."""

    file: str
    """The file."""
    operators: int
    """How many operators it calls."""
    torch: str
    """The version of PyTorch that exported it; empty where its file does not say."""
    schema: str
    """The version of its file's schema."""
    digest: str
    """XXH3-128 of its operators, their arguments and the names of its tensors: equal exports have equal
    digests."""
    training: bool
    """Whether it was exported in training mode."""
    not_reached: tuple[str, ...]
    """Batchnorm layers that it does not reach: they keep their statistics."""
    left: tuple[str, ...]
    """Layers with running statistics that it computes with, but not as batchnorm (FrozenBatchNorm2d): they
    keep them."""
    shared: tuple[str, ...]
    """Batchnorm layers that it calls at several places."""
    by_batch: tuple[str, ...]
    """Modules that normalise by the batch in use, too, having no running statistics."""
    surplus: tuple[str, ...]
    """Tensors of the checkpoint that are not the program's: they stay as they are."""


@dataclass(frozen=True)
class StandardError(Object):
    """How certain the statistics are."""

    largest: float
    """In standard deviations of a channel, root mean square over the layer's channels."""
    layer: str
    """The layer whose error that is."""


@dataclass(frozen=True)
class Movement(Object):
    """How far statistics moved, over the channels of a layer. σ is the new standard deviation of a
    channel."""

    layer: str
    """Its name, or `all`."""
    channels: int
    """How many channels it has."""
    mean_shift: float
    """Distance of the means in σ, root mean square."""
    std_ratio: float
    """New by old standard deviation, geometric mean."""
    moved: float
    """Both in one number: root mean square of √((Δmean/σ)² + (ln σ_new/σ_old)²)."""


@dataclass(frozen=True)
class Waiting(Object):
    """Shares of the time that decoding and network waited for each other."""

    decoding: float
    """The network waited for decoded images."""
    network: float
    """Decoded images waited for the network."""


@dataclass(frozen=True)
class Pace(Object):
    """How fast a pass over data was, and what limited it."""

    images_per_second: float
    """Images of this process a second."""
    limit: str
    """What would have to be faster for the pass to be: `decoding` or `network`."""
    waiting: Waiting
    """Shares of the time that decoding and network waited for each other; they add up to 1."""


@dataclass(frozen=True)
class BnUpdated(Loads, Report):
    """What `swa-bn-update` prints."""

    main_table: ClassVar[str] = "layers"

    output: str
    """The file."""
    arch: str
    """The architecture."""
    program: UsedProgram | None
    """The program that the model runs; None for a built-in network."""
    method: str | None
    """How batches were combined; None where there was nothing to recompute."""
    images: int
    """Images that the statistics are from."""
    batches: int
    """Batches of them."""
    noise: str | None
    """`on` where the network's training noise was drawn, else `off`; None where there was nothing to
    recompute."""
    frozen: tuple[str, ...]
    """Names of the batchnorm layers that keep their statistics."""
    augmentation: Any
    """The training augmentation; None: the pixels of evaluation."""
    until_stable: float | None
    """The standard error at which the pass was to end, if one was given."""
    stable: bool | None
    """Whether it was reached, if one was given."""
    standard_error: StandardError | None
    """The largest standard error of a layer; None where it is not known (shared and resumed passes)."""
    skipped: tuple[str, ...]
    """The images that were left out, a line each."""
    precision: str | None
    """What the network computed in; None where there was nothing to recompute."""
    all: Movement | None
    """How far all channels' statistics moved together; None where there was nothing to recompute."""
    layers: tuple[Movement, ...]
    """How far each layer's statistics moved, farthest first."""
    pace: Pace | None
    """How fast the pass was; None of merged parts and layerwise passes."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class ProgramRecord(Object):
    """What identifies a program, as it is recorded in models."""

    torch: str
    """The version of PyTorch that exported it; empty where its file does not say."""
    schema: str
    """The version of its file's schema."""
    digest: str
    """XXH3-128 of its operators, their arguments and the names of its tensors: equal exports have equal
    digests."""


@dataclass(frozen=True)
class Model(Object):
    """A model, or the ensemble, and how it did."""

    model: str
    """Its path, or `ensemble of N`."""
    program: ProgramRecord | None
    """The program that it runs; None for a built-in network and for the ensemble."""
    top1: float
    """Images whose label ranked first, in percent."""
    top5: float
    """Images whose label was among the first five, in percent."""
    nll: float
    """Negative log-likelihood of the label: mean over the images, in nats."""
    ece: float
    """Expected calibration error over 15 bins of confidence, from 0 to 1."""
    n: int
    """How many images."""
    correct: int
    """How many had their label ranked first."""
    interval: tuple[float, ...]
    """95 % interval of `top1` (Wilson), in percent."""
    difference: float | None
    """`top1` less that of the first row, in percentage points; not of the first row."""
    mcnemar_p: float | None
    """McNemar's exact p of that difference, paired by image; not of the first row."""
    only_first_right: int | None
    """Images that only the first row got right; not of the first row."""
    only_this_right: int | None
    """Images that only this row got right; not of the first row."""


@dataclass(frozen=True)
class ClassMapUsed(Object):
    """Which outputs stand for the classes of the data."""

    file: str
    """The file."""
    classes: int
    """How many classes the data have."""
    left_out: int
    """How many entries of the file are of classes that the data do not have."""
    restrict: bool
    """Whether the other outputs do not compete."""


@dataclass(frozen=True)
class Evaluated(Report):
    """What `swa-eval` prints."""

    main_table: ClassVar[str] = "models"

    models: tuple[Model, ...]
    """The models in the order in which they were given."""
    ensemble: Model | None
    """The ensemble, if one was asked for."""
    transform: Any
    """From an image to the pixels that the models took: the preset's name and its fields."""
    augmentation: Any
    """The training augmentation; None: the pixels of evaluation."""
    class_map: ClassMapUsed | None
    """Which outputs stand for the classes of the data; None: all, in their order."""
    skipped: tuple[str, ...]
    """The images that were left out, a line each."""
    precision: Any
    """What the networks computed in."""
    batch_size: int | None
    """Images that went through the networks at a time; None of merged parts."""
    pace: Pace | None
    """How fast the pass was; None of merged parts."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class Statistics(Object):
    """How the model does with statistics of one origin."""

    statistics: str
    """Where they come from: `averaged`, `kept` from the last checkpoint, or recomputed by a method."""
    top1: float
    """Images whose label ranked first, in percent."""
    top5: float
    """Images whose label was among the first five, in percent."""
    nll: float
    """Negative log-likelihood of the label: mean over the images, in nats."""
    ece: float
    """Expected calibration error over 15 bins of confidence, from 0 to 1."""
    n: int
    """How many images."""
    correct: int
    """How many had their label ranked first."""
    interval: tuple[float, ...]
    """95 % interval of `top1` (Wilson), in percent."""
    difference: float | None
    """`top1` less that of the first row, in percentage points; not of the first row."""
    mcnemar_p: float | None
    """McNemar's exact p of that difference, paired by image; not of the first row."""
    only_first_right: int | None
    """Images that only the first row got right; not of the first row."""
    only_this_right: int | None
    """Images that only this row got right; not of the first row."""
    moved: float | None
    """How far they are from the averaged ones, in standard deviations of a channel; not of the averaged
    ones."""
    nll_difference: float | None
    """`nll` less that with the averaged ones, paired by image; not of the averaged ones."""
    nll_difference_error: float | None
    """Standard error of that difference; not of the averaged ones."""


@dataclass(frozen=True)
class StatsCompared(Report):
    """What `swa-eval` prints when it compares statistics."""

    main_table: ClassVar[str] = "statistics"

    model: str
    """The model."""
    program: ProgramRecord | None
    """The program that it runs; None for a built-in network."""
    statistics: tuple[Statistics, ...]
    """A row an origin, the averaged statistics first."""
    bn_images: int
    """Training images that statistics were computed from."""
    bn_batch_size: int
    """Images per batch."""
    transform: Any
    """From an image to the pixels that the model takes: the preset's name and its fields."""
    augmentation: Any
    """The training augmentation of the statistics' images; None: the pixels of evaluation."""
    skipped: tuple[str, ...]
    """The images that were left out of the evaluation, a line each."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class SwagSampled(Report):
    """What `swa-eval` prints of models drawn by SWAG."""

    main_table: ClassVar[str] = "models"

    model: str
    """The file of moments."""
    deviations: int
    """How many deviations of each weight it has."""
    scale: float
    """What the covariance was multiplied by."""
    seed: int
    """The seed of the samples."""
    models: tuple[Model, ...]
    """The mean, and the samples together: the mean of their softmax outputs."""
    draws: tuple[Model, ...]
    """Each sample, compared with the mean."""
    bn_images: int
    """Training images that batchnorm statistics were computed from; 0 without batchnorm."""
    transform: Any
    """From an image to the pixels that the models took: the preset's name and its fields."""
    skipped: tuple[str, ...]
    """The images that were left out of the evaluation, a line each."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class Trial(Object):
    """A candidate, and what became of it."""

    candidate: str
    """The candidate."""
    alone: float
    """Images that it gets right by itself, in percent."""
    with_: float | None
    """Images that the soup with it gets right, in percent; None of the first, which is the soup at the
    beginning."""
    only_without_right: int | None
    """Images that only the soup without it gets right; None of the first."""
    only_with_right: int | None
    """Images that only the soup with it gets right; None of the first."""
    mcnemar_p: float | None
    """McNemar's exact p of the difference; None of the first."""
    accepted: bool
    """Whether it is in the soup: with it no fewer images are right."""


@dataclass(frozen=True)
class SoupMade(Loads, Report):
    """What `swa-eval --soup` prints."""

    main_table: ClassVar[str] = "trials"

    output: str
    """The file."""
    bytes: int
    """Size of the file in bytes."""
    trials: tuple[Trial, ...]
    """The candidates in the order in which they were tried, the best first."""
    models: tuple[Model, ...]
    """The best candidate, and the soup with its statistics recomputed, on the held-out images that chose
    it."""
    members: int
    """How many of them are in the soup."""
    held_out: str
    """The folder of the held-out images."""
    bn_images: int
    """Training images that batchnorm statistics were computed from; 0 without batchnorm."""
    batchnorm_layers: int
    """Batchnorm layers whose statistics in the file are the candidates' mean."""
    next: str | None
    """The command that recomputes them; None where there are none."""
    transform: Any
    """From an image to the pixels that the models took: the preset's name and its fields."""
    skipped: tuple[str, ...]
    """The images that were left out, a line each."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class PartSaved(Report):
    """What `swa-bn-update` and `swa-eval` print when they save a part."""

    part: str
    """The file."""
    shard: str
    """Which part it is: `I/N`, counted from 0."""
    images: int
    """Images in it."""
    batches: int
    """Batches in it."""
    skipped: tuple[str, ...]
    """The images that were left out, a line each."""
    pace: Pace
    """How fast this process was."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class Score(Object):
    """Mean cross entropy in nats, and the share of images whose label ranks first."""

    loss: float
    """In nats an image."""
    accuracy: float
    """From 0 to 1."""


@dataclass(frozen=True)
class SwaScore(Object):
    """The running average's."""

    snapshots: int
    """How many snapshots it is of."""
    loss: float
    """In nats an image."""
    accuracy: float
    """From 0 to 1."""


@dataclass(frozen=True)
class EpochLine(Object):
    """What an epoch came to."""

    epoch: int
    """Its number, from 1."""
    lr: float
    """The rate of its last step."""
    train: Score
    """While the weights changed: loss and accuracy of the batches, each before its step."""
    model: Score | None
    """The model's at the end of the epoch; None where it was not validated."""
    swa: SwaScore | None
    """The average's, with its batchnorm statistics recomputed; None where it was not validated."""
    images_per_second: float
    """Training images a second."""


@dataclass(frozen=True)
class Trained(Report):
    """The outcome of a training run."""

    main_table: ClassVar[str] = "epochs"

    run: str
    """Its folder."""
    arch: str
    """The architecture."""
    epochs: tuple[EpochLine, ...]
    """A line an epoch, as the log has it."""
    snapshots: tuple[int, ...]
    """The epochs whose weights were averaged, from 1."""
    seconds: float
    """From the beginning of the job to its end."""


@dataclass(frozen=True)
class LandscapeModel(Object):
    """A model, where it is, and how it does on the images of the picture."""

    model: str
    """Its path."""
    x: float | None
    """Its place on the first axis, or that of its projection; None for rays."""
    y: float | None
    """Its place on the second axis, or that of its projection; None for rays."""
    off: float | None
    """Its distance from the plane or line; None for rays."""
    norm: float
    """The length of its weight vector."""
    train_loss: float
    """Mean cross entropy over the training images, in nats."""
    train_error: float
    """Training images whose label did not rank first, in percent."""
    train_regularised: float | None
    """`train_loss` + λ/2 · `norm`²; None without a weight decay."""
    test_loss: float
    """Mean cross entropy over the test images, in nats."""
    test_error: float
    """Test images whose label did not rank first, in percent."""
    test_error_uncertainty: float
    """Standard error of `test_error`, in percentage points."""
    error_difference: float | None
    """`test_error` less that of the first model, in percentage points; None of the first."""
    error_difference_uncertainty: float | None
    """Standard error of that difference, paired by image; None of the first."""
    loss_difference: float | None
    """`test_loss` less that of the first model; None of the first."""
    loss_difference_uncertainty: float | None
    """Standard error of that difference, paired by image; None of the first."""
    half: float | None
    """Rays: the distance at which their mean test error reaches 50 %; None where it does not."""
    half_deviation: float | None
    """Standard deviation of the distances at which each ray's does; None where not all do."""


@dataclass(frozen=True)
class LandscapePoint(Object):
    """A point, and what was found there. Null: the network overflowed."""

    model: int | None
    """The model that its ray begins at, by position; None for a plane or a line."""
    ray: int | None
    """The direction's number; None for a plane or a line."""
    x: float
    """Its place on the first axis, or its distance from the model."""
    y: float | None
    """Its place on the second axis; None but for a plane."""
    norm: float
    """The length of the weight vector."""
    train_loss: float | None
    """Mean cross entropy over the training images, in nats."""
    train_error: float | None
    """Training images whose label did not rank first, in percent."""
    train_regularised: float | None
    """`train_loss` + λ/2 · `norm`²; None without a weight decay."""
    test_loss: float | None
    """Mean cross entropy over the test images, in nats."""
    test_error: float | None
    """Test images whose label did not rank first, in percent."""


@dataclass(frozen=True)
class Landscape(Report):
    """What `swa-landscape` writes: everything that was found, and all that its pictures show."""

    main_table: ClassVar[str] = "models"

    kind: str
    """`plane`, `line` or `rays`."""
    arch: str
    """The architecture."""
    parameters: int
    """Parameters of the network: the dimensions of weight space."""
    models: tuple[LandscapeModel, ...]
    """The models, those that define the picture first."""
    x: tuple[float, ...]
    """A plane or a line: the points' places on the first axis, ascending. Rays: their distances from the
    model."""
    y: tuple[float, ...]
    """A plane: the points' places on the second axis, ascending; else empty."""
    rays: int
    """Rays from each model; 0 for a plane or a line."""
    units: str | None
    """Units of distances along rays: `distance`, `norm` or `filter`; None for a plane or a line."""
    batchnorm: str
    """Statistics at each point: `recompute`, `keep`, or `none` of a network without batchnorm layers."""
    bn_images: int
    """Training images that statistics were computed from at each point."""
    train_images: int
    """Images of the training loss and error."""
    test_images: int
    """Images of the test loss and error."""
    seed: int
    """The seed of the images, and of directions."""
    weight_decay: float | None
    """λ of the regularised training loss; None: it was not asked for."""
    transform: Any
    """From an image to the pixels that the network takes: the preset's name and its fields."""
    augmentation: Any
    """The training augmentation of training images; None: the pixels of evaluation."""
    version: str
    """Version of the tools."""
    points: tuple[LandscapePoint, ...]
    """A plane: row by row, a row for each `y`. Rays: all points of the first direction from the first
    model, from the second, and so on; then the next direction."""
    seconds: float | None
    """Time that the job took; None in a file, which says the same whenever it is made."""


@dataclass(frozen=True)
class PointsSaved(Report):
    """What `swa-landscape` prints when it saves a part."""

    part: str
    """The file."""
    shard: str
    """Which part it is: `I/N`, counted from 0."""
    points: int
    """How many points it has."""
    seconds: float
    """Time that the job took."""


@dataclass(frozen=True)
class CurvesDrawn(Report):
    """What `swa-landscape curves` prints."""

    svg: str
    """The picture."""
    runs: tuple[str, ...]
    """What the runs are called in it."""
