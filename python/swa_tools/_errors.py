"""What goes wrong, as exceptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


class SwaError(Exception):
    """What every error of the tools is.

    ``kind`` is one of the kinds that docs/json.md lists; ``exit_code`` is that of the command, below zero if a
    signal ended it; ``file`` and ``tensor`` are what caused the error, if a single one did; ``remedy`` is what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "usage",
        exit_code: int = 2,
        file: str | None = None,
        tensor: str | None = None,
        remedy: str | None = None,
    ) -> None:
        if remedy and remedy not in message:
            message = f"{message}; {remedy}"
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.exit_code = exit_code
        self.file = file
        self.tensor = tensor
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.message, {**self.__dict__})


class UsageError(SwaError, ValueError):
    """The request cannot be carried out as given."""


class InputError(SwaError):
    """An input is wrong: damaged, unsupported, or unlike the others."""


class WriteError(SwaError, OSError):
    """Reading or writing failed, or the disk is full."""


class ChangedError(SwaError):
    """An input changed while it was read."""


class LimitError(SwaError):
    """A limit was hit, or memory ran out."""


_BY_CODE: dict[int, type[SwaError]] = {
    2: UsageError,
    3: InputError,
    4: WriteError,
    5: ChangedError,
    6: LimitError,
}


def _again(kind: type[SwaError], message: str, fields: dict[str, Any]) -> SwaError:
    """For pickle: an error of a worker process reaches its parent whole."""
    error = kind(message)
    error.__dict__.update(fields)
    return error


def of_json(error: Mapping[str, Any]) -> SwaError:
    """The exception of what ``--json`` prints under ``error``."""
    code = int(error["exit_code"])
    remedy = error.get("remedy")
    return _BY_CODE.get(code, SwaError)(
        _in_python(str(error["message"])),
        kind=str(error["kind"]),
        exit_code=code,
        file=error.get("file"),
        tensor=error.get("tensor"),
        remedy=None if remedy is None else _in_python(remedy),
    )


#: A file or tensor in a message, or a flag.
_NAME_OR_FLAG = re.compile(r"`[^`]*`|(?<![\w/-])--([a-z][a-z-]*[a-z])")


def _in_python(text: str) -> str:
    """A message of a command with options as they are spelled here. Names in it stay."""
    return _NAME_OR_FLAG.sub(lambda m: f"`{m[1].replace('-', '_')}`" if m[1] else m[0], text)


def of_exit(tool: str, code: int, lines: list[str]) -> SwaError:
    """The exception of a command that ended without saying why in JSON."""
    last = lines[-1].removeprefix("error: ") if lines else ""
    if code < 0:
        message = f"{tool} was ended by signal {-code}" + (f": {last}" if last else "")
        return SwaError(message, kind="killed", exit_code=code)
    kinds = {2: "usage", 3: "input", 4: "io", 5: "changed", 6: "limit"}
    message = last or f"{tool} ended with exit code {code}"
    return _BY_CODE.get(code, SwaError)(message, kind=kinds.get(code, "unknown"), exit_code=code)
