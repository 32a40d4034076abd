"""VPNs that aren't there and that sessions want, so that these can be told when one comes; no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.session import Session


class Awaited:
    """Which sessions wait for which VPN."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[Session, None]] = {}
        self._vpns: dict[Session, set[str]] = {}

    def note(self, session: Session, vpn: str, most: int) -> None:
        """A session wants a VPN that isn't there; forgotten when it waits for `most` others already."""
        vpns = self._vpns.setdefault(session, set())
        if len(vpns) < most:
            vpns.add(vpn)
            self._sessions.setdefault(vpn, {})[session] = None

    def take(self, vpn: str) -> Iterable[Session]:
        """The VPN is there: who has waited for it."""
        sessions = self._sessions.pop(vpn, {})
        for session in sessions:
            self._leave(session, vpn)
        return sessions

    def close(self, session: Session) -> None:
        """A session has ended."""
        for vpn in self._vpns.pop(session, ()):
            sessions = self._sessions[vpn]
            del sessions[session]
            if not sessions:
                del self._sessions[vpn]

    def _leave(self, session: Session, vpn: str) -> None:
        vpns = self._vpns[session]
        vpns.remove(vpn)
        if not vpns:
            del self._vpns[session]
