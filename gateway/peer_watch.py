"""Looks after peers that are down: what the kernel's counters of TCP-MD5 say about it, and what operators are told.

A wrong key makes no error anywhere: the kernel of the receiver drops the segment and counts it, and the sender waits
for an answer until it gives up. The counters are of the whole machine, so what is said of a peer is said with care.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from gateway.peer_advice import advice
from gateway.peer_runtime import PeerRuntime
from gateway.peer_socket import Md5Counters, md5_counters
from gateway.peer_status import last_error
from gateway.status import Problem
from runtime.log import fields

log = logging.getLogger("vrfwire.gateway.bgp")

INTERVAL = 2.0
"""Seconds between readings of the counters."""
DOWN_LONG = 60.0
"""Seconds after which a peer that is down is a problem."""
NO_ANSWER = (
    "no answer to attempts to connect: the peer is not there, or has another password than password_file "
    "(a refusal isn't heard either, as it isn't signed)"
)
"""Where the kernel has dropped nothing."""


def md5_problem(new: Md5Counters, *, has_password: bool, timed_out: bool) -> str:
    """What the kernel's counters say about a peer that is down. new: segments dropped of late."""
    if has_password and new.failure:
        return (
            f"the kernel drops segments signed with another TCP-MD5 key (TCPMD5Failure +{new.failure}): "
            "password_file is probably not the peer's password"
        )
    if has_password and new.not_found:
        return (
            f"the kernel drops segments without the TCP-MD5 signature that password_file demands "
            f"(TCPMD5NotFound +{new.not_found}): the peer probably has no password for this gateway"
        )
    if not has_password and new.unexpected:
        return (
            f"the kernel drops segments with a TCP-MD5 signature that none is configured for "
            f"(TCPMD5Unexpected +{new.unexpected}): the peer probably has a password, set password_file"
        )
    return NO_ANSWER if has_password and timed_out else ""


class Watch:
    """Over the peers of a speaker."""

    def __init__(self, peers: Mapping[str, PeerRuntime], read: Callable[[], Md5Counters] = md5_counters) -> None:
        self._peers = peers
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._last = Md5Counters()

    def start(self) -> None:
        """Begin."""
        self.stop()
        self._last = self._read()
        self._handle = self._loop.call_later(INTERVAL, self._look)

    def stop(self) -> None:
        """End."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = self._loop.call_later(INTERVAL, self._look)
        now = self._read()
        new = now.since(self._last)
        if min(new) < 0:
            # Couldn't be read: the kernel's counters only grow.
            return
        self._last = now
        for peer in self._peers.values():
            if peer.session.connections or not peer.session.enabled:
                continue
            has_password = bool(peer.settings.link.password)
            if not has_password and not (peer.timed_out or peer.session.config.passive):
                # It answers, or refuses: it demands no signature, and what the kernel drops is another's.
                continue
            problem = md5_problem(new, has_password=has_password, timed_out=peer.timed_out)
            # Segments come now and then: what was found holds until there is a session, or something else is found.
            if problem == NO_ANSWER and peer.unreachable:
                continue
            if problem and _kind(problem) != _kind(peer.unreachable):
                peer.unreachable = problem
                log.warning("peer %s: %s", peer.name, problem, extra=fields(peer=peer.name))

    def problems(self) -> list[Problem]:
        """Peers that are down for long, or that something is known about."""
        return [
            self._describe(peer)
            for _, peer in sorted(self._peers.items())
            if peer.problem or (not peer.is_up and self._loop.time() - peer.changed_at >= DOWN_LONG)
        ]

    @staticmethod
    def _describe(peer: PeerRuntime) -> Problem:
        why = peer.problem or last_error(peer.session) or "the session is not up"
        return Problem(f"BGP peer {peer.name}", why, advice(peer.session, peer.problem))


def _kind(problem: str) -> str:
    """A problem without its numbers."""
    return problem.partition("+")[0]
