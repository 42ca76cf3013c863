"""The options of :mod:`swa_tools.landscape`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from ._options import Common, Path, Pixels, Place, Resume, Take


class Picture(TypedDict, total=False):
    """Files that a landscape is written to."""

    output: Path | None  # JSON: everything that was found, for :func:`swa_tools.landscape.draw`
    svg: Path | None  # the picture
    csv: Path | None  # a table, a row a point
    force: bool  # overwrite files that exist


class Part(TypedDict, total=False):
    """A part that is saved."""

    force: bool  # overwrite the part if it exists


class Landscape(Take, Pixels, Place, Resume, total=False):
    """Of every landscape: the images, and what is done at each point."""

    test: Path | None  # the folder of test images, if they are elsewhere
    format: Literal["idx", "cifar", "webdataset", "parquet", "flat", "imagefolder"] | None
    # what the folders hold; default: recognised from their files
    class_map: Path | None  # which output of the network stands for which class of the data
    train_samples: int | None  # training images of the training loss
    test_samples: int | None  # test images of the test error
    seed: int | None  # of which images these are, and of directions
    batch_size: int | None  # images per batch
    precision: Literal["fp32", "tf32"] | None  # what the network computes in
    bn: Literal["recompute", "keep"] | None  # where batchnorm's statistics come from
    bn_samples: int | None  # training images that statistics are recomputed from at each point
    memory: int | str | None  # for images and forward passes ("4GB")
    wd: float | None  # show the training loss with this weight decay
    transform: Literal["eval", "train", "crop", "resized"] | None  # the pixels of training images
    arch: str | None  # the architecture; default: recognised from names and shapes
    no_verify: bool  # do not compare models with the digests written into them


class PlanePoints(Landscape, total=False):
    """Which points."""

    project: Path | Sequence[Path] | None  # models to project onto the plane, in the order of their path
    grid: int | None  # points on each axis
    margin: float | None  # how far it goes beyond the models, as a share of what lies between them


class Plane(PlanePoints, Picture, total=False):
    """Of :func:`swa_tools.landscape.plane`."""


class PlanePart(PlanePoints, Part, total=False):
    """Of :func:`swa_tools.landscape.plane_part`."""


class LinePoints(Landscape, total=False):
    """Which points."""

    points: int | None  # points on the line
    margin: float | None  # how far it goes beyond the models, as a share of their distance


class Line(LinePoints, Picture, total=False):
    """Of :func:`swa_tools.landscape.line`."""


class LinePart(LinePoints, Part, total=False):
    """Of :func:`swa_tools.landscape.line_part`."""


class RaysPoints(Landscape, total=False):
    """Which points."""

    rays: int | None  # how many directions
    steps: int | None  # points on each ray
    to: float | None  # the distance of a ray's last point
    units: Literal["distance", "norm", "filter"] | None  # what a distance of 1 is


class Rays(RaysPoints, Picture, total=False):
    """Of :func:`swa_tools.landscape.rays`."""


class RaysPart(RaysPoints, Part, total=False):
    """Of :func:`swa_tools.landscape.rays_part`."""


class Draw(Common, Picture, total=False):
    """Of :func:`swa_tools.landscape.merge` and :func:`swa_tools.landscape.draw`."""


class Curves(Common, total=False):
    """Of :func:`swa_tools.landscape.curves`."""

    force: bool  # overwrite the picture if it exists
