"""What a daemon does with the credentials of its server while it runs, whichever protocol it serves."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from runtime.credentials import Changes, ServerCredentials, TlsFiles

C = TypeVar("C")


class ServedCertificates(ABC, Generic[C]):
    """Keeps a server at what the files of a configuration (C) say. files: those that one names."""

    def __init__(self, credentials: ServerCredentials, files: Callable[[C], TlsFiles]) -> None:
        self.credentials = credentials
        self._files = files

    @abstractmethod
    def use(self, context: ssl.SSLContext) -> None:
        """Serve connections by this from now on."""

    @abstractmethod
    def end_revoked(self) -> list[str]:
        """End what certificates have that are believed no longer; whom that concerns."""

    def poll(self) -> None:
        """Look whether files have changed."""
        self._apply(self.credentials.poll())

    def prepare(self, config: C) -> ssl.SSLContext:
        """TLS of another configuration. Raises OperatorError when its files, but for a list, can't be used."""
        return self.credentials.prepare(self._files(config))

    def replace(self, config: C, context: ssl.SSLContext) -> None:
        """Use another configuration, with what prepare() made of it."""
        self.credentials.replace(self._files(config), context)
        self._apply(Changes(True, True))

    def reload(self) -> dict[str, object]:
        """tls.reload: use the files as they are now; what that did."""
        ended = self._apply(self.credentials.read_again())
        return {**self.credentials.document(), "ended": ended}

    def _apply(self, changes: Changes) -> list[str]:
        if changes.context:
            self.use(self.credentials.context)
        return self.end_revoked() if changes.revoked else []
