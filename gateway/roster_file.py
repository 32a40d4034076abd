"""The record of hosts in the state directory. Without it peers may lose routes at a restart; it never fails a start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gateway.roster import decode, encode
from runtime.errors import OperatorError
from runtime.state_directory import lock_directory, replace_file

FILE_NAME = "gateway-hosts.json"
LOCK_NAME = "gateway.lock"


class RosterFile:
    """The record in a directory, which is locked as soon as it can be used, until close(). Methods block."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME
        self._lock: int | None = None

    def read(self) -> dict[str, int] | None:
        """Number of items by host, None when there is no record.

        Raises OperatorError when the directory can't be used, ValueError when the file is damaged or not ours.
        """
        self._open()
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure(error) from error
        return decode(data)

    def write(self, record: Mapping[str, int]) -> None:
        """Replace the record; returns when it is durable. Raises OperatorError."""
        self._open()
        try:
            replace_file(self.path, encode(record))
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Release the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        if self._lock is None:
            self._lock = lock_directory(self.directory, LOCK_NAME)

    def _failure(self, error: OSError) -> OperatorError:
        hint = "check free space and permissions of [state] directory"
        return OperatorError(f"record of hosts {self.path}", error.strerror or str(error), hint)
