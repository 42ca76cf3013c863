"""Where libtorch is, for the commands that run networks.

The launchers of the commands load this file alone, so it needs nothing but the standard library, and little of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

#: All commands that need libtorch, in one program.
PROGRAM = "swa-torch"
#: The first and the last version of PyTorch whose libtorch the tools run with.
OLDEST, NEWEST = (2, 10), (2, 12)
NEEDED = "2.10 to 2.12 is needed"
REMEDY = (
    "install it beside swa-tools (pip install 'torch>=2.10,<2.13'), or have both apart from your own PyTorch: "
    "uv tool install 'swa-tools[torch]'"
)
#: Seconds that another Python may take to say where its PyTorch is.
PATIENCE = 10


class NotFound(Exception):
    """There is no libtorch of the right version: what was found, and where."""

    def __init__(self, what: str, remedy: str = REMEDY) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


def find(environ: Mapping[str, str]) -> str:
    """The folder of libtorch_cpu.so.

    ``LIBTORCH`` decides where it is set. Else it is the first of these that has the right version: the PyTorch of
    this Python, of ``VIRTUAL_ENV``, of ``CONDA_PREFIX``, of the python3 on PATH.
    """
    own = environ.get("LIBTORCH")
    if own:
        for folder in (os.path.join(own, "lib"), own):
            if _has(folder):
                return _checked(folder, f"LIBTORCH is {own}")
        remedy = "name the folder that holds lib/libtorch_cpu.so, or unset it"
        raise NotFound(f"LIBTORCH is {own}, which has no libtorch", remedy)
    unfit: NotFound | None = None
    for torch in _installed(environ):
        folder = os.path.join(torch, "lib")
        if _has(folder):
            try:
                return _checked(folder, "")
            except NotFound as error:
                unfit = unfit or error
    raise unfit or NotFound(f"no PyTorch was found, {NEEDED}")


def environment(tool: str, folder: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the program of all commands is a certain one, and loads the libtorch of a folder."""
    others = environ.get("LD_LIBRARY_PATH")
    path = f"{folder}:{others}" if others else folder
    return {**environ, "LD_LIBRARY_PATH": path, "SWA_COMMAND": tool}


def start(tool: str, arguments: list[str]) -> int:
    """Becomes the command. Returns an exit code if there is no libtorch for it."""
    programs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")
    try:
        folder = find(os.environ)
    except NotFound as error:
        return _without(os.path.join(programs, tool), arguments, error)
    program = os.path.join(programs, PROGRAM)
    try:
        os.execve(program, [tool, *arguments], environment(tool, folder, os.environ))
    except OSError as error:
        what = f"{tool} cannot be started: {program}: {error.strerror}"
        return _failed(what, "install swa-tools anew, for this processor", arguments, kind="io", exit_code=4)


def _without(said: str, arguments: list[str], error: NotFound) -> int:
    """What can be said without libtorch: the help, the version, and what is missing."""
    tool = os.path.basename(said)
    for name, flags in (("help", {"--help", "-h"}), ("version", {"--version", "-V"})):
        if flags.intersection(arguments):
            with open(f"{said}.{name}", encoding="utf-8") as file:
                sys.stdout.write(file.read())
            if name == "version":
                print(f"libtorch: {error}")
            return 0
    return _failed(f"{tool} needs libtorch: {error.what}", error.remedy, arguments)


def _failed(what: str, remedy: str, arguments: list[str], *, kind: str = "usage", exit_code: int = 2) -> int:
    """Says what is wrong as the commands do, and returns the exit code."""
    message = f"{what}; {remedy}"
    print(f"error: {message}", file=sys.stderr)
    if "--json" in arguments:
        import json

        report = {
            "kind": kind,
            "exit_code": exit_code,
            "message": message,
            "file": None,
            "tensor": None,
            "remedy": remedy,
        }
        print(json.dumps({"schema": 1, "error": report}))
    return exit_code


def version(folder: str) -> str | None:
    """The version of the libtorch whose libraries are in a folder, if its files say it."""
    root = os.path.dirname(folder)
    for name, mark in (
        ("version.py", "__version__ ="),
        ("include/torch/headeronly/version.h", "#define TORCH_VERSION "),
        ("include/torch/csrc/api/include/torch/version.h", "#define TORCH_VERSION "),
    ):
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
                text = file.read().replace("\\\n", "")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(mark):
                return line[len(mark) :].strip().strip("'\"")
    try:
        with open(os.path.join(root, "build-version"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def _has(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "libtorch_cpu.so"))


def _checked(folder: str, given: str) -> str:
    """The folder, if the version in it is right. ``given``: how it was named, if it was."""
    found = version(folder)
    root = os.path.dirname(folder)
    what = f"{given}, which holds" if given else f"{root} holds"
    if found is None:
        # Of a wrong one the loader would say which symbols are missing, and nothing else.
        remedy = f"if it is of these, write its version, such as 2.11.0, into {root}/build-version"
        raise NotFound(f"{what} PyTorch of an unknown version, but {NEEDED}", remedy)
    numbers = tuple(int(n) if n.isdigit() else 0 for n in found.split("+")[0].split(".")[:2])
    if not OLDEST <= numbers <= NEWEST:
        raise NotFound(f"{what} PyTorch {found}, but {NEEDED}")
    return folder


def _installed(environ: Mapping[str, str]) -> Iterator[str]:
    """Folders of installed PyTorch packages, none of which is imported."""
    from importlib.util import find_spec

    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):
        spec = None
    if spec is not None:
        yield from spec.submodule_search_locations or []
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environ.get(name)
        if prefix:
            lib = os.path.join(prefix, "lib")
            try:
                pythons = sorted(os.listdir(lib))
            except OSError:
                pythons = []
            for python in pythons:
                if python.startswith("python3"):
                    yield os.path.join(lib, python, "site-packages", "torch")
    import shutil

    python3 = shutil.which("python3", path=environ.get("PATH"))
    # By their folders: the Pythons of all environments lead to one, and each has packages of its own.
    if python3 and os.path.dirname(os.path.abspath(python3)) != os.path.dirname(os.path.abspath(sys.executable)):
        import subprocess

        code = (
            "import importlib.util as u; s = u.find_spec('torch'); "
            "print(next(iter(s.submodule_search_locations or []), '') if s else '')"
        )
        try:
            found = subprocess.check_output(
                [python3, "-c", code], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, timeout=PATIENCE
            )
        except (OSError, subprocess.SubprocessError):
            # One that does not run, or does not end, has nothing to offer.
            return
        if found.strip():
            yield found.strip()
