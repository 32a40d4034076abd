"""When the certificates in files expire; the files are read again when they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from runtime.certificates import (
    AUTHORITY_HINT,
    Certificate,
    CertificateError,
    Trouble,
    expiry_of_authorities,
    expiry_of_chain,
    expiry_trouble,
    read_pem,
    renewal_hint,
)
from runtime.file_watch import FileWatch


class Expiries:
    """Of certificates with their chain (own), and of files of authorities. None and files that can't be read are left
    out: who needs them says what is wrong. wall: Unix time, seconds. Methods block for a look at each file."""

    def __init__(
        self,
        own: Iterable[Path | None],
        authorities: Iterable[Path | None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._own = dict.fromkeys(path for path in own if path is not None)
        self._authorities = dict.fromkeys(path for path in authorities if path is not None)
        self._wall = wall
        self._watch = FileWatch((*self._own, *self._authorities))
        self._read()

    def certificate(self, path: Path) -> Certificate | None:
        """The first one in a file."""
        self._look()
        found = self._known.get(path)
        return found[0] if found else None

    def times(self) -> dict[Path, float]:
        """When each file expires, Unix time."""
        self._look()
        return {
            path: (expiry_of_chain if path in self._own else expiry_of_authorities)(found)
            for path, found in self._known.items()
        }

    def troubles(self) -> list[Trouble]:
        """What has expired, or soon will."""
        now, found = self._wall(), []
        for path, expires in self.times().items():
            own = path in self._own
            what = f"certificate {path}" if own else f"authority {path}"
            hint = renewal_hint(self._known[path][0].name) if own else AUTHORITY_HINT
            trouble = expiry_trouble(what, expires, now, hint)
            found += [trouble] if trouble is not None else []
        return found

    def _look(self) -> None:
        if self._watch.changed():
            self._read()

    def _read(self) -> None:
        self._known: dict[Path, tuple[Certificate, ...]] = {}
        for path in (*self._own, *self._authorities):
            try:
                self._known[path] = read_pem(path.read_bytes())
            except (OSError, CertificateError):
                continue
