"""Addresses of MAP servers, and which of them to try when: fail-over list and back-off. No I/O, no clock.

A list is tried in order, the server of the last good session first. As long as one of a round is untried, a failure
leads to the next at once; after a whole round, and after every session that ended early, there is a wait that grows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from runtime.backoff import Backoff

DEFAULT_PORT = 8443
"""Port of a URL without one: the convention of the reference server, not of HTTPS."""

STEADY = 60.0
"""Seconds after which the end of a session was no accident: the next is tried with the shortest wait, and there."""


_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
"""Of a host, and IPv4 addresses."""


class EndpointError(ValueError):
    """A URL is none of a MAP server; the message says why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a MAP server is.

    host: a name or an address, without brackets; also what its certificate must be for. path: at least "/"; it has no
    meaning in IF-MAP, but may have for a proxy before the server.
    """

    host: str
    port: int = DEFAULT_PORT
    path: str = "/"

    @staticmethod
    def parse(url: str) -> Endpoint:
        """Read https://HOST[:PORT][/PATH]. Raises EndpointError."""
        if any(not "!" <= character <= "~" for character in url):
            # urlsplit() would drop some of them.
            raise EndpointError(f"{url!r} has characters that a URL can't have")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise EndpointError(f"{url!r} is no URL: {error}") from None
        if parts.scheme != "https":
            raise EndpointError(f"{url!r} doesn't begin with https://")
        if parts.username is not None or parts.password is not None:
            # It would be shown wherever the URL is.
            raise EndpointError("a URL must not hold user and password")
        if not host or port == 0:
            raise EndpointError(f"{url!r} has no {'port' if host else 'host'}")
        if parts.fragment:
            raise EndpointError(f"{url!r} has a fragment")
        path = parts.path or "/"
        if parts.query:
            path = f"{path}?{parts.query}"
        if not (_NAME.fullmatch(host) or _is_address(host)):
            raise EndpointError(f"{host!r} is neither a name nor an address")
        return Endpoint(host, port or DEFAULT_PORT, path)

    @property
    def authority(self) -> str:
        """HOST:PORT as in a URL and in a Host header."""
        return f"[{self.host}]:{self.port}" if _is_address(self.host) else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"https://{self.authority}{self.path}"


def _is_address(host: str) -> bool:
    """Whether it is an IPv6 address; a scope isn't known elsewhere, nor to a certificate."""
    try:
        return IPv6Address(host).scope_id is None
    except ValueError:
        return False


class Failover:
    """Which server of a list is next, and after what wait.

    The caller tries `current`, then reports by unreachable() or lost(), and waits as long as they say.
    """

    def __init__(self, endpoints: tuple[Endpoint, ...], backoff: Backoff) -> None:
        if not endpoints:
            raise ValueError("there is no server")
        self._endpoints = endpoints
        self._backoff = backoff
        self._round = list(endpoints)
        """What is untried in this round; the first is the current one."""

    @property
    def current(self) -> Endpoint:
        """The server to try."""
        return self._round[0]

    def unreachable(self) -> float | None:
        """There was no session with the current one: seconds until the next try, None for at once."""
        del self._round[0]
        if self._round:
            return None
        self._round = list(self._endpoints)
        return self._backoff.next()

    def lost(self, lasted: float) -> float:
        """A session with the current one is over that lasted so many seconds: seconds until the next try.

        Early ends make the waits grow: the server may take logins and then fail, or another program with the same
        user may be as eager as we are.
        """
        at = self._endpoints.index(self._round[0])
        if lasted >= STEADY:
            self._backoff.reset()
            self._round = [self._endpoints[at], *self._endpoints[:at], *self._endpoints[at + 1 :]]
        else:
            self._round = [*self._endpoints[at + 1 :], *self._endpoints[: at + 1]]
        return self._backoff.next()
