"""The options of the functions: a keyword each, of the name that the flag has in the command's ``--help``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, TypedDict, Union

from ._run import Reporter

#: A file or folder.
Path = Union[str, "os.PathLike[str]"]


class Common(TypedDict, total=False):
    """Of every function."""

    progress: Reporter  # True for tqdm's bar, or a function that is called with each Progress
    threads: int | None  # number of threads; default: all cores


class Take(Common, total=False):
    """Which weights of a checkpoint."""

    ema: bool  # the averaged weights (EMA, SWA) that the trainer kept, if a file holds both
    weights_key: str | None  # where in a file the weights are: keys joined with dots


class Select(Take, total=False):
    """Which checkpoints."""

    start: int | None  # leave out epochs or steps before this one, by the number in the name
    every: int | None  # every K-th number, counted from start or the smallest
    last: int | None  # only the last N of those that remain
    range: tuple[int | None, int | None] | None  # the numbers from A to B, both included; None: open at that end
    number: str | None  # regular expression that finds the number in a name that has several
    by_position: bool  # positions in natural order, from 1, instead of numbers in names
    allow_duplicates: bool  # count checkpoints with the same weights as often as they are named
    metrics: Path | None  # a trainer's results, by which `by` or `swad` choose
    by: str | None  # what decides, and how: "val_acc:max", "val_loss:min"
    top: int | None  # the K best of those that all else leaves
    swad: str | None  # those of the valley of a validation loss, as SWAD does
    swad_converge: int | None  # the minimum is the least of N losses in a row
    swad_overfit: int | None  # the loss has risen for good before N in a row above the threshold
    swad_tolerance: float | None  # the threshold: 1 + this times the mean of the losses at the minimum
    metrics_number: str | None  # the column with the numbers that the names have


class Names(Select, total=False):
    """Which tensors."""

    keys: Literal["strict", "intersection", "union"] | None  # which tensors, if the checkpoints' differ
    include: str | None  # regular expression: only tensors whose name matches
    exclude: str | None  # regular expression: not those tensors
    keep_names: bool  # names as the first checkpoint has them, with what wrappers add
    bn_stats: Literal["mean", "last"] | None  # how to obtain batchnorm's running mean and variance


class Tensors(Names, total=False):
    """How tensors are averaged."""

    dtype: Literal["keep", "f32", "f16", "bf16", "f64"] | None  # type of the averaged tensors
    allow_nonfinite: bool  # average NaN and infinity like other numbers
    no_verify: bool  # do not check inputs against the checksums in them
    like: Path | None  # write a copy of this file with the result in place of its weights
    force: bool  # overwrite outputs that exist


class Average(Tensors, total=False):
    """Of :func:`swa_tools.average`."""

    scheme: str | None  # how much each counts: "mean", "ema:0.99", "window:5", "wsm:linear", …
    weights: Sequence[float] | Path | None  # one for each checkpoint in natural order, or a file of them
    snapshot_sigma: Sequence[float] | None  # for posthoc-ema: the widths of the stored averages
    times: Path | None  # for posthoc-ema: a file that says when the checkpoints were stored
    max_shard_size: int | str | None  # write a folder of shards of at most this size ("5GB")
    dry_run: bool  # check names, shapes and types, and report the plan; write nothing


class Finish(Common, total=False):
    """Of :func:`swa_tools.finish`."""

    force: bool  # overwrite a folder that exists


class Follow(Tensors, total=False):
    """Of :func:`swa_tools.follow`."""

    state: Path | None  # keep the exact sum in this file, and go on from there
    until: int | None  # end when so many checkpoints are counted
    idle: float | None  # end when nothing has come for so many seconds
    exec: str | None  # a command to run with sh after each update
    ack: Path | None  # a folder for an empty file for each checkpoint that may be deleted
    poll: float | None  # seconds between two looks at a folder on NFS and the like


class Pixels(TypedDict, total=False):
    """How an image becomes pixels."""

    preset: str | None  # how images are resized, cropped and normalised, in one word
    resize: int | None  # resize the short side to so many pixels (0: not at all)
    crop: int | None  # crop the centre to so many pixels (0: not at all)
    mean: Sequence[float] | None  # of each channel, of values from 0 to 1
    std: Sequence[float] | None  # of each channel
    interpolation: Literal["bilinear", "bicubic"] | None  # how resizing interpolates


class Place(TypedDict, total=False):
    """Where networks run."""

    device: str | None  # "auto", "cpu", "cuda" or "cuda:N"


class Device(Place, total=False):
    """Where networks run, and how."""

    precision: Literal["fp32", "tf32", "bf16", "fp16"] | None  # what the network computes in


class Network(Take, total=False):
    """Which network a checkpoint is of."""

    arch: str | None  # the architecture; default: recognised from names and shapes
    network: str | None  # what the names of the network's tensors begin with, where a file holds several
    program: Path | Sequence[Path] | None  # the network, as torch.export.save wrote it (.pt2)
    no_verify: bool  # do not compare models with the digests written into them


class Data(Network, Pixels, Device, total=False):
    """Images, pixels, and the network."""

    split: Literal["train", "val", "test"] | None  # which split, if the folder holds several
    format: Literal["idx", "cifar", "webdataset", "parquet", "flat", "imagefolder"] | None
    # what the folder holds; default: recognised from its files
    labels: Path | None  # the labels of images in one folder
    label_column: str | None  # the column of labels: heading or number; several with commas: one a class
    image_column: str | None  # the column of the images' names
    first_label: int | None  # what number the first class has in labels, 0 or 1
    classes: Path | None  # all classes, where labels does not hold them all
    class_map: Path | None  # which output of the network stands for which class of the data
    samples: int | None  # only so many images, drawn by seed
    seed: int | None  # of the order in which images are drawn
    batch_size: int | None  # images per batch
    allow_bad: int | None  # leave out up to so many images that cannot be read
    transform: Literal["eval", "train", "crop", "resized"] | None  # the pixels of evaluation, or those of training


class Resume(TypedDict, total=False):
    """A pass that goes on after an interruption."""

    resume: Path | None  # keep the pass in this file while it runs, and go on from there


class Whole(Resume, total=False):
    """A pass that this call makes whole."""

    devices: str | None  # share the pass between devices, a process each: "all", "0,2"


class Statistics(Data, total=False):
    """How statistics of batchnorm are computed."""

    method: Literal["cma", "weighted", "pooled", "layerwise"] | None  # how batches' statistics combine
    memory: int | str | None  # on the host, for the layerwise method ("8GB")
    noise: Literal["off", "on"] | None  # random mixing that the network does in training
    freeze: str | None  # regular expression: layers that keep their statistics
    order: Literal["shuffled", "dataset"] | None  # the order in which images are visited


class Rewrite(TypedDict, total=False):
    """A model that is written with other statistics."""

    like: Path | None  # write a copy of this file with the new model in place of its weights
    force: bool  # overwrite the output if it exists


class UpdateBn(Statistics, Whole, Rewrite, total=False):
    """Of :func:`swa_tools.update_bn`."""

    until_stable: float | None  # stop once the standard error of every layer is below this; 0.02 is good


class UpdateBnPart(Statistics, Resume, total=False):
    """Of :func:`swa_tools.update_bn_part`."""

    force: bool  # overwrite the part if it exists


class MergeStats(Network, Rewrite, total=False):
    """Of :func:`swa_tools.merge_stats`."""

    allow_bad: int | None  # accept parts in which so many images were left out


class Tables(TypedDict, total=False):
    """Files that an evaluation writes, whole or merged."""

    per_class: Path | None  # CSV: each class's top-1 with its interval
    confusion: Path | None  # CSV: which class was taken for which
    reliability: Path | None  # SVG: accuracy against confidence
    force: bool  # overwrite files that exist


class Images(TypedDict, total=False):
    """Files that the evaluation of a whole pass writes."""

    predictions: Path | None  # CSV: each image's label and its five likeliest classes
    logits: Path | None  # safetensors: labels (n) and logits (models × n × outputs)


class Outcomes(Data, total=False):
    """How outcomes are found."""

    ensemble: bool | str  # add the ensemble: of all models, or of those whose file name matches a pattern
    class_map_restrict: bool  # with class_map: the other outputs do not compete
    models_at_once: int | None  # most models on the device at a time


class Evaluate(Outcomes, Whole, Tables, Images, total=False):
    """Of :func:`swa_tools.evaluate`."""


class EvaluatePart(Outcomes, Resume, total=False):
    """Of :func:`swa_tools.evaluate_part`."""

    force: bool  # overwrite the part if it exists


class MergeOutcomes(Common, Tables, total=False):
    """Of :func:`swa_tools.merge_outcomes`."""

    allow_bad: int | None  # accept parts in which so many images were left out


class Recompute(Data, total=False):
    """Of those functions that compute statistics from training data."""

    bn_samples: int | None  # how many of its images, drawn by seed; default: 10,000
    memory: int | str | None  # on the host ("8GB")
    class_map_restrict: bool  # with class_map: the other outputs do not compete


class Swag(Recompute, total=False):
    """Of :func:`swa_tools.sample_swag`."""

    bn_data: Path | None  # the training data to compute batchnorm statistics from
    swag_scale: float | None  # what the covariance is multiplied by


class Soup(Recompute, total=False):
    """Of :func:`swa_tools.soup`."""

    bn_data: Path | None  # the training data to compute batchnorm statistics from
    force: bool  # overwrite the output if it exists


class Train(Take, Pixels, Device, total=False):
    """Of :func:`swa_tools.train`."""

    resume: bool  # go on with the run that is there
    test: Path | None  # the folder of test images, if they are elsewhere
    hold_out: int | None  # validate on so many training images that are left out of training
    format: Literal["idx", "cifar", "webdataset", "parquet", "flat", "imagefolder"] | None
    # what the folder holds; default: recognised from its files
    samples: int | None  # train on so many images only, the same for every seed
    batch_size: int | None  # images per step
    seed: int | None  # of the first weights, of the order, of augmentation and of noise
    augment: Literal["preset", "crop", "resized", "none"] | None  # what is drawn for each training image
    arch: str | None  # the architecture; with init it is recognised
    width: int | None  # channels of the first stage
    init: Path | None  # begin with the weights of this checkpoint
    trunk: Path | None  # take the first epochs from another run, as far as both train alike
    wd: float | None  # weight decay, on every parameter
    momentum: float | None  # momentum
    schedule: Literal["decay", "constant", "sawtooth", "triangle", "cosine"] | None  # how the learning rate goes
    swa_start: int | None  # average the weights from the end of this epoch on
    swa_lr: float | None  # the learning rate while averaging; the lowest rate of a cycle
    cycle: int | None  # epochs of a cycle: from one snapshot to the next
    eval_every: int | None  # epochs from one validation to the next
