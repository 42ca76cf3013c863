"""What surrounds an optimum: the pictures of swa-landscape, a function each. See docs/landscape.md.

``models`` are checkpoints, ``data`` a folder of training images, with test images below it or beside it. Each function
returns everything that was found; ``output``, ``svg`` and ``csv`` write it.

Those that evaluate models raise ``UsageError`` where a file to write exists, options contradict each other, there is no such device or no
libtorch; ``InputError`` for models of different networks, two with the same weights, three on a line, one that
overflows, an image that cannot be read, data that do not fit; ``LimitError`` where memory runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _landscape_options as _options
from . import reports
from ._flags import Paths, flag, paths, takes, words
from ._options import Path
from ._run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["curves", "draw", "line", "line_part", "merge", "plane", "plane_part", "rays", "rays_part"]


@takes(_options.Plane)
def plane(models: Sequence[Path], data: Path, **options: Unpack[_options.Plane]) -> reports.Landscape:
    """Error and loss on the plane through three models, and where those of ``project`` lie beside it."""
    return reports.Landscape.of(_evaluated("plane", models, data, [], options, _options.Plane))


@takes(_options.Line)
def line(models: Sequence[Path], data: Path, **options: Unpack[_options.Line]) -> reports.Landscape:
    """Error and loss on the line through two models."""
    return reports.Landscape.of(_evaluated("line", models, data, [], options, _options.Line))


@takes(_options.Rays)
def rays(models: Paths, data: Path, **options: Unpack[_options.Rays]) -> reports.Landscape:
    """Error and loss on rays from each model in random directions, the same for all: how wide its optimum is."""
    return reports.Landscape.of(_evaluated("rays", models, data, [], options, _options.Rays))


@takes(_options.PlanePart)
def plane_part(
    models: Sequence[Path], data: Path, part: Path, shard: str, **options: Unpack[_options.PlanePart]
) -> reports.PointsSaved:
    """Evaluates part ``shard`` (``"0/4"``, or ``"auto"``) of the points of :func:`plane`, and saves them in ``part``."""
    return _part("plane", models, data, part, shard, options, _options.PlanePart)


@takes(_options.LinePart)
def line_part(
    models: Sequence[Path], data: Path, part: Path, shard: str, **options: Unpack[_options.LinePart]
) -> reports.PointsSaved:
    """Evaluates part ``shard`` (``"0/4"``, or ``"auto"``) of the points of :func:`line`, and saves them in ``part``."""
    return _part("line", models, data, part, shard, options, _options.LinePart)


@takes(_options.RaysPart)
def rays_part(
    models: Paths, data: Path, part: Path, shard: str, **options: Unpack[_options.RaysPart]
) -> reports.PointsSaved:
    """Evaluates part ``shard`` (``"0/4"``, or ``"auto"``) of the points of :func:`rays`, and saves them in ``part``."""
    return _part("rays", models, data, part, shard, options, _options.RaysPart)


@takes(_options.Draw)
def merge(parts: Sequence[Path], **options: Unpack[_options.Draw]) -> reports.Landscape:
    """The whole picture from the parts of all processes; neither models nor data are read.

    Raises ``InputError`` where parts are missing, damaged, or of different pictures, ``UsageError`` where a file to write
    exists.
    """
    flags, progress = words(options, _options.Draw)
    return reports.Landscape.of(run("swa-landscape merge", [*flags, *paths(parts)], progress))


@takes(_options.Draw)
def draw(report: Path, **options: Unpack[_options.Draw]) -> reports.Landscape:
    """What was found before, read from the file that ``output`` named, and written as a picture or table.

    Raises ``InputError`` for a file of another kind, ``UsageError`` where a file to write exists.
    """
    flags, progress = words(options, _options.Draw)
    return reports.Landscape.of(run("swa-landscape draw", [*flags, *paths(report)], progress))


@takes(_options.Curves)
def curves(runs: Paths, svg: Path, **options: Unpack[_options.Curves]) -> reports.CurvesDrawn:
    """Writes the learning curves of runs of :func:`swa_tools.train` as a picture; ``runs`` are their folders.

    Raises ``InputError`` for a log that is damaged or empty, ``WriteError`` where there is none, ``UsageError`` where the
    picture exists.
    """
    flags, progress = words(options, _options.Curves)
    return reports.CurvesDrawn.of(run("swa-landscape curves", [*flags, *flag("svg", svg), *paths(runs)], progress))


def _part(
    kind: str, models: Paths, data: Path, part: Path, shard: str, options: Any, known: Any
) -> reports.PointsSaved:
    own = [*flag("save_points", part), *flag("shard", shard)]
    return reports.PointsSaved.of(_evaluated(kind, models, data, own, options, known))


def _evaluated(kind: str, models: Paths, data: Path, own: list[str], options: Any, known: Any) -> dict[str, Any]:
    flags, progress = words(options, known)
    return run(f"swa-landscape {kind}", [*flags, *own, *flag("data", data), *paths(models)], progress)
