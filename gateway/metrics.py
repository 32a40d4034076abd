"""What the gateway measures, for Prometheus: sessions, tables, VPNs, hosts. docs/metrics.md lists every metric.

A snapshot costs what there are peers, families and VPNs, and looks at routes only to count stale ones of a peer that is
away. No metric has a label for a prefix, a route distinguisher or a host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bgp.connection import State
from bgp.family import RTC
from bgp.rib.peer import Peer
from bgp.rib.rib import Rib
from bgp.rib.views import peer_status
from gateway.map_metrics import MAP_METRICS, measure_map
from gateway.obstacles import Obstacle
from gateway.peer_status import PEER_KINDS, PeerView, SpeakerView, state_name
from gateway.service import Service
from runtime.metrics import Description, Measured, Metric, grouped
from vpn.prefix import format_address

if TYPE_CHECKING:
    from gateway.map_status import MapView

_PEER = ("peer",)
_FAMILY = ("peer", "family")

PEER_INFO = Description(
    "vrfwire_bgp_peer_info", "gauge", ("peer", "address", "as", "type"), "1; what is configured of a BGP peer"
)
PEER_UP = Description("vrfwire_bgp_peer_up", "gauge", _PEER, "1 when the session is established, else 0")
PEER_STATE = Description(
    "vrfwire_bgp_peer_state", "gauge", ("peer", "state"), "1 for the state that the session is in, 0 for the others"
)
PEER_CHANGED = Description(
    "vrfwire_bgp_peer_changed_timestamp_seconds", "gauge", _PEER, "when the session came up or went down, Unix time"
)
PEER_FLAPS = Description("vrfwire_bgp_peer_flaps_total", "counter", _PEER, "times that an established session ended")
PEER_ERROR_CODE = Description(
    "vrfwire_bgp_peer_last_error_code",
    "gauge",
    ("peer", "direction"),
    "code of the last NOTIFICATION that ended a session or an attempt, by who sent it (`sent`, `received`); 0: none",
)
PEER_ERROR_SUBCODE = Description("vrfwire_bgp_peer_last_error_subcode", "gauge", ("peer", "direction"), "its subcode")
PEER_RECEIVED = Description(
    "vrfwire_bgp_peer_messages_received_total", "counter", ("peer", "type"), "messages of the peer by type"
)
PEER_UPDATES_SENT = Description(
    "vrfwire_bgp_peer_session_messages_sent_total", "counter", _FAMILY, "messages with routes made in this session"
)
PEER_NOTIFICATIONS_SENT = Description(
    "vrfwire_bgp_peer_notifications_sent_total", "counter", _PEER, "NOTIFICATIONs sent"
)
PEER_MALFORMED = Description(
    "vrfwire_bgp_peer_malformed_updates_total",
    "counter",
    ("peer", "handling"),
    "malformed UPDATEs by what became of them (RFC 7606): `treat-as-withdraw`, `attribute-discard`",
)
PEER_LOOPED = Description(
    "vrfwire_bgp_peer_looped_routes_total", "counter", _PEER, "routes not taken because they had been here or lead here"
)
PEER_ROUTES = Description(
    "vrfwire_bgp_peer_accepted_routes", "gauge", _FAMILY, "routes of the peer that are held, stale ones included"
)
PEER_STALE = Description("vrfwire_bgp_peer_stale_routes", "gauge", _FAMILY, "those of them that are stale")
PEER_LIMIT = Description("vrfwire_bgp_peer_max_prefixes", "gauge", _FAMILY, "how many routes the peer may send")
PEER_ENDED = Description(
    "vrfwire_bgp_peer_end_of_rib", "gauge", _FAMILY, "1 when the End-of-RIB has come in this session"
)
PEER_ANNOUNCED = Description(
    "vrfwire_bgp_peer_session_announced_routes_total", "counter", _FAMILY, "routes announced in this session"
)
PEER_WITHDRAWN = Description(
    "vrfwire_bgp_peer_session_withdrawn_routes_total", "counter", _FAMILY, "routes withdrawn in this session"
)
PEER_WAITING = Description(
    "vrfwire_bgp_peer_waiting_bytes", "gauge", _FAMILY, "bytes of routes that the peer has not taken yet"
)
PEER_MEMBERSHIPS = Description(
    "vrfwire_bgp_peer_memberships", "gauge", _PEER, "route-target memberships of a peer that speaks RTC"
)
TABLE_DESTINATIONS = Description(
    "vrfwire_bgp_table_destinations", "gauge", ("family",), "destinations (route distinguisher and prefix)"
)
TABLE_PATHS = Description("vrfwire_bgp_table_paths", "gauge", ("family",), "paths of all sources")
TABLE_IMPORTED = Description(
    "vrfwire_bgp_table_imported_destinations", "gauge", ("family",), "destinations that some VPN has imported"
)
TABLE_TARGETS = Description("vrfwire_bgp_table_route_targets", "gauge", ("family",), "different route targets")
UPDATE_GROUPS = Description("vrfwire_bgp_update_groups", "gauge", ("family",), "update groups with a peer")
UNSENT = Description(
    "vrfwire_bgp_unsent_routes_total", "counter", ("family",), "announcements that no message had room for (RFC 8654)"
)
REFUSED = Description(
    "vrfwire_bgp_refused_connections_total",
    "counter",
    ("reason",),
    "connections of others refused: `unknown peer`, `session at rest` (after an error, or shut down)",
)
ERRORS = Description(
    "vrfwire_bgp_errors_total", "counter", (), "errors of the gateway itself, of which the log has a traceback"
)
UNANNOUNCED = Description(
    "vrfwire_bgp_unannounced_items",
    "gauge",
    ("obstacle",),
    "items of hosts not announced, or not wholly: `no_instance`, `ipv6_next_hop`, `labels`, `claimed`",
)
VPN_ROUTES = Description("vrfwire_vpn_routes", "gauge", ("vpn",), "prefixes of a VPN")
VPN_HOSTS = Description("vrfwire_vpn_hosts", "gauge", ("vpn",), "hosts subscribed to a VPN")
XMPP_SESSIONS = Description("vrfwire_xmpp_sessions", "gauge", (), "sessions of hosts")
XMPP_SUSPENDED = Description(
    "vrfwire_xmpp_suspended_sessions", "gauge", (), "sessions that have lost their connection and may be resumed"
)
XMPP_HOSTS = Description(
    "vrfwire_xmpp_hosts", "gauge", ("state",), "hosts by state: `connected`, or `stale`, gone with items that stay"
)
XMPP_ITEMS = Description("vrfwire_xmpp_items", "gauge", (), "items published by hosts, stale ones included")
XMPP_STALE = Description("vrfwire_xmpp_stale_items", "gauge", (), "items of hosts whose session is gone")
XMPP_REQUESTS = Description(
    "vrfwire_xmpp_requests_total",
    "counter",
    ("request",),
    "what hosts asked: `publish`, `item` (published), `retract`, `subscribe`, `unsubscribe`, `end_of_items`, `resume`",
)
XMPP_REFUSALS = Description(
    "vrfwire_xmpp_refusals_total", "counter", ("condition",), "requests of hosts refused, by XMPP's error condition"
)

GATEWAY_METRICS = (
    *(PEER_INFO, PEER_UP, PEER_STATE, PEER_CHANGED, PEER_FLAPS, PEER_ERROR_CODE, PEER_ERROR_SUBCODE),
    *(PEER_RECEIVED, PEER_UPDATES_SENT, PEER_NOTIFICATIONS_SENT, PEER_MALFORMED, PEER_LOOPED),
    *(PEER_ROUTES, PEER_STALE, PEER_LIMIT, PEER_ENDED, PEER_ANNOUNCED, PEER_WITHDRAWN, PEER_WAITING),
    *(PEER_MEMBERSHIPS, TABLE_DESTINATIONS, TABLE_PATHS, TABLE_IMPORTED, TABLE_TARGETS, UPDATE_GROUPS, UNSENT),
    *(REFUSED, ERRORS, UNANNOUNCED),
    *(
        VPN_ROUTES,
        VPN_HOSTS,
        XMPP_SESSIONS,
        XMPP_SUSPENDED,
        XMPP_HOSTS,
        XMPP_ITEMS,
        XMPP_STALE,
        XMPP_REQUESTS,
        XMPP_REFUSALS,
    ),
    *MAP_METRICS,
)
"""All of them, in the order of docs/metrics.md."""

_STATES = tuple(state.name.lower().replace("_", "") for state in State)


class GatewayMetrics:
    """Takes snapshots of a gateway. speaker: None when BGP isn't configured; view: of the map, None without one;
    certificates: CERTIFICATE_METRICS."""

    def __init__(
        self,
        speaker: SpeakerView | None,
        service: Service,
        view: Callable[[], MapView | None] = lambda: None,
        certificates: Callable[[], list[Metric]] = list,
    ) -> None:
        self.speaker = speaker
        self._service = service
        self._view = view
        self._certificates = certificates

    def snapshot(self) -> list[Metric]:
        """Everything, now."""
        return [found for found in grouped(GATEWAY_METRICS, self._measure()) if found.samples] + self._certificates()

    def _measure(self) -> Iterator[Measured]:
        speaker = self.speaker
        if speaker is not None and speaker.peers:
            for name, view in sorted(speaker.peers.items()):
                yield from _peer(name, view, speaker.rib.peers[name], speaker.rib)
            yield from _tables(speaker.rib)
            yield from _speaker(speaker)
        yield from self._hosts()
        shown = self._view()
        if shown is not None:
            yield from measure_map(shown, self._service.admission)

    def _hosts(self) -> Iterator[Measured]:
        service, rib = self._service, self._service.rib
        for name, table in sorted(rib.tables.items()):
            yield VPN_ROUTES, (name,), len(table)
            yield VPN_HOSTS, (name,), len(service.subscribers(name))
        connected = {session.host for session in service.sessions.values()}
        known = rib.hosts()
        yield XMPP_SESSIONS, (), len(service.sessions)
        yield XMPP_SUSPENDED, (), len(service.suspended)
        yield XMPP_HOSTS, ("connected",), len(connected)
        yield XMPP_HOSTS, ("stale",), len(set(known) - connected)
        yield XMPP_ITEMS, (), sum(map(rib.count, known))
        yield XMPP_STALE, (), sum(map(rib.stale, known))
        for name, count in sorted(service.counters.items()):
            kind, slash, condition = name.partition("/")
            if slash:
                yield XMPP_REFUSALS, (condition,), count
            else:
                yield XMPP_REQUESTS, (kind,), count


def _peer(name: str, view: PeerView, peer: Peer, rib: Rib) -> Iterator[Measured]:
    session = view.session
    counters = session.counters
    kind = PEER_KINDS[peer.policy.kind]
    up = session.up_since is not None
    yield PEER_INFO, (name, format_address(view.address), str(session.config.remote_as), kind), 1
    yield PEER_UP, (name,), up
    now = state_name(session)
    for state in _STATES:
        yield PEER_STATE, (name, state), state == now
    yield PEER_CHANGED, (name,), view.since
    yield PEER_FLAPS, (name,), counters.established - up
    down = session.last_down
    notification = down.notification.reason if down is not None and down.notification is not None else None
    received = down is not None and down.reason.name == "NOTIFICATION_RECEIVED"
    for direction, here in (("received", received), ("sent", not received)):
        yield PEER_ERROR_CODE, (name, direction), notification.code if notification is not None and here else 0
        yield PEER_ERROR_SUBCODE, (name, direction), notification.subcode if notification is not None and here else 0
    for kind_of, count in sorted(counters.received.items()):
        yield PEER_RECEIVED, (name, kind_of), count
    yield PEER_NOTIFICATIONS_SENT, (name,), counters.sent_notifications
    yield PEER_MALFORMED, (name, "treat-as-withdraw"), counters.treated_as_withdraw
    yield PEER_MALFORMED, (name, "attribute-discard"), counters.attributes_discarded
    yield PEER_LOOPED, (name,), peer.looped
    for family, status in peer_status(rib, peer).items():
        labels = (name, str(family))
        yield PEER_ROUTES, labels, status.received
        yield PEER_STALE, labels, status.stale
        limit = peer.policy.limits.get(family)
        if limit is not None:
            yield PEER_LIMIT, labels, limit.limit
        yield PEER_ENDED, labels, status.ended
        yield PEER_ANNOUNCED, labels, status.announced
        yield PEER_WITHDRAWN, labels, status.withdrawn
        yield PEER_WAITING, labels, status.waiting
        member = peer.members.get(family)
        yield PEER_UPDATES_SENT, labels, member.messages if member is not None else 0
    if not peer.interest.all_wanted:
        yield PEER_MEMBERSHIPS, (name,), len(peer.interest)


def _speaker(speaker: SpeakerView) -> Iterator[Measured]:
    refused = "refused/"
    for name, count in sorted(speaker.counters.items()):
        if name.startswith(refused):
            yield REFUSED, (name.removeprefix(refused),), count
    yield ERRORS, (), speaker.counters["errors"]
    problems = speaker.exchange.problems if speaker.exchange is not None else {}
    for obstacle in Obstacle:
        yield UNANNOUNCED, (obstacle.name.lower(),), problems.get(obstacle, 0)


def _tables(rib: Rib) -> Iterator[Measured]:
    for family, table in rib.tables.items():
        labels = (str(family),)
        yield TABLE_DESTINATIONS, labels, len(table)
        yield TABLE_PATHS, labels, sum(map(len, table.sources.values()))
        if family != RTC:
            yield TABLE_IMPORTED, labels, len(rib.imports[family])
            yield TABLE_TARGETS, labels, len(table.targets)
        groups = [group for (of, _), group in rib.groups.items() if of == family]
        yield UPDATE_GROUPS, labels, sum(bool(group.members) for group in groups)
        yield UNSENT, labels, sum(group.unsent for group in groups)
