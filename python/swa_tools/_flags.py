"""From options to the flags of a command."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Union

from ._errors import UsageError
from ._options import Path
from ._run import Reporter

F = TypeVar("F", bound=Callable[..., Any])
#: One file, folder or pattern, or several.
Paths = Union[Path, Iterable[Path]]


def paths(several: Paths) -> list[str]:
    """Paths as arguments; nothing of them is a flag."""
    if isinstance(several, bytes):
        raise TypeError(f"{several!r} are bytes: give a str or a Path (os.fsdecode)")
    listed = [several] if isinstance(several, (str, os.PathLike)) else list(several)
    return ["--", *(word(path) for path in listed)]


def words(options: Mapping[str, Any], known: Any) -> tuple[list[str], Reporter]:
    """The flags that options give, and who shows the progress. ``known`` is the TypedDict of them."""
    flags: list[str] = []
    for name, value in options.items():
        if name not in known.__annotations__:
            raise TypeError(f"unexpected keyword argument {name!r}; known: {sorted(known.__annotations__)}")
        if name != "progress":
            flags += flag(name, value)
    return flags, options.get("progress")


def flag(name: str, value: Any) -> list[str]:
    """The flag that an option gives; none if it is None or False."""
    spelled = "--" + name.replace("_", "-")
    value = _plain(value)
    if value is None or value is False:
        return []
    if value is True:
        return [spelled]
    if name == "weights" and isinstance(value, (str, os.PathLike)):
        return [f"--weights-file={word(value)}"]
    if isinstance(value, (str, os.PathLike)) or not hasattr(value, "__iter__"):
        return [f"{spelled}={word(value)}"]
    if name == "range":
        ends = ["" if item is None else word(item) for item in value]
        if len(ends) != 2:
            raise UsageError(f"range has {len(ends)} numbers", remedy="give the first and the last: (161, 200)")
        return [f"{spelled}={'..'.join(ends)}"]
    values = [word(item) for item in value]
    if not values:
        raise UsageError(f"{name} is empty", remedy="leave it out, or name one")
    if name in REPEATED:
        return [f"{spelled}={value}" for value in values]
    return [f"{spelled}={','.join(values)}"]


#: Flags that are given once for each of several values; the others take them with commas.
REPEATED = ("program", "project", "merge_stats", "merge_outcomes")


def _plain(value: Any) -> Any:
    """A single value of NumPy or PyTorch as Python's own."""
    is_single = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_single else value


def word(value: Any) -> str:
    """A value as an argument."""
    value = _plain(value)
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        if not isinstance(text, str):
            text = os.fsdecode(text)
        if "\0" in text:
            raise UsageError(f"{text!r} has a zero byte")
        return text
    if hasattr(value, "__index__"):
        return str(value.__index__())
    if hasattr(value, "__float__"):
        number = float(value)
        # NumPy's arithmetic gives 2.0 where a count is meant.
        is_whole = number.is_integer() and abs(number) < 2**53
        return str(int(number)) if is_whole else repr(number)
    raise TypeError(f"{value!r} is neither a path nor a number")


def takes(known: Any) -> Callable[[F], F]:
    """Shows the options of a function in its signature, and so in its help."""

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        shown = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if getattr(kind, "__forward_arg__", "").startswith("bool") else None,
                annotation=getattr(kind, "__forward_arg__", kind),
            )
            for name, kind in known.__annotations__.items()
        ]
        function.__signature__ = own.replace(parameters=[*shown, *keywords])  # type: ignore[attr-defined]
        return function

    return decorate
