"""The last known provisioning in the state directory."""

from __future__ import annotations

from pathlib import Path

from gateway.map_snapshot import Snapshot, decode, encode
from runtime.state_file import StateFile

FILE_NAME = "gateway-map.json"
LOCK_NAME = "gateway-map.lock"


class MapFile(StateFile[Snapshot]):
    """The file in a directory. Methods block."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE_NAME, LOCK_NAME, "provisioning", encode, decode)
