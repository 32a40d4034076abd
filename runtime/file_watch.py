"""Notices that files were changed, replaced, made or removed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_Stamp = tuple[int, int, int, int] | None


class FileWatch:
    """Some files, as they are when it is made. Methods block for a look at each of them."""

    def __init__(self, paths: Iterable[Path | None]) -> None:
        self._paths = tuple(path for path in paths if path is not None)
        self._stamps = self._look()

    def changed(self) -> bool:
        """Whether one has changed since the last call. Call it before the files are read: a change that comes while
        they are is noticed the next time."""
        stamps = self._look()
        differ, self._stamps = stamps != self._stamps, stamps
        return differ

    def _look(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> _Stamp:
    """A file that can't be looked at is as good as none: who reads it will say why."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
