"""What the gateway shows and does about its BGP peers on the control socket, as documents; no I/O.

    PeerStatus(speaker, service, monotonic, wall)      speaker: None when BGP isn't configured
        peers() -> {"items", "configured", "waiting_for"}    peer.list
        peer(name)                                           peer.show
        refresh(params) -> {"name", "families"}              peer.refresh   {name, family?}
        reset(params) -> {"name", "state"}                   peer.reset     {name, text?, hard?}
        routes(params) -> {"items", "after", "total"}        bgp.routes     {rd?, family?, after?, limit?}
        explain(params), explaining(params)                  route.explain  {prefix, vpn | rd, family?}

All raise OperatorError.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Protocol

from bgp.communities import format_router_id
from bgp.events import SessionDown
from bgp.family import RTC, Family
from bgp.notification import MAX_TEXT
from bgp.rib.peer import Peer
from bgp.rib.rib import Rib
from bgp.rib.values import SourceKind
from bgp.rib.views import FamilyStatus, peer_status
from bgp.session import Session
from gateway.capabilities import compare
from gateway.exchange import Exchange
from gateway.peer_advice import advice
from gateway.peer_config import PeerSection
from gateway.request import SPOKEN, read_family, required_text
from gateway.route_status import RouteStatus, finish
from gateway.service import Service
from gateway.status import Document, timestamp
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import format_address

CONFIGURE = "add a [[bgp.peer]] to gateway.toml, then reload the gateway (SIGHUP)"
PEER_KINDS = {SourceKind.EXTERNAL: "ebgp", SourceKind.CLIENT: "client", SourceKind.INTERNAL: "ibgp"}


class PeerView(Protocol):
    """What is read of a peer (gateway.peer_runtime.PeerRuntime).

    address: packed; problem: "" or what is wrong; since: when the session came up or went down, Unix time.
    """

    @property
    def section(self) -> PeerSection: ...
    @property
    def session(self) -> Session: ...
    @property
    def address(self) -> bytes: ...
    @property
    def problem(self) -> str: ...
    @property
    def since(self) -> float: ...


class SpeakerView(Protocol):
    """What is used of gateway.speaker.Speaker."""

    @property
    def rib(self) -> Rib: ...
    @property
    def peers(self) -> Mapping[str, PeerView]: ...
    @property
    def counters(self) -> Counter[str]: ...
    @property
    def exchange(self) -> Exchange | None: ...

    def waiting_for(self) -> list[str]: ...
    def refresh(self, name: str, families: Iterable[str] | None, /) -> list[str]: ...
    def reset(self, name: str, /, text: str = "", hard: bool = False) -> None: ...


Clock = Callable[[], float]


class PeerStatus:
    """Documents about BGP. monotonic: the clock of the sessions; wall: Unix time; both in seconds."""

    def __init__(self, speaker: SpeakerView | None, service: Service, monotonic: Clock, wall: Clock) -> None:
        self.speaker = speaker
        self._monotonic = monotonic
        self._wall = wall
        self._routes = RouteStatus(service)

    # -- control methods

    def peers(self) -> Document:
        """peer.list."""
        speaker = self.speaker
        rows = [] if speaker is None else [self._row(name, speaker) for name in sorted(speaker.peers)]
        waiting = [] if speaker is None else speaker.waiting_for()
        return {"items": rows, "configured": bool(rows), "waiting_for": waiting}

    def peer(self, name: str) -> Document:
        """peer.show."""
        speaker = self._speaker_of(name)
        view, peer = speaker.peers[name], speaker.rib.peers[name]
        session = view.session
        negotiated, connection, config = session.negotiated, session.connection, session.config
        document = self._row(name, speaker)
        document["router_id"] = format_router_id(negotiated.router_id) if negotiated is not None else ""
        document["local_as"] = config.local_as
        document["passive"] = config.passive
        document["uptime"] = None
        if session.up_since is not None:
            document["uptime"] = round(max(0.0, self._monotonic() - session.up_since), 1)
        document["transport"] = {
            "port": view.section.port,
            "md5": view.section.password_file is not None,
            "ttl_security": view.section.ttl_security,
            "multihop": view.section.multihop,
            "local_address": None if view.section.local_address is None else str(view.section.local_address),
        }
        document["connection"] = None
        document["capabilities"] = []
        if connection is not None and negotiated is not None:
            document["connection"] = {
                "local": _end(getattr(connection.transport, "local", None)),
                "remote": _end(getattr(connection.transport, "remote", None)),
                "opened_by": "gateway" if connection.outgoing else "peer",
                "max_length": negotiated.max_length,
            }
            document["capabilities"] = compare(connection.opened, negotiated.remote)
        statuses = peer_status(speaker.rib, peer)
        document["per_family"] = [
            _family_row(peer, family, statuses[family]) for family in SPOKEN if family in statuses
        ]
        document["memberships"] = None if peer.interest.all_wanted else len(peer.interest)
        document["waiting_for_memberships"] = peer.membership_deadline is not None
        document["counters"] = _counters(session, peer)
        malformation = session.counters.last_malformation
        document["last_malformation"] = malformation.why if malformation is not None else ""
        document["last_down"] = self._last_down(session)
        document["last_connect_error"] = session.last_connect_error
        document["hint"] = advice(session, view.problem)
        return document

    def refresh(self, params: Document) -> Document:
        """peer.refresh: ask the peer for its routes again; of one family, or all that may be asked for."""
        name = required_text(params, "name")
        speaker = self._speaker_of(name)
        session = speaker.peers[name].session
        family = read_family(params)
        negotiated = session.negotiated
        if negotiated is None:
            hint = f"`vrfwire-gateway-ctl peer show {name}` says why; a new session brings all routes anyway"
            state = state_name(session)
            raise OperatorError(f"peer {name}", f"has no session (state {state})", hint, ExitCode.CONFLICT)
        if not negotiated.route_refresh:
            hint = f"`vrfwire-gateway-ctl peer reset {name}` brings all routes again, by a new session"
            why = "route refresh is not negotiated, the peer does not offer it (RFC 2918)"
            raise OperatorError(f"peer {name}", why, hint, ExitCode.CONFLICT)
        if family is not None and family not in negotiated.families:
            agreed = ", ".join(map(str, sorted(negotiated.families)))
            hint = f"negotiated is {agreed}; `vrfwire-gateway-ctl peer show {name}` says why not {family}"
            raise OperatorError(f"peer {name}", f"{family} is not negotiated", hint, ExitCode.CONFLICT)
        return {"name": name, "families": list(speaker.refresh(name, None if family is None else [str(family)]))}

    def reset(self, params: Document) -> Document:
        """peer.reset: end the session and begin another one; also ends what too many prefixes brought about."""
        name = required_text(params, "name")
        speaker = self._speaker_of(name)
        text = params.get("text", "")
        if not isinstance(text, str):
            raise OperatorError("request", '"text" is not a text', code=ExitCode.USAGE)
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise OperatorError("--text", "is not UTF-8 text", "", ExitCode.USAGE) from None
        if size > MAX_TEXT:
            why = f"is {size} bytes of UTF-8 long, at most {MAX_TEXT} go out (RFC 9003)"
            raise OperatorError("--text", why, "make it shorter", ExitCode.USAGE)
        before = state_name(speaker.peers[name].session)
        speaker.reset(name, text=text, hard=params.get("hard") is True)
        return {"name": name, "before": before, "state": state_name(speaker.peers[name].session)}

    def routes(self, params: Document) -> Document:
        """bgp.routes: a page of the tables, see gateway.route_status."""
        return self._routes.page(self._rib(), params)

    def explain(self, params: Document) -> Document:
        """route.explain, see gateway.route_status."""
        return finish(self.explaining(params))

    def explaining(self, params: Document) -> Generator[None, None, Document]:
        """The same in slices of some milliseconds."""
        speaker = self.speaker
        rib = speaker.rib if speaker is not None and speaker.peers else None
        return self._routes.explaining(rib, params)

    # -- parts

    def _rib(self) -> Rib:
        if self.speaker is None or not self.speaker.peers:
            raise OperatorError("BGP", "not configured on this gateway", CONFIGURE, ExitCode.CONFLICT)
        return self.speaker.rib

    def _speaker_of(self, name: str) -> SpeakerView:
        """The speaker, which has this peer."""
        speaker = self.speaker
        if speaker is None or not speaker.peers:
            why = "not there, BGP is not configured on this gateway"
            raise OperatorError(f"peer {name}", why, CONFIGURE, ExitCode.NOT_FOUND)
        if name not in speaker.peers:
            near = difflib.get_close_matches(name, speaker.peers, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OperatorError(
                f"peer {name}", "no such peer", f"{hint}`vrfwire-gateway-ctl peer list` has all", ExitCode.NOT_FOUND
            )
        return speaker

    def _row(self, name: str, speaker: SpeakerView) -> Document:
        view, peer = speaker.peers[name], speaker.rib.peers[name]
        session = view.session
        negotiated = session.negotiated
        statuses = peer_status(speaker.rib, peer)
        routes = [status for family, status in statuses.items() if family != RTC]
        return {
            "name": name,
            "address": format_address(view.address),
            "as": session.config.remote_as,
            "type": PEER_KINDS[peer.policy.kind],
            "state": state_name(session),
            "enabled": session.enabled,
            "since": timestamp(view.since),
            "families": [
                str(family)
                for family in SPOKEN
                if family in (session.config.families if negotiated is None else negotiated.families)
            ],
            "received": sum(status.received for status in routes),
            "announced": sum(status.announced for status in routes),
            "stale": sum(status.stale for status in routes),
            "hold_time": session.config.hold_time if negotiated is None else negotiated.hold_time,
            "last_error": last_error(session),
            "problem": view.problem,
        }

    def _time(self, at: float) -> str:
        return timestamp(self._wall() - self._monotonic() + at)

    def _last_down(self, session: Session) -> Document | None:
        down = session.last_down
        if down is None:
            return None
        at = "" if session.down_since is None else self._time(session.down_since)
        return {"at": at, **describe_down(down)}


def state_name(session: Session) -> str:
    """State of the FSM as commands show it: "opensent"."""
    return session.state.name.lower().replace("_", "")


def _end(where: tuple[str, int] | None) -> str:
    """An end of a connection: "192.0.2.1 port 179"."""
    return f"{where[0]} port {where[1]}" if where is not None else ""


def describe_down(down: SessionDown) -> Document:
    """The end of a session or attempt: reason, code and subcode of the NOTIFICATION, that in words, the operator's text
    (RFC 9003), and what else is known."""
    notification = down.notification
    reason = notification.reason if notification is not None else None
    return {
        "reason": str(down.reason),
        "code": reason.code if reason is not None else None,
        "subcode": reason.subcode if reason is not None else None,
        "notification": str(notification) if notification is not None else "",
        "hard": notification is not None and notification.is_hard_reset,
        "text": notification.text if notification is not None else "",
        "detail": "" if notification is not None and down.text == notification.text else down.text,
        "kept": sorted(map(str, down.preserved)),
    }


def last_error(session: Session) -> str:
    """One line about the last failure; "" when there was none."""
    if session.last_connect_error:
        return f"can't connect: {session.last_connect_error}"
    return session.last_down.describe() if session.last_down is not None else ""


def _family_row(peer: Peer, family: Family, status: FamilyStatus) -> Document:
    limit = peer.policy.limits.get(family)
    return {"family": str(family), **status._asdict(), "limit": limit.limit if limit is not None else None}


def _counters(session: Session, peer: Peer) -> Document:
    counters = session.counters
    return {
        "established": counters.established,
        "received": dict(sorted(counters.received.items())),
        "sent_notifications": counters.sent_notifications,
        "treated_as_withdraw": counters.treated_as_withdraw,
        "attributes_discarded": counters.attributes_discarded,
        "looped": peer.looped,
    }
