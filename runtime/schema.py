"""Schemas of configuration: frozen dataclasses, and how a TOML value becomes the type of a field."""

from __future__ import annotations

import dataclasses
import enum
import os
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, NamedTuple

_METADATA = "vrfwire"
_REQUIRED = dataclasses.MISSING


class _Option(NamedTuple):
    key: str
    parse: Callable[[Any], Any] | None
    check: Callable[[Any], Any] | None
    expects: str
    help: str
    secret: bool


def option(
    default: Any = _REQUIRED,
    *,
    key: str = "",
    parse: Callable[[Any], Any] | None = None,
    check: Callable[[Any], Any] | None = None,
    expects: str = "",
    help: str = "",
    secret: bool = False,
) -> Any:
    """A field of a schema.

    default: without one the key is required. key: name in the file where the field's own can't be used ("import").
    parse: makes the value from what TOML has, in place of the field's type (element by element for a tuple); check:
    looks at the value (of a tuple: at the whole of it) and returns it, or a better form of it. Both raise ValueError
    with a text for the operator. expects: "a port number", for the message when the TOML type is wrong.
    help: one line for the documentation. secret: the value is shown neither in errors nor by `config show`.
    """
    metadata = {_METADATA: _Option(key, parse, check, expects, help, secret)}
    if isinstance(default, list | dict | set):
        raise TypeError("a default must not be mutable; use a tuple")
    return dataclasses.field(default=default, metadata=metadata)


def between(low: int, high: int) -> Callable[[int], int]:
    """A check: a number from low to high, both included."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return check


def positive(value: float) -> float:
    """A check: more than 0."""
    if not value > 0:
        raise ValueError("must be more than 0")
    return value


def one_of(*names: str) -> Callable[[str], str]:
    """A check: one of names; with tuple[str, ...], give it as parse."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    return check


class Shape(enum.Enum):
    """What a field is in the file."""

    VALUE = enum.auto()
    TABLE = enum.auto()
    TABLES = enum.auto()
    """[[key]]"""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One key of a table. inner: the type of a value, or the dataclass of a table or of each table of an array."""

    name: str
    key: str
    shape: Shape
    inner: Any
    default: Any
    """The default, or MISSING."""
    option: _Option

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED and self.shape is Shape.VALUE


def fields(schema: type) -> tuple[Field, ...]:
    """The keys of a schema, in the order they are written."""
    return _fields(schema)


@cache
def _fields(schema: type) -> tuple[Field, ...]:
    hints = typing.get_type_hints(schema)
    result = []
    for item in dataclasses.fields(schema):
        given: _Option = item.metadata.get(_METADATA, _Option("", None, None, "", "", False))
        hint = hints[item.name]
        default = item.default
        if default is _REQUIRED and item.default_factory is not _REQUIRED:
            default = item.default_factory()
        arguments = typing.get_args(hint)
        shape, inner = Shape.VALUE, hint
        if given.parse is not None:
            # A value of the file, whatever is made of it.
            pass
        elif dataclasses.is_dataclass(hint):
            shape = Shape.TABLE
        elif _is_optional(hint) and any(dataclasses.is_dataclass(member) for member in arguments):
            shape, inner = Shape.TABLE, next(member for member in arguments if dataclasses.is_dataclass(member))
        elif typing.get_origin(hint) is tuple and dataclasses.is_dataclass(arguments[0]):
            shape, inner = Shape.TABLES, arguments[0]
        result.append(Field(item.name, given.key or item.name, shape, inner, default, given))
    return tuple(result)


def describe(schema: type, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Every value of a schema with its dotted name; an array of tables is written "gateway[]"."""
    for item in fields(schema):
        name = f"{prefix}{item.key}"
        if item.shape is Shape.TABLE:
            yield from describe(item.inner, f"{name}.")
        elif item.shape is Shape.TABLES:
            yield from describe(item.inner, f"{name}[].")
        else:
            yield name, item


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


# -- values


def convert(item: Field, raw: Any, base: Path) -> Any:
    """The value of a field from what TOML has. base: directory that a relative path starts from.

    Raises ValueError with a text: "must be ...".
    """
    sequence = typing.get_origin(item.inner) in (tuple, list)
    if item.option.parse is None:
        value = _convert(item.inner, raw, base, item.option.expects)
    elif sequence:
        if not isinstance(raw, list):
            raise ValueError(f"must be {item.option.expects or 'a list'}")
        value = typing.get_origin(item.inner)(_parse(item, element) for element in raw)
    else:
        value = _parse(item, raw)
    return value if item.option.check is None else item.option.check(value)


def _parse(item: Field, raw: Any) -> Any:
    assert item.option.parse is not None
    try:
        return item.option.parse(raw)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"must be {item.option.expects or 'a text'}") from error


def _convert(hint: Any, raw: Any, base: Path, expects: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        for member in members[:-1]:
            try:
                return _convert(member, raw, base, expects)
            except ValueError:
                continue
        try:
            return _convert(members[-1], raw, base, expects)
        except ValueError:
            raise ValueError(f"must be {expects or expected(hint)}") from None
    if origin in (tuple, list):
        inner = typing.get_args(hint)[0]
        if not isinstance(raw, list):
            raise ValueError(f"must be {expects or expected(hint)}")
        try:
            return origin(_convert(inner, element, base, "") for element in raw)
        except ValueError:
            raise ValueError(f"must be {expects or expected(hint)}") from None
    try:
        return _scalar(hint, raw, base)
    except (TypeError, ValueError):
        raise ValueError(f"must be {expects or expected(hint)}") from None


def _scalar(hint: Any, raw: Any, base: Path) -> Any:
    if hint is bool or hint is int:
        if type(raw) is hint:
            return raw
        raise TypeError
    if hint is float:
        if type(raw) in (int, float):
            return float(raw)
        raise TypeError
    if not isinstance(raw, str):
        raise TypeError
    if hint is Path:
        return _path(raw, base)
    return hint(raw)  # str, IPv4Address, IPv6Address, StrEnum


CREDENTIAL = "credential:"
"""A path "credential:NAME" is the file NAME of the systemd credentials directory (LoadCredential=)."""


def _path(raw: str, base: Path) -> Path:
    if not raw or "\0" in raw or "\n" in raw:
        raise ValueError
    if raw.startswith(CREDENTIAL):
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials")) / raw.removeprefix(CREDENTIAL)
    return base / raw


def from_text(item: Field, text: str) -> Any:
    """What TOML would have for a text of the environment: numbers, true/false, lists separated by commas."""
    hint: Any = item.inner
    if _is_optional(hint):
        hint = next(member for member in typing.get_args(hint) if member is not type(None))
    if typing.get_origin(hint) in (tuple, list):
        inner = typing.get_args(hint)[0]
        return [_text_scalar(inner, part.strip()) for part in text.split(",") if part.strip()]
    return _text_scalar(hint, text)


def _text_scalar(hint: Any, text: str) -> Any:
    if hint is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return text


def expected(hint: Any) -> str:
    """A type in words."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if set(members) == {IPv4Address, IPv6Address}:
            return "an IP address in quotes"
        return " or ".join(expected(member) for member in members)
    if origin in (tuple, list):
        return f"a list, each {expected(typing.get_args(hint)[0])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(f'"{member.value}"' for member in hint)
    words = {
        str: "a text in quotes",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        Path: "a path in quotes",
        IPv4Address: "an IPv4 address in quotes",
        IPv6Address: "an IPv6 address in quotes",
    }
    return words.get(hint, str(hint))


def plain(value: Any) -> object:
    """A value as JSON has it."""
    if type(value) in (list, tuple):  # not a NamedTuple: that is one value, with a text form of its own
        return [plain(element) for element in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value.value if isinstance(value, enum.Enum) else value
    return str(value)
