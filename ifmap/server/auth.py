"""Who a client is: by HTTP basic authentication or by its certificate.

A password is checked by scrypt in a thread, once; what was found right is remembered by a keyed digest of the
Authorization field, so that further requests cost a digest. Unknown users take as long as known ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from ifmap.server.config import ClientSection
from ifmap.server.failures import Failures
from ifmap.server.http import Credentials, read_credentials
from ifmap.server.passwords import BLOCK, LOG_N, PARALLEL, PasswordHash
from runtime.log import fields

log = logging.getLogger("vrfwire.map.auth")

THREADS = 2
"""Passwords checked at a time: each takes 0.1 s of a core."""
MAX_WAITING = 1_000
"""Passwords that wait to be checked; more are answered with 503."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Who there is. passwords: hashes by client; certificates: client by common name."""

    names: frozenset[str] = frozenset()
    passwords: Mapping[str, PasswordHash] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, sections: Iterable[ClientSection]) -> Clients:
        """The clients of a configuration. Raises OperatorError for a hash that can't be read."""
        sections = tuple(sections)
        hashes = {section.name: section.hash() for section in sections}
        return cls(
            frozenset(hashes),
            {name: found for name, found in hashes.items() if found is not None},
            {section.common_name: section.name for section in sections if section.common_name is not None},
        )


class Verdict(NamedTuple):
    """What became of credentials. client: None when refused, by this HTTP status and text; delay: seconds that the
    answer should wait."""

    client: str | None
    status: int = 200
    text: str = ""
    delay: float = 0.0


class Authenticator:
    """Checks credentials against the clients. Use it within one event loop."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, str] = {}
        self._running: dict[bytes, asyncio.Task[Verdict]] = {}
        self._failures = Failures()
        self._turn = asyncio.Semaphore(THREADS)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self.refused = 0
        """Wrong credentials so far."""

    @property
    def clients(self) -> Clients:
        """Who there is."""
        return self._clients

    def replace(self, clients: Clients) -> None:
        """Other clients from now on; nobody is known any more."""
        self._clients = clients
        self._known.clear()
        self._running.clear()

    def close(self) -> None:
        """End the threads."""
        for task in tuple(self._running.values()):
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def certified(self, common_name: str | None) -> str | None:
        """The client whose certificate this is; None: nobody's."""
        return None if common_name is None else self._clients.certificates.get(common_name)

    def known(self, authorization: bytes) -> str | None:
        """The client that these credentials were found right for before."""
        return self._known.get(self._digest(authorization))

    async def verify(self, authorization: bytes, address: str) -> Verdict:
        """Look at credentials that aren't known. address: where they came from."""
        credentials = read_credentials(authorization)
        if credentials is None:
            return Verdict(None, 401, "the Authorization field holds no HTTP basic credentials")
        digest = self._digest(authorization)
        task = self._running.get(digest)
        if task is None:
            if len(self._running) >= MAX_WAITING:
                return Verdict(None, 503, "too many passwords to check at a time; try again")
            task = asyncio.get_running_loop().create_task(self._check(digest, credentials, address))
            self._running[digest] = task
            task.add_done_callback(lambda done: self._checked(digest, done))
        # Two connections of a client often come at once: one check is enough, and neither may cancel it for the other.
        return await asyncio.shield(task)

    def _checked(self, digest: bytes, task: asyncio.Task[Verdict]) -> None:
        if self._running.get(digest) is not task:
            return  # of clients that were replaced meanwhile
        del self._running[digest]
        if not task.cancelled() and task.exception() is None and (client := task.result().client) is not None:
            # One entry a client: its password before the last one is of no use any more.
            self._known = {other: name for other, name in self._known.items() if name != client}
            self._known[digest] = client

    async def _check(self, digest: bytes, credentials: Credentials, address: str) -> Verdict:
        loop = asyncio.get_running_loop()
        async with self._turn:
            # Looked at when its turn comes: others of the same address may have failed meanwhile.
            if self._failures.blocked(address, loop.time()):
                return Verdict(None, 401, "too many wrong passwords came from this address; wait a minute")
            stored = self._clients.passwords.get(credentials.user)
            compared = stored if stored is not None else self._nobody()
            right = await loop.run_in_executor(self._threads, compared.verify, credentials.password)
        if right and stored is not None and self._clients.passwords.get(credentials.user) == stored:
            return Verdict(credentials.user)
        self.refused += 1
        delay = self._failures.failed(address, loop.time())
        log.warning("wrong user or password from %s", address, extra=fields(peer=address))
        if self._failures.blocked(address, loop.time()):
            log.warning("passwords from %s are not looked at for a while", address, extra=fields(peer=address))
        return Verdict(None, 401, "wrong user or password", delay)

    def _nobody(self) -> PasswordHash:
        """What the password of an unknown user is compared with: a hash of nothing, as dear as others here."""
        pattern = next(iter(self._clients.passwords.values()), None)
        costs = (LOG_N, BLOCK, PARALLEL) if pattern is None else (pattern.log_n, pattern.block, pattern.parallel)
        return PasswordHash(*costs, salt=secrets.token_bytes(16), hash=secrets.token_bytes(32))

    def _digest(self, authorization: bytes) -> bytes:
        return hashlib.blake2b(authorization, key=self._key, digest_size=16).digest()
