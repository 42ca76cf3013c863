"""What every report can do."""

from __future__ import annotations

import dataclasses
import functools
import html
import importlib
import math
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ._errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


def optional(module: str) -> Any:
    """A module that swa-tools does without; None if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


class Object:
    """A part of a report: a dataclass, whose fields are those of the JSON."""

    @classmethod
    def of(cls, o: Mapping[str, Any]) -> Self:
        """Of the JSON that the command prints."""
        known: Any = cls
        values = {}
        for name, key, kind, may_be_none in _fields(known):
            # What may be null may be absent.
            values[name] = _value(kind, o.get(key) if may_be_none else o[key])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and those of the objects in them, as plain dictionaries, lists and values."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {field.name: _plain(getattr(self, field.name)) for field in fields}


class Report(Object):
    """What a command reports."""

    #: The field with the list that people look at.
    main_table: ClassVar[str] = ""

    def to_pandas(self, table: str | None = None) -> Any:
        """A list of objects as a ``pandas.DataFrame``, a row each: the main one, or that of the field ``table``."""
        pandas = optional("pandas")
        if pandas is None:
            raise UsageError("pandas is not installed", remedy="pip install pandas")
        rows = self._rows(table if table is not None else self.main_table)
        return pandas.DataFrame([row.to_dict() for row in rows])

    def _rows(self, table: str) -> tuple[Object, ...]:
        rows = getattr(self, table, None)
        if not isinstance(rows, tuple) or not all(isinstance(row, Object) for row in rows):
            names = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
            tables = [name for name in names if _is_table(getattr(self, name))]
            raise UsageError(f"{table!r} is no table of this report", remedy=f"one of {tables}")
        return rows

    def _repr_html_(self) -> str:
        """For notebooks: the fields, and their tables."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        values = {field.name: getattr(self, field.name) for field in fields}
        plain = {k: v for k, v in values.items() if v is not None and not _is_table(v) and v != ()}
        tables = [_html(plain.items(), None)]
        for name, value in values.items():
            if value and _is_table(value):
                rows = [row.to_dict() for row in value]
                # A column that no row has a value of says nothing.
                columns = [c for c in rows[0] if any(row[c] not in (None, [], {}) for row in rows)]
                cells = [[row[column] for column in columns] for row in rows]
                tables.append(f"<p>{html.escape(name)}</p>" + _html(cells, columns))
        return f"<b>{type(self).__name__}</b>" + "".join(tables)


class Loads:
    """A report of a file with weights."""

    output: str

    def load(self) -> dict[str, Any]:
        """The tensors of the output by name: PyTorch's where torch is installed, else NumPy's."""
        from ._state_dicts import load

        return load(Path(self.output))


@functools.cache
def _fields(of: Any) -> list[tuple[str, str, Any, bool]]:
    """The fields of a dataclass: names, keys in JSON (`with_` for `with`), types, whether it may be None."""
    kinds = typing.get_type_hints(of)
    names = [field.name for field in dataclasses.fields(of)]
    return [(n, n.rstrip("_"), kinds[n], kinds[n] is Any or _may_be_none(kinds[n])) for n in names]


def _may_be_none(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)


def _value(kind: Any, value: Any) -> Any:
    """A value of JSON as a field has it."""
    if value is None:
        # JSON has no number that is not finite: the commands print null for it.
        return math.nan if kind is float else None
    if _may_be_none(kind):
        return _value(typing.get_args(kind)[0], value)
    of = typing.get_origin(kind)
    if of is tuple:
        return tuple(_value(typing.get_args(kind)[0], item) for item in value)
    if of is None and isinstance(kind, type) and issubclass(kind, Object):
        return kind.of(value)
    return value


def _is_table(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Object)


def _plain(value: Any) -> Any:
    if isinstance(value, Object):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


#: Rows and characters of a cell that a notebook shows.
_ROWS, _WIDTH = 200, 200


def _html(rows: Iterable[Iterable[Any]], head: list[str] | None) -> str:
    rows = list(rows)
    lines = ["<table>"]
    if head is not None:
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for row in rows[:_ROWS]:
        lines.append("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>")
    lines.append("</tbody></table>")
    if len(rows) > _ROWS:
        lines.append(f"<p>and {len(rows) - _ROWS} more</p>")
    return "".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, Object):
        text = ", ".join(f"{k}: {v}" for k, v in value.to_dict().items())
    elif isinstance(value, (tuple, list)):
        text = ", ".join(_text(item) for item in value)
    else:
        text = str(value)
    return html.escape(text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
