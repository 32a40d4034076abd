"""The last known provisioning in the state directory: read at the start, replaced as a whole. Methods block."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.map_snapshot import Snapshot, decode, encode
from runtime.errors import OperatorError
from runtime.state_directory import lock_directory, replace_file

FILE_NAME = "gateway-map.json"
LOCK_NAME = "gateway-map.lock"


class MapFile:
    """The file in a directory, which is locked as soon as it can be used, until close()."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._directory = directory
        self._lock: int | None = None

    def read(self) -> Snapshot | None:
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
        return decode(data)

    def write(self, snapshot: Snapshot) -> None:
        """Keep this; returns when it is durable. Raises OperatorError."""
        self._open()
        try:
            replace_file(self.path, encode(snapshot))
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Release the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        if self._lock is None:
            self._lock = lock_directory(self._directory, LOCK_NAME)

    def _failure(self, error: OSError) -> OperatorError:
        hint = "check free space and permissions of [state] directory"
        return OperatorError(f"provisioning {self.path}", error.strerror or str(error), hint)
