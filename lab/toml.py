"""Writing TOML: tables, arrays of tables, texts, numbers, booleans and lists of them, which is all that is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping


def dumps(document: Mapping[str, object]) -> str:
    """A document of tables (dict), arrays of tables (list of dict) and plain values. Raises TypeError for others."""
    return "\n".join(_table(document, "")) + "\n"


def _table(table: Mapping[str, object], prefix: str) -> Iterator[str]:
    """Plain values first: those after a sub-table's header would belong to it."""
    for key, value in table.items():
        if not _is_table(value):
            yield f"{key} = {_value(value)}"
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield f"[{name}]"
            yield from _table(value, f"{name}.")
        elif isinstance(value, list) and _is_table(value):
            for element in value:
                yield f"[[{name}]]"
                yield from _table(element, f"{name}.")


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(element) for element in value) + "]"
    raise TypeError(f"{value!r} can't be written as TOML")
