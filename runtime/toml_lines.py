"""On which line each key of a TOML document stands; tomllib doesn't tell.

Works on text that tomllib has accepted, so it looks at structure alone and doesn't check anything.
"""

from __future__ import annotations

import tomllib

Location = tuple[str | int, ...]
"""Where a value is: keys, and indices of arrays: ("gateway", 0, "address")."""

_SPACE = " \t\r\n"
_BARE_END = " \t\r\n=.,]}#"


def locate(text: str) -> dict[Location, int]:
    """Line (from 1) of every key, table header and element of an array of tables."""
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text + "\n"
        self._at = 0
        self._line = 1
        self._lines: dict[Location, int] = {}
        self._elements: dict[Location, int] = {}
        """Elements so far of each array of tables."""

    def run(self) -> dict[Location, int]:
        table: Location = ()
        while self._skip_blank():
            if self._peek("[["):
                self._advance(2)
                table = self._table(self._keys(), element=True)
                self._end_of_line()
            elif self._peek("["):
                self._advance(1)
                table = self._table(self._keys(), element=False)
                self._end_of_line()
            else:
                self._pair(table)
        return self._lines

    # -- structure

    def _table(self, keys: list[str], element: bool) -> Location:
        """The location a header opens; a step through an array of tables means its last element."""
        location: Location = ()
        for position, key in enumerate(keys):
            location = (*location, key)
            last = position == len(keys) - 1
            if last and element:
                self._lines.setdefault(location, self._line)
                self._elements[location] = self._elements.get(location, -1) + 1
            if location in self._elements:
                location = (*location, self._elements[location])
            if last:
                self._lines[location] = self._line
            else:
                self._lines.setdefault(location, self._line)
        return location

    def _pair(self, table: Location) -> None:
        line = self._line
        location = table
        for key in self._keys():
            location = (*location, key)
            self._lines.setdefault(location, line)
        self._skip_blank()
        self._advance(1)  # =
        self._value(location)

    def _value(self, location: Location) -> None:
        self._skip_blank()
        self._lines.setdefault(location, self._line)
        if self._peek("["):
            self._advance(1)
            index = 0
            while self._more("]"):
                self._value((*location, index))
                index += 1
        elif self._peek("{"):
            self._advance(1)
            while self._more("}"):
                self._pair(location)
        elif self._peek('"') or self._peek("'"):
            self._string()
        else:
            # Numbers, booleans, dates (which may hold one space: the rest of one is skipped as a value of its own).
            while self._text[self._at] not in ",]}#\n":
                self._advance(1)

    def _more(self, close: str) -> bool:
        """Whether another element follows; steps over commas and over the closing bracket."""
        self._skip_blank()
        while self._peek(","):
            self._advance(1)
            self._skip_blank()
        if self._peek(close):
            self._advance(1)
            return False
        return True

    # -- tokens

    def _keys(self) -> list[str]:
        """A dotted key."""
        keys = []
        while True:
            self._skip_blank()
            start = self._at
            if self._peek('"') or self._peek("'"):
                self._string()
                keys.append(str(tomllib.loads(f"k = {self._text[start : self._at]}")["k"]))
            else:
                while self._text[self._at] not in _BARE_END:
                    self._advance(1)
                keys.append(self._text[start : self._at])
            while self._text[self._at] in " \t":
                self._advance(1)
            if not self._peek("."):
                return keys
            self._advance(1)

    def _string(self) -> None:
        quote = self._text[self._at]
        if self._peek(quote * 3):
            self._advance(3)
            while not self._peek(quote * 3):
                self._advance(2 if quote == '"' and self._peek("\\") else 1)
            self._advance(3)
            while self._peek(quote):  # the string's last characters may be quotes themselves
                self._advance(1)
            return
        self._advance(1)
        while not self._peek(quote):
            self._advance(2 if quote == '"' and self._peek("\\") else 1)
        self._advance(1)

    def _skip_blank(self) -> bool:
        """Over white space and comments; False at the end."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                self._end_of_line()
            elif self._text[self._at] in _SPACE:
                self._advance(1)
            else:
                return True
        return False

    def _end_of_line(self) -> None:
        self._advance(max(self._text.index("\n", self._at) - self._at, 0))

    def _peek(self, token: str) -> bool:
        return self._text.startswith(token, self._at)

    def _advance(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count
