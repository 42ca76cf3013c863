"""Where the commands are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import _libtorch
from ._errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def find(tool: str) -> tuple[str, dict[str, str]]:
    """The path of a command, and the environment to run it in.

    The folder that ``SWA_TOOLS_BIN`` names comes first: its binaries know where their libtorch is. Then the commands
    of this package; then those on PATH, for a package that was not installed as a wheel.
    """
    environ = dict(os.environ)
    own = environ.get("SWA_TOOLS_BIN")
    if own:
        path = os.path.join(own, tool)
        if not os.access(path, os.X_OK):
            raise UsageError(
                f"SWA_TOOLS_BIN is {own}, which has no {tool}",
                remedy="name the folder of the commands, or unset it",
            )
        return path, environ
    inside = _PACKAGE / "bin" / _libtorch.PROGRAM
    if inside.exists() and inside.with_name(f"{tool}.help").exists():
        try:
            folder = _libtorch.find(environ)
        except _libtorch.NotFound as error:
            raise UsageError(f"{tool} needs libtorch: {error.what}", remedy=error.remedy) from None
        return str(inside), _libtorch.environment(tool, folder, environ)
    # site-packages lies in PREFIX/lib/python3.N; with `pip install --target`, scripts are in a folder of it.
    parents = list(_PACKAGE.parents)
    for prefix in [*parents[3:4], *parents[:1]]:
        path = str(prefix / "bin" / tool)
        if os.access(path, os.X_OK):
            return path, environ
    found = shutil.which(tool)
    if found is None:
        raise UsageError(
            f"{tool} was not found beside {_PACKAGE} nor on PATH",
            remedy="install swa-tools anew, or name the folder of the commands in SWA_TOOLS_BIN",
        )
    return found, environ
