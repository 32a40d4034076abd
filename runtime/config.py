"""Configuration: TOML files, environment and flags, checked against a schema of frozen dataclasses.

Sources, later ones win: defaults of the schema, PROGRAM.toml, PROGRAM.toml.d/*.toml in name order, the environment
(VRFWIRE_SECTION_KEY), overrides (flags). Tables are merged; a value replaces the earlier one; arrays of tables
([[gateway]]) grow, so that a drop-in can add one.

A schema is a frozen dataclass whose fields are tables (dataclasses, or X | None for one that may be absent), arrays of
tables (tuple[dataclass, ...]) or values: int, float, bool, str, Path, IPv4Address, IPv6Address, StrEnum, tuples of
those, and X | None. option() gives a field its key where that is a Python keyword, a parser, a check and a description:

    @dataclass(frozen=True, slots=True)
    class Vpn:
        name: str
        imports: tuple[str, ...] = option(key="import", help="route targets to import")

A schema's __post_init__ may raise ValueError for what concerns several keys.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from runtime.errors import ExitCode, OperatorError
from runtime.schema import (
    Field,
    Shape,
    between,
    convert,
    describe,
    expected,
    fields,
    from_text,
    one_of,
    option,
    plain,
    positive,
)
from runtime.toml_lines import Location, locate

__all__ = ["Loaded", "Setting", "between", "describe", "load", "one_of", "option", "positive", "read_secret"]

T = TypeVar("T")

DIRECTORY = Path("/etc/vrfwire")
_PREFIX = "VRFWIRE_"
_MAX_SECRET = 1 << 16


class _Origin(NamedTuple):
    """Where something was set. base: directory that a relative path there starts from."""

    source: str
    line: int | None = None
    base: Path = Path()

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


class _Leaf(NamedTuple):
    raw: Any
    origin: _Origin


@dataclass(slots=True)
class _Table:
    entries: dict[str, _Leaf | _Table | list[_Table]]
    origin: _Origin


class Setting(NamedTuple):
    """One value of the configuration. value: as JSON has it; origin: "FILE:LINE", "default", "environment NAME" ..."""

    key: str
    value: object
    origin: str

    @property
    def is_default(self) -> bool:
        return self.origin == _DEFAULT

    def as_dict(self) -> dict[str, object]:
        return {"key": self.key, "value": self.value, "origin": self.origin}


_DEFAULT = "default"
_HIDDEN = "(hidden)"
_NO_FILE = "no such file"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A configuration that was read. files: those that were there, in order."""

    value: T
    files: tuple[Path, ...]
    _settings: tuple[Setting, ...]
    _tables: Mapping[str, str]

    def origin(self, dotted: str) -> str:
        """Where a key ("tls.ca", "gateway[0].address") or table ("tls", "gateway[0]") was set; "default" if nowhere."""
        for setting in self._settings:
            if setting.key == dotted:
                return setting.origin
        return self._tables.get(dotted, _DEFAULT)

    def effective(self) -> tuple[Setting, ...]:
        """Every value with where it came from, in the order of the schema."""
        return self._settings

    def document(self) -> dict[str, object]:
        """What the control method config.show answers."""
        return {"items": [setting.as_dict() for setting in self._settings], "files": [str(path) for path in self.files]}

    def error(self, dotted: str, why: str, hint: str = "") -> OperatorError:
        """An error about a key, with the place where it was set."""
        origin = self.origin(dotted)
        where = f"configuration {dotted}" if origin == _DEFAULT else origin
        return OperatorError(where, f"{dotted}: {why}", hint)


def load(
    schema: type[T],
    *,
    program: str,
    path: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] | None = None,
) -> Loaded[T]:
    """Read the configuration of a program ("agent", "gateway").

    path: its file, default /etc/vrfwire/PROGRAM.toml, which may be absent (a file that was named may not). overrides:
    values of flags by dotted key, None is ignored. Raises OperatorError with file and line.
    """
    main = DIRECTORY / f"{program}.toml" if path is None else Path(path).absolute()
    found, missing = _files_there(main)
    root = _Table({}, _Origin(f"{main} ({missing})" if missing else str(main)))
    files = []
    for file in found if path is None else dict.fromkeys((main, *found)):
        files.append(file)
        _merge(root, _read(file))
    _merge(root, _from_environment(schema, environ))
    _merge(root, _from_overrides(schema, overrides or {}))
    builder = _Builder()
    value = builder.table(schema, root, "")
    return Loaded(value, tuple(files), tuple(builder.settings), builder.tables)


def read_secret(path: Path) -> str:
    """The secret of a file, without the line end. Raises OperatorError: unreadable, empty, or readable by everybody."""
    what = f"secret {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise OperatorError(what, error.strerror or str(error), "see the *_file keys of the configuration") from error
    if mode & 0o027:
        raise OperatorError(what, f"mode {mode:04o} lets others read or change it", f"chmod 0600 {path}")
    try:
        secret = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise OperatorError(what, "is not UTF-8 text") from None
    if not secret or len(data) > _MAX_SECRET:
        raise OperatorError(what, "is empty" if not secret else f"is longer than {_MAX_SECRET} bytes")
    return secret


# -- sources


def _files_there(main: Path) -> tuple[list[Path], str]:
    """The main file, if there is one, and its drop-ins; "", or why that isn't among them. Raises OperatorError.

    A directory that is closed to the caller counts as an empty one: it is the daemons', and commands that anybody may
    use take their settings from elsewhere.
    """
    missing = ""
    try:
        main.stat()
    except PermissionError:
        return [], "it can't be reached: permission denied"
    except OSError:
        missing = _NO_FILE
    folder = main.with_name(main.name + ".d")
    try:
        drop_ins = sorted(folder.glob("*.toml"))
    except OSError as error:
        raise OperatorError(f"configuration {folder}", error.strerror or str(error)) from error
    return [*([] if missing else [main]), *drop_ins], missing


def _read(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OperatorError(
            f"configuration {path}", "no such file", "docs/configuration.md shows one", ExitCode.NOT_FOUND
        ) from None
    except UnicodeDecodeError as error:
        raise OperatorError(f"{path}:{error.object[: error.start].count(10) + 1}", "not UTF-8 text") from None
    except OSError as error:
        hint = f"whoever runs this must be able to read it: ls -ld {path.parent} {path}"
        raise OperatorError(f"configuration {path}", error.strerror or str(error), hint) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why, line = str(error), text.count("\n") + 1
        if found := re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", why):
            why, line = found[1], int(found[2] or line)
        raise OperatorError(f"{path}:{line}", f"not TOML: {why[0].lower()}{why[1:]}", "texts need quotes") from None
    lines = locate(text)
    return _tree(document, (), lines, _Origin(str(path), None, path.parent.absolute()))


def _tree(table: Mapping[str, Any], at: Location, lines: Mapping[Location, int], file: _Origin) -> _Table:
    entries: dict[str, _Leaf | _Table | list[_Table]] = {}
    for key, value in table.items():
        here = (*at, key)
        if isinstance(value, dict):
            entries[key] = _tree(value, here, lines, file)
        elif isinstance(value, list) and value and all(isinstance(element, dict) for element in value):
            entries[key] = [_tree(element, (*here, index), lines, file) for index, element in enumerate(value)]
        else:
            entries[key] = _Leaf(value, file._replace(line=lines.get(here)))
    return _Table(entries, file._replace(line=lines.get(at)))


def _from_environment(schema: type, environ: Mapping[str, str]) -> _Table:
    names: dict[str, tuple[tuple[str, ...], Field]] = {}
    sections: dict[str, bool] = {}
    for item in fields(schema):
        if item.shape is not Shape.VALUE:
            sections[f"{_PREFIX}{item.key.upper()}_"] = item.shape is Shape.TABLES
    for dotted, item in describe(schema):
        if "[]" not in dotted:
            names[_PREFIX + dotted.replace(".", "_").upper()] = (tuple(dotted.split(".")), item)
    root = _Table({}, _Origin("environment"))
    for name, text in sorted(environ.items()):
        if name in names:
            keys, item = names[name]
            _set(root, keys, _Leaf(from_text(item, text), _Origin(f"environment {name}", None, Path.cwd())))
            continue
        for section, tables in sections.items():
            if not name.startswith(section):
                continue
            key = section.removeprefix(_PREFIX).removesuffix("_").lower()
            if tables:
                raise OperatorError(f"environment {name}", f"[[{key}]] can't be set there", "set it in a file")
            raise OperatorError(f"environment {name}", "unknown key", _nearest(name, names))
    return root


def _from_overrides(schema: type, overrides: Mapping[str, object]) -> _Table:
    known = {dotted for dotted, _ in describe(schema)}
    root = _Table({}, _Origin("command line"))
    for dotted, value in overrides.items():
        if dotted not in known:
            raise KeyError(dotted)
        if value is not None:
            _set(root, tuple(dotted.split(".")), _Leaf(plain(value), _Origin("command line", None, Path.cwd())))
    return root


def _set(root: _Table, keys: tuple[str, ...], leaf: _Leaf) -> None:
    table = root
    for key in keys[:-1]:
        entry = table.entries.setdefault(key, _Table({}, leaf.origin))
        assert isinstance(entry, _Table)
        table = entry
    table.entries[keys[-1]] = leaf


def _merge(into: _Table, other: _Table) -> None:
    for key, entry in other.entries.items():
        mine = into.entries.get(key)
        if isinstance(mine, _Table) and isinstance(entry, _Table):
            _merge(mine, entry)
        elif isinstance(mine, list) and isinstance(entry, list):
            mine.extend(entry)
        else:
            into.entries[key] = entry


# -- checking


def _nearest(name: str, names: Mapping[str, object]) -> str:
    # "password" is a likely slip for "password_file".
    stems = {known.removesuffix("_file"): known for known in names}
    close = difflib.get_close_matches(name, stems, 1, 0.5)
    return f"did you mean {stems[close[0]]}?" if close else "known here: " + ", ".join(names)


class _Builder:
    """Makes the dataclasses, and notes where everything came from."""

    def __init__(self) -> None:
        self.settings: list[Setting] = []
        self.tables: dict[str, str] = {}

    def table(self, schema: type[T], table: _Table, name: str) -> T:
        """One table. name: dotted, "" for the root."""
        self.tables[name] = str(table.origin)
        known = {item.key: item for item in fields(schema)}
        for key in table.entries:
            if key not in known:
                raise OperatorError(
                    _entry_origin(table.entries[key]), f"unknown key {_dotted(name, key)}", _nearest(key, known)
                )
        values = {item.name: self._field(item, table, name) for item in known.values()}
        try:
            return schema(**values)
        except ValueError as error:
            raise OperatorError(str(table.origin), f"{_title(name)}: {error}" if name else str(error)) from None

    def _field(self, item: Field, table: _Table, name: str) -> Any:
        dotted = _dotted(name, item.key)
        entry = table.entries.get(item.key)
        if item.shape is Shape.TABLE:
            return self._subtable(item, entry, table, dotted)
        if item.shape is Shape.TABLES:
            return tuple(self._elements(item, entry, dotted))
        if entry is None:
            if item.required:
                hint = f"set {item.key} in {_title(name)}: {_wants(item)}"
                if table.origin.source.endswith(f"({_NO_FILE})"):
                    hint = "make that file: docs/quickstart.md has an example; or name another one by --config"
                raise OperatorError(str(table.origin), f"{dotted} is missing", hint)
            self.settings.append(Setting(dotted, plain(item.default), _DEFAULT))
            return item.default
        if not isinstance(entry, _Leaf):
            raise OperatorError(_entry_origin(entry), f"{dotted} must be {_wants(item)}, not a table")
        try:
            value = convert(item, entry.raw, entry.origin.base)
        except ValueError as error:
            # Of several lines is what somebody has put in place of a file's path, a key most likely.
            secret = item.option.secret or "\n" in str(entry.raw)
            hint = "" if secret else f"it is {_shown(entry.raw)} now"
            raise OperatorError(str(entry.origin), f"{dotted}: {error}", hint) from None
        self.settings.append(Setting(dotted, _HIDDEN if item.option.secret else plain(value), str(entry.origin)))
        return value

    def _subtable(self, item: Field, entry: Any, table: _Table, dotted: str) -> Any:
        if entry is None:
            if item.default is None:
                return None
            entry = _Table({}, table.origin)
        if not isinstance(entry, _Table):
            raise OperatorError(_entry_origin(entry), f"{dotted} must be a table", f"write [{dotted}]")
        return self.table(item.inner, entry, dotted)

    def _elements(self, item: Field, entry: Any, dotted: str) -> Iterator[Any]:
        if entry is None or (isinstance(entry, _Leaf) and entry.raw == []):
            return
        if not isinstance(entry, list):
            raise OperatorError(_entry_origin(entry), f"{dotted} must be a list of tables", f"write [[{dotted}]]")
        for index, element in enumerate(entry):
            yield self.table(item.inner, element, f"{dotted}[{index}]")


def _dotted(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _title(name: str) -> str:
    if not name:
        return "the file"
    return f"[[{name[: name.rindex('[')]}]]" if name.endswith("]") else f"[{name}]"


def _wants(item: Field) -> str:
    return item.option.expects or expected(item.inner)


def _shown(raw: Any) -> str:
    text = f'"{raw}"' if isinstance(raw, str) else str(raw)
    return text if len(text) <= 80 else text[:77] + "..."


def _entry_origin(entry: _Leaf | _Table | list[_Table]) -> str:
    return str(entry[0].origin if isinstance(entry, list) else entry.origin)
