"""One value in a file of a state directory: read at the start, replaced as a whole. Methods block."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from runtime.errors import OperatorError
from runtime.state_directory import lock_directory, replace_file

T = TypeVar("T")


class StateFile(Generic[T]):
    """The file, whose directory is locked as soon as it can be used, until close().

    lock: name of the file that the lock is on; what: for messages. decode: raises ValueError for a file that is damaged
    or not ours.
    """

    def __init__(
        self, path: Path, lock: str, what: str, encode: Callable[[T], bytes], decode: Callable[[bytes], T]
    ) -> None:
        self.path = path
        self._lock_name = lock
        self._what = what
        self._encode = encode
        self._decode = decode
        self._lock: int | None = None

    def read(self) -> T | None:
        """What was kept, None when there is nothing.

        Raises OperatorError when the directory can't be used, ValueError when the file is damaged or not ours.
        """
        self._open()
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure(error) from error
        return self._decode(data)

    def write(self, value: T) -> None:
        """Keep this; returns when it is durable. Raises OperatorError."""
        self._open()
        try:
            replace_file(self.path, self._encode(value))
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Release the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        if self._lock is None:
            self._lock = lock_directory(self.path.parent, self._lock_name)

    def _failure(self, error: OSError) -> OperatorError:
        hint = "check free space and permissions of [state] directory"
        return OperatorError(f"{self._what} {self.path}", error.strerror or str(error), hint)
