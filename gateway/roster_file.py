"""The record of hosts in the state directory. Without it peers may lose routes at a restart; it never fails a start."""

from __future__ import annotations

from pathlib import Path

from gateway.roster import decode, encode
from runtime.state_file import StateFile

FILE_NAME = "gateway-hosts.json"
LOCK_NAME = "gateway.lock"


class RosterFile(StateFile[dict[str, int]]):
    """The record in a directory: number of items by host. Methods block."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE_NAME, LOCK_NAME, "record of hosts", encode, decode)
