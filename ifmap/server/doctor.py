"""Doctor of a MAP server: what it is, by its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ifmap.server.config import MapConfig
from runtime.doctor_daemon import Subject

_SQLITE = "sqlite:///"


def subject(config: MapConfig, check: Callable[[MapConfig], None]) -> Subject:
    """What is to be looked at. check: what `--check` does."""
    tls, store = config.tls, config.store
    secrets: dict[str, Path | None] = {"tls.key": tls.key, "store.url_file": store.url_file}
    secrets.update({f"password of client {client.name}": client.password_hash_file for client in config.client})
    state = None
    if store.url_file is None and store.url.startswith(_SQLITE):
        state = Path(store.url.removeprefix(_SQLITE)).parent
    return Subject(lambda: check(config), [(tls.certificate, False), (tls.ca, True)], secrets, state, config.map.listen)
