"""A service with sessions in memory: requests as XML in, answers and events as elements out."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway.hosts import Host, Hosts
from gateway.policy import Policy, Vpn
from gateway.rib import Rib
from gateway.service import Limits, Service
from gateway.session import Session
from vpn.community import RouteTarget
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp import namespaces as ns
from xmpp.entry import Entry, encode
from xmpp.jid import Jid
from xmpp.notices import Notice, read_notices
from xmpp.notification import parse_event
from xmpp.stanza import Kind, Stanza

DOMAIN = "vpn.example.net"
ERRORS = f"{{{ns.STANZA_ERRORS}}}"


def vpn(name: str, imports: str, exports: str) -> Vpn:
    """A VPN with route targets separated by blanks."""
    return Vpn(
        name, frozenset(map(RouteTarget.parse, imports.split())), frozenset(map(RouteTarget.parse, exports.split()))
    )


MESH = Policy([vpn("blue", "64512:1", "64512:1"), vpn("red", "64512:2", "64512:2")])


def entry(prefix: str, host: str, label: int = 100, **preference: int) -> bytes:
    """An encoded entry with one next hop."""
    path = Path((NextHop(parse_address(host), label),), **preference)
    return encode(Entry(Prefix.parse(prefix), path))


class Peer:
    """A host's end of a session."""

    def __init__(self, bench: Bench, session: Session) -> None:
        self.bench = bench
        self.session = session
        self.routes: dict[str, dict[str, Path]] = {}
        self.messages: list[bytes] = []
        self.notices: list[Notice] = []
        self.answers: dict[str, Element] = {}
        self.order: list[str] = []
        """What came, in order: "event VPN PREFIX..." and "TYPE ID"."""
        self._id = 0

    def send(self, type: str, payload: str | bytes, to: str | None = DOMAIN) -> str:
        """Send an IQ; its id."""
        self._id += 1
        text = payload if isinstance(payload, str) else payload.decode()
        element = ElementTree.fromstring(f"<iq xmlns='{ns.CLIENT}' type='{type}' id='q{self._id}'>{text}</iq>")
        recipient = Jid.parse(to) if to is not None else None
        stanza = Stanza(Kind.IQ, type, f"q{self._id}", self.session.jid, recipient, element)
        self.bench.service.handle(self.session, stanza, self.bench.now)
        return stanza.id

    def ask(self, type: str, payload: str | bytes, to: str | None = DOMAIN) -> Element:
        """Send an IQ and take its answer, with whatever else is owed."""
        identity = self.send(type, payload, to)
        self.pull()
        return self.answers[identity]

    def pubsub(self, action: str, type: str = "set") -> Element:
        """Ask for a publish-subscribe action."""
        return self.ask(type, f"<pubsub xmlns='{ns.PUBSUB}'>{action}</pubsub>")

    def subscribe(self, node: str, options: str = "") -> Element:
        """Subscribe with the full JID."""
        return self.pubsub(f"<subscribe node='{node}' jid='{self.session.jid}'/>{options}")

    def publish(self, node: str, items: Iterable[tuple[str, bytes]]) -> Element:
        """Publish (item id, encoded entry) each."""
        inner = "".join(f"<item id='{item_id}'>{payload.decode()}</item>" for item_id, payload in items)
        return self.pubsub(f"<publish node='{node}'>{inner}</publish>")

    def announce(self, node: str, *prefixes: str, label: int = 100, **preference: int) -> Element:
        """Publish prefixes with the host's first address as next hop and in the ids."""
        host = self.address
        return self.publish(
            node, [(f"{host}:1:{prefix}", entry(prefix, host, label, **preference)) for prefix in prefixes]
        )

    def retract(self, node: str, *ids: str) -> Element:
        """Retract items."""
        inner = "".join(f"<item id='{item_id}'/>" for item_id in ids)
        return self.pubsub(f"<retract node='{node}'>{inner}</retract>")

    @property
    def address(self) -> str:
        """The host's first address, text."""
        return ".".join(map(str, min(self.session.permit.addresses)))

    def pull(self, pieces: int = 1000) -> None:
        """Take what is owed, at most so many pieces."""
        self.bench.service.take_pending()
        for _ in range(pieces):
            piece = self.session.next_output()
            if not piece:
                return
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        for stanza in ElementTree.fromstring(b"<s xmlns='%b'>%b</s>" % (ns.CLIENT.encode(), piece)):
            if notices := read_notices(stanza):
                assert stanza.get("to") == str(self.session.jid)
                self.notices += notices
                self.order += [f"{notice.kind} {notice.node} {' '.join(notice.ids)}".strip() for notice in notices]
                continue
            event = parse_event(stanza)
            if event is None:
                self.answers[stanza.get("id", "")] = stanza
                self.order.append(f"{stanza.get('type')} {stanza.get('id')}")
                continue
            assert stanza.get("to") == str(self.session.jid) and not event.bad
            self.messages.append(piece)
            table = self.routes.setdefault(event.node, {})
            for item_id, route in event.changes:
                if route is None:
                    # A prefix that went and came again before we subscribed may go untold: "may have seen" (vpn.table).
                    table.pop(item_id, None)
                else:
                    assert str(route.prefix) == item_id
                    table[item_id] = route.path
            self.order.append(f"event {event.node} {' '.join(item_id for item_id, _ in event.changes)}")

    def next_hops(self, node: str) -> dict[str, list[tuple[str, int]]]:
        """Address and label of each next hop by prefix, as the events told."""
        return {
            prefix: [(".".join(map(str, hop.address)), hop.label) for hop in path.next_hops]
            for prefix, path in self.routes.get(node, {}).items()
        }


class Bench:
    """A service, its clock and its hosts."""

    def __init__(self, policy: Policy = MESH, hosts: Iterable[Host] = (), limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.service = Service(DOMAIN, Rib(policy, stale_time=60), limits)
        self.hosts = Hosts.of(hosts)

    def connect(self, name: str, address: str, resource: str = "vrfwire") -> Peer:
        """A session of a host that connects from an address."""
        permit = self.hosts.permit(name, frozenset(), parse_address(address))
        jid = Jid.of(name, DOMAIN, resource)
        return Peer(self, self.service.open(jid, permit, self.now))

    def disconnect(self, peer: Peer) -> None:
        """End a session."""
        self.service.close(peer.session, self.now)


def refusal(answer: Element) -> tuple[str, str, str]:
    """(condition, application-specific condition, text) of an error answer."""
    assert answer.get("type") == "error", ElementTree.tostring(answer)
    error = answer.find(f"{{{ns.CLIENT}}}error")
    assert error is not None
    text = error.findtext(f"{ERRORS}text", "")
    defined = [child.tag.removeprefix(ERRORS) for child in error if child.tag.startswith(ERRORS)]
    condition = next(name for name in defined if name != "text")
    app = next((c.tag.rpartition("}")[2] for c in error if not c.tag.startswith(ERRORS)), "")
    return condition, app, text
