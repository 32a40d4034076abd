"""One host's session behind an XMPP server: what it was sent and hasn't confirmed, and whether it is alive; no I/O.

A host that stops reading shows nowhere on a component's stream: its server would keep everything for it. So a host is
asked now and then (XEP-0199), behind what it was sent. Its answer says that it has read that far, and until it comes no
more than WINDOW bytes of events are on their way; what changes meanwhile goes out as the newest state only.
"""

from __future__ import annotations

from gateway.session import Session
from xmpp.jid import Jid
from xmpp.liveness import Liveness, Verdict
from xmpp.stanza import ping

WINDOW = 512 * 1024
"""Bytes of events that one host may have outstanding."""
_ASK_AFTER = WINDOW // 2
ASK_ID = "vw-ask-"
"""How the ids of our questions begin."""


class Guest:
    """session: of the service; announced: whether it was begun by presence, so that its end is told, too."""

    __slots__ = (
        *("_asked", "_asked_at", "_asks", "_covered", "_domain", "_liveness"),
        *("announced", "outstanding", "session"),
    )

    def __init__(self, session: Session, domain: Jid, hold_time: float, now: float, *, announced: bool) -> None:
        self.session = session
        self.announced = announced
        self.outstanding = 0
        """Bytes of events sent that no answer covers."""
        self._domain = domain
        self._liveness = Liveness(hold_time, now)
        self._asks = 0
        self._asked = ""
        self._asked_at = 0.0
        self._covered = 0

    @property
    def held(self) -> bool:
        """Whether it must confirm something before it is sent more."""
        return self.outstanding >= WINDOW

    def heard(self, now: float) -> None:
        """A stanza came from it."""
        self._liveness.heard(now)

    def sent(self, size: int, now: float) -> bytes:
        """It is being sent events of this size; what is to be sent behind them."""
        self.outstanding += size
        return self._ask_if_due(now)

    def answered(self, identifier: str, now: float) -> bytes | None:
        """It has answered a question of ours: what is to be sent now; None when this is no answer to the last one."""
        if not self._asked or identifier != self._asked:
            return None
        self._asked = ""
        self.outstanding -= self._covered
        return self._ask_if_due(now)

    def judge(self, now: float) -> tuple[Verdict, bytes]:
        """What is due by the clock, and a question to send."""
        verdict = self._liveness.judge(now)
        if self._asked and self._liveness.timer() is not None and now - self._asked_at >= self._liveness.hold_time:
            # It may send as much as it likes: what it was sent isn't read.
            verdict = Verdict.DEAD
        if verdict is Verdict.PING and not self._asked:
            return verdict, self._ask(now)
        return verdict, b""

    def _ask_if_due(self, now: float) -> bytes:
        return self._ask(now) if self.outstanding >= _ASK_AFTER and not self._asked else b""

    def _ask(self, now: float) -> bytes:
        self._asks += 1
        self._asked = f"{ASK_ID}{self.session.number}-{self._asks}"
        self._asked_at, self._covered = now, self.outstanding
        return ping(self._asked, self._domain, self.session.jid)
