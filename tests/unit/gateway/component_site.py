"""Hosts behind an XMPP server, in memory: stanzas in as that server would pass them on, and what each host is sent."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway.component_hosts import Began, ComponentHosts, ComponentRules, Ended
from gateway.hosts import Host, Hosts
from gateway.policy import Policy
from gateway.rib import Rib
from gateway.service import Service
from tests.unit.gateway.harness import MESH, entry
from vpn.prefix import parse_address
from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.notification import parse_event
from xmpp.stanza import Kind, Stanza

DOMAIN = "vpn.gw.example.org"
USERS = "gw.example.org"


def listed(*names: str) -> list[Host]:
    """Entries of hosts with an address each."""
    return [Host(name, frozenset({parse_address(f"192.0.2.{number}")})) for number, name in enumerate(names, start=11)]


class Site:
    """A service behind a server, its clock, and what hosts were sent, by full JID."""

    def __init__(self, hosts: Iterable[Host] | None = None, policy: Policy = MESH, **rules: object) -> None:
        self.now = 1000.0
        self.service = Service(DOMAIN, Rib(policy, stale_time=60))
        entries = Hosts.of(listed("hv1", "hv2") if hosts is None else hosts)
        settings = ComponentRules(DOMAIN, frozenset({USERS}), **rules)  # type: ignore[arg-type]
        self.hosts = ComponentHosts(self.service, entries, settings)
        self.hosts.attached(self.now)
        self.sent: list[Element] = []
        """Everything, in order."""
        self.pieces: list[bytes] = []
        self._id = 0

    def pull(self, pieces: int = 1000) -> list[Element]:
        """Take what is owed, at most so many pieces; the stanzas of this call."""
        self.hosts.owed(self.service.take_pending())
        new: list[Element] = []
        for _ in range(pieces):
            piece = self.hosts.next_output(self.now)
            if not piece:
                break
            self.pieces.append(piece)
            new += ElementTree.fromstring(b"<s xmlns='%b'>%b</s>" % (ns.COMPONENT.encode(), piece))
        self.sent += new
        return new

    def events(self) -> list[str]:
        """What has become of sessions: "began JID", "ended JID: REASON"."""
        told = []
        while (event := self.hosts.next_event()) is not None:
            match event:
                case Began(session):
                    told.append(f"began {session.jid}")
                case Ended(session, reason, _):
                    told.append(f"ended {session.jid}: {reason}")
        return told

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Move the clock, with its timers."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.hosts.handle_timer(self.now)


class Client:
    """A host's login with the server."""

    def __init__(self, site: Site, name: str = "hv1", resource: str = "vrfwire", domain: str = USERS) -> None:
        self.site = site
        self.jid = Jid.of(name, domain, resource)

    def send(self, kind: Kind, type: str, content: str = "", identity: str = "", to: str = DOMAIN) -> list[Element]:
        """A stanza; what this host is sent by then."""
        site = self.site
        element = ElementTree.fromstring(f"<{kind} xmlns='{ns.COMPONENT}'>{content}</{kind}>")
        site.hosts.handle(Stanza(kind, type, identity, self.jid, Jid.parse(to), element), site.now)
        return [stanza for stanza in site.pull() if stanza.get("to") == str(self.jid)]

    def presence(self, type: str = "", identity: str = "") -> list[Element]:
        """Directed presence."""
        return self.send(Kind.PRESENCE, type, identity=identity)

    def login(self) -> Client:
        """Begin a session."""
        [answer] = self.presence(identity="p")
        assert (kind(answer), answer.get("type"), answer.get("id")) == ("presence", None, "p")
        return self

    def ask(self, type: str, content: str, to: str = DOMAIN) -> list[Element]:
        """An IQ request; all that this host is sent by then."""
        self.site._id += 1
        return self.send(Kind.IQ, type, content, f"q{self.site._id}", to)

    def answer(self, type: str, content: str = "", *, to: str) -> list[Element]:
        """The answer to an IQ request."""
        return self.send(Kind.IQ, type, content, to)

    def ping(self) -> list[Element]:
        """XEP-0199."""
        return self.ask("get", f"<ping xmlns='{ns.PING}'/>")

    def subscribe(self, node: str = "blue") -> list[Element]:
        """With its full JID."""
        return self.ask("set", f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{node}' jid='{self.jid}'/></pubsub>")

    def announce(self, *prefixes: str, address: str = "192.0.2.11", node: str = "blue") -> list[Element]:
        """Publish prefixes."""
        items = "".join(
            f"<item id='{address}:1:{prefix}'>{entry(prefix, address).decode()}</item>" for prefix in prefixes
        )
        return self.ask("set", f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{node}'>{items}</publish></pubsub>")

    @property
    def routes(self) -> set[str]:
        """Prefixes as events have told by now."""
        table: set[str] = set()
        for stanza in self.site.sent:
            if stanza.get("to") == str(self.jid) and (event := parse_event(stanza)) is not None:
                for item_id, route in event.changes:
                    (table.discard if route is None else table.add)(item_id)
        return table

    @property
    def has_session(self) -> bool:
        """Whether the service has a session of this JID."""
        return self.site.service.session_of(self.jid) is not None


def kind(stanza: Element) -> str:
    """iq, message or presence."""
    return stanza.tag.rpartition("}")[2]


def condition(stanza: Element) -> str:
    """Of an error that was sent; "" for other stanzas."""
    error = stanza.find(f"{{{ns.COMPONENT}}}error")
    if error is None:
        return ""
    return next(iter(error)).tag.rpartition("}")[2]


def fault(condition: str) -> str:
    """An error as a server or a client makes it."""
    return f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
