"""Running a command: its JSON, its progress, its errors, and what Ctrl-C does."""

from __future__ import annotations

import json
import logging
import os
import selectors
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Union

from . import _tools
from ._errors import UsageError, of_exit, of_json
from ._report import optional

#: Notes of the commands, such as which device is used, at level INFO.
log = logging.getLogger("swa_tools")


@dataclass(frozen=True)
class Progress:
    """How far a command is."""

    done: int
    """How many are done."""
    total: int
    """How many there are in all."""
    unit: str
    """What is counted: ``bytes`` or ``images``."""
    stage: str
    """What is being done."""


#: ``True`` for a bar of tqdm, or a function that is called with each :class:`Progress`, at most five times a second.
Reporter = Union[bool, Callable[[Progress], None], None]


def run(
    tool: str,
    arguments: Sequence[str],
    progress: Reporter = None,
    each: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Runs a command, or one of its subcommands, with ``--json`` and returns the last object that it prints.

    ``each`` is called with every update of a follower, as it comes. An error of the command becomes a ``SwaError``. If this is
    interrupted, or ``progress`` or ``each`` fails, the command is interrupted too, and waited for: it leaves no
    temporary file behind.
    """
    path, environ = _tools.find(tool.split()[0])
    show = reporter(progress)
    shown = "none" if show is None else "json"
    command = [*tool.split(), "--json", f"--progress={shown}", *arguments]
    # It ends when this process does, however that ends.
    environ["SWA_PARENT"] = str(os.getpid())
    objects: list[dict[str, Any]] = []
    lines: list[str] = []

    def on_stdout(line: str) -> None:
        found = json.loads(line)
        if each is not None and found.get("event") == "update":
            each(found)
        else:
            objects.append(found)

    def on_stderr(line: str) -> None:
        if show is not None and line.startswith('{"done":'):
            show(Progress(**json.loads(line)))
        elif line:
            lines.append(line)
            if not line.startswith("error: "):
                log.info("%s", line)

    child: subprocess.Popen[bytes] | None = None
    try:
        child = subprocess.Popen(
            command,
            executable=path,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _read(child, on_stdout, on_stderr)
        code = child.wait()
    except BaseException:
        if child is not None:
            _interrupt(child)
        raise
    finally:
        if isinstance(show, _Bar):
            show.close()
        for pipe in (child.stdout, child.stderr) if child is not None else ():
            if pipe is not None:
                pipe.close()
    last = objects[-1] if objects else {}
    if code == 0 and objects:
        return last
    if "error" in last:
        raise of_json(last["error"])
    raise of_exit(tool, code, lines)


def _read(
    child: subprocess.Popen[bytes],
    on_stdout: Callable[[str], None],
    on_stderr: Callable[[str], None],
) -> None:
    """Calls a function with each line of the two pipes until both end, all in this thread."""
    assert child.stdout is not None and child.stderr is not None
    with selectors.DefaultSelector() as selector:
        for pipe, act in ((child.stdout, on_stdout), (child.stderr, on_stderr)):
            selector.register(pipe, selectors.EVENT_READ, (act, []))
        while selector.get_map():
            for key, _ in selector.select():
                act, begun = key.data
                data = os.read(key.fd, 1 << 16)
                *lines, rest = data.split(b"\n")
                for line in lines:
                    act(b"".join([*begun, line]).decode("utf-8", "replace"))
                    begun.clear()
                if rest:
                    begun.append(rest)
                if not data:
                    selector.unregister(key.fileobj)
                    if begun:
                        act(b"".join(begun).decode("utf-8", "replace"))


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    """Ends a command as Ctrl-C does, and waits until it has cleaned up."""
    # From a terminal it may have come already. The command cleans up all the same.
    if child.poll() is None:
        # Not SIGINT: what a shell started in the background ignores that, and so do its children.
        child.terminate()
    try:
        child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
    except BaseException:
        child.kill()
        child.wait()
        raise


class _Bar:
    """A bar of tqdm."""

    def __init__(self, tqdm: Any) -> None:
        self.tqdm = tqdm
        self.bar: Any = None
        self.stage = ""

    def __call__(self, progress: Progress) -> None:
        if self.bar is None or self.stage != progress.stage:
            self.close()
            self.stage = progress.stage
            self.bar = self.tqdm(
                total=progress.total,
                unit="B" if progress.unit == "bytes" else f" {progress.unit}",
                unit_scale=progress.unit == "bytes",
                desc=progress.stage,
            )
        self.bar.update(progress.done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def reporter(progress: Reporter) -> Callable[[Progress], None] | None:
    """The function to call."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    tqdm = optional("tqdm.auto")
    if tqdm is None:
        raise UsageError(
            "progress=True shows a bar of tqdm, which is not installed",
            remedy="pip install tqdm, or pass a function",
        )
    return _Bar(tqdm.tqdm)
