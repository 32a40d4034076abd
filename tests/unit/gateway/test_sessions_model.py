"""An agent's signaling and a gateway's service over streams that are cut, resumed and given up, against a model.

Whatever happens: a route whose VM is there all the while isn't withdrawn as long as its host comes back in time, what
an agent believes to be announced is, and in the end the gateway has what the host has, and the host what the gateway.
"""

from __future__ import annotations

import itertools
from collections import deque
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.announcer import Announcer
from agent.attachment import Attached, VpnRecord, parse_attach
from agent.peer import Peer as Gateway
from agent.plan import Host
from agent.requests import Announced, Request
from agent.routes import GatewayId
from agent.signaling import Signaling
from agent.stanzas import Identity, noticed, payload, refusal
from gateway.policy import Policy
from gateway.resumption import NotResumable, Resumption
from gateway.session import Session
from tests.unit.gateway.harness import DOMAIN, MESH, Bench
from vpn.path import Path
from vpn.prefix import Prefix, parse_address
from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.notices import NoticeKind, read_notices
from xmpp.notification import parse_event
from xmpp.stanza import Kind, Stanza
from xmpp.stream_management import EnableWish, Management

ADDRESS = "192.0.2.11"
HOST = Jid.of("hv1", DOMAIN, "vrfwire")
IDENTITY = Identity(str(HOST), ADDRESS)
RECORDS = {"blue": VpnRecord("blue", 1, 10000, "vw-blue"), "red": VpnRecord("red", 2, 10001, "vw-red")}
PORTS = {
    name: Attached(parse_attach({"name": name, "vpn": vpn, "addresses": addresses, "tap": f"tap{label}"}, "hv1"), label)
    for label, (name, vpn, addresses) in enumerate(
        [("web", "blue", ["10.1.1.1", "10.1.1.2"]), ("db", "blue", ["10.1.1.3"]), ("mail", "red", ["10.2.2.2"])], 100
    )
}
WITHOUT_RED = Policy([MESH.vpns["blue"]])
ALL = 1000
SOME = st.sampled_from([0, 1, 2, ALL])


class _Gateway(Gateway):
    """Of the agent; what is to be said is asked for by the model."""

    def __init__(self) -> None:
        self.gateway = GatewayId(parse_address("192.0.2.1"), 5222)
        self.name = "192.0.2.1"
        self.signaling = Signaling()
        self.met = False

    def flush_soon(self) -> None:
        pass


class Agent:
    """One run of the agent, of ports some of which an earlier run has left; and its end of the stream."""

    def __init__(self, ports: dict[str, bool]) -> None:
        """ports: by name, whether they are being detached."""
        self.gateway = _Gateway()
        self.announcer = Announcer(Host(parse_address(ADDRESS)), [self.gateway], 15.0, lambda: 0.0)
        self.ready: set[str] = set()
        self.routes: dict[str, dict[str, Path]] = {}
        self.handled = self.confirmed = 0
        """Stanzas of the gateway that have come, and of ours that it has confirmed."""
        self.unacknowledged: deque[Element] = deque()
        self.unsent: deque[Element] = deque()
        self._pending: dict[str, Request] = {}
        self._ids = itertools.count(1)
        for name in ports:
            self.announcer.keep(PORTS[name])
            self.announcer.expect(PORTS[name])
        for name, detaching in ports.items():
            if detaching:
                self.announcer.withdraw(PORTS[name], RECORDS[PORTS[name].attachment.vpn])

    @property
    def signaling(self) -> Signaling:
        return self.gateway.signaling

    def begin(self) -> None:
        """A session of its own."""
        self.handled = self.confirmed = 0
        self.routes.clear()
        for queue in (self.unacknowledged, self.unsent, self._pending):
            queue.clear()
        self.gateway.met = True
        self.signaling.session_started()

    def ask(self) -> bool:
        """Queue what is to be asked; whether there was something."""
        requests = self.signaling.next_requests()
        for request in requests:
            kind, element = payload(request, IDENTITY)
            identifier = f"q{next(self._ids)}"
            iq = Element(f"{{{ns.CLIENT}}}iq", {"type": kind, "id": identifier, "to": DOMAIN})
            iq.append(element)
            self._pending[identifier] = request
            self.unsent.append(iq)
        return bool(requests)

    def take(self, stanza: Element) -> None:
        """A stanza has come."""
        self.handled += 1
        if notices := read_notices(stanza):
            for notice in notices:
                match notice.kind:
                    case NoticeKind.DELETED:
                        self.signaling.deleted(notice.node)
                        self.routes.pop(notice.node, None)
                    case NoticeKind.AVAILABLE:
                        self.signaling.available(notice.node)
                    case kind:
                        raise AssertionError((kind, noticed(notice, IDENTITY)))
        elif (event := parse_event(stanza)) is not None:
            table = self.routes.setdefault(event.node, {})
            for item, entry in event.changes:
                if entry is None:
                    table.pop(item, None)
                else:
                    table[item] = entry.path
        else:
            request = self._pending.pop(stanza.get("id", ""))
            self.signaling.answered(request, refusal(stanza))


class Machine(RuleBasedStateMachine):
    """The host "hv1" with one agent run after the other, "hv2" that changes routes, and a gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.service = self.bench.service
        ids = itertools.count(1)
        self.resumption = Resumption(self.service, lambda size: next(ids).to_bytes(size, "big"), 60.0)
        self.source = self.bench.connect("hv2", "192.0.2.12")
        self.ports: dict[str, bool] = {}
        self.agent = Agent(self.ports)
        self.session: Session | None = None
        """The gateway's, of the agent's stream, whether that one is cut or not; None: the agent has given it up."""
        self.management = Management()
        self.cut = False
        self.up: deque[Element] = deque()
        self.down: deque[bytes] = deque()
        self.silent = False
        self.constant: set[str] = set()
        """Prefixes of blue that the gateway has and that are to stay there."""

    @initialize(there=st.sets(st.sampled_from(sorted(PORTS))), red=st.booleans())
    def begin(self, there: set[str], red: bool) -> None:
        """Some ports are announced already."""
        for name in sorted(there):
            self.ports[name] = False
            self.agent.announcer.expect(PORTS[name])
            self.become_ready()
        self.red(red)
        self.connect()
        self.exchange_all()

    # -- the stream

    def _receive(self, most: int) -> None:
        for _ in range(min(most, len(self.up))):
            element = self.up.popleft()
            assert self.session is not None
            self.management.received()
            stanza = Stanza(Kind.IQ, element.get("type", ""), element.get("id", ""), HOST, Jid.parse(DOMAIN), element)
            self.service.handle(self.session, stanza, self.bench.now)

    def _deliver(self, most: int) -> None:
        for _ in range(min(most, len(self.down))):
            for stanza in ElementTree.fromstring(b"<s xmlns='%b'>%b</s>" % (ns.CLIENT.encode(), self.down.popleft())):
                self.agent.take(stanza)

    def _send(self) -> None:
        while self.agent.unsent:
            self.agent.unacknowledged.append(self.agent.unsent[0])
            self.up.append(self.agent.unsent.popleft())

    def _lose(self, up: int, down: int, noticed: bool) -> None:
        """The connection breaks, with some stanzas on their way; noticed: by the gateway, at once."""
        self._receive(up)
        self._deliver(down)
        self.up.clear()
        self.down.clear()
        self.cut = True
        if noticed:
            assert self.session is not None
            self.resumption.suspend(self.session, self.bench.now)

    @property
    def _streaming(self) -> bool:
        return self.session is not None and not self.cut

    def _ask(self) -> bool:
        asked = self.agent.ask()
        if self._streaming:
            self._send()
        return asked

    def _pull(self, most: int) -> None:
        self.service.take_pending()
        for _ in range(most):
            assert self.session is not None
            if not (piece := self.session.next_output()):
                break
            self.down.append(piece)

    def _acknowledge(self) -> None:
        assert self.session is not None
        self.session.acknowledged(self.management.outbox.acknowledge(self.agent.handled))

    @precondition(lambda self: self._streaming)
    @rule(up=SOME, pulled=SOME, down=SOME, acknowledged=st.booleans())
    def exchange(self, up: int, pulled: int, down: int, acknowledged: bool) -> None:
        self._ask()
        self._receive(up)
        self._pull(pulled)
        self._deliver(down)
        if acknowledged:
            self._acknowledge()

    @precondition(lambda self: self._streaming)
    @rule()
    def exchange_all(self) -> None:
        for _ in range(3):
            self._ask()
            self._receive(ALL)
            self._pull(ALL)
            self._deliver(ALL)

    @precondition(lambda self: self._streaming)
    @rule(up=SOME, down=SOME, noticed=st.booleans())
    def lose(self, up: int, down: int, noticed: bool) -> None:
        self._ask()
        self._pull(down)
        self._lose(up, down, noticed)

    @precondition(lambda self: self.cut)
    @rule()
    def resume(self) -> None:
        assert self.session is not None
        self.cut = False
        try:
            session = self.resumption.find(self.management.id, "hv1")
            if session.number in self.service.sessions:
                self.resumption.suspend(session, self.bench.now)
            self.resumption.resume(session, session.permit, self.agent.handled, self.bench.now)
        except NotResumable:
            self.session = None
            self.agent.signaling.session_ended()
            return
        assert session is self.session
        for _ in range(self.management.handled - self.agent.confirmed):
            self.agent.unacknowledged.popleft()
        self.agent.confirmed = self.management.handled
        self.up.extend(self.agent.unacknowledged)
        self._send()

    @precondition(lambda self: self.cut)
    @rule()
    def give_up(self) -> None:
        self.cut, self.session = False, None
        self.agent.signaling.session_ended()

    @precondition(lambda self: self.session is None)
    @rule()
    def connect(self) -> None:
        if (former := self.service.session_of(HOST)) is not None:
            self.resumption.end(former, self.bench.now)
        self.resumption.supersede(HOST, self.bench.now)
        permit = self.bench.hosts.permit("hv1", frozenset(), parse_address(ADDRESS))
        self.session = self.service.open(HOST, permit, self.bench.now)
        self.management = self.resumption.enable(self.session, EnableWish(True, None))
        self.agent.begin()

    @rule(gone=st.booleans())
    def restart_agent(self, gone: bool) -> None:
        """Everything that it knew is gone but the ports; none of them is ready. gone: one was removed meanwhile."""
        if self._streaming:
            self._lose(4, 0, True)
        if gone and self.ports:
            name, _ = self.ports.popitem()
            self.constant -= {str(prefix) for prefix in PORTS[name].attachment.announced()}
        self.cut, self.session = False, None
        self.agent = Agent(self.ports)
        self.agent.announcer.silent = self.silent

    @precondition(lambda self: self.session is None or self.session.number in self.service.sessions)
    @rule(vpn=st.sampled_from(["blue", "red"]))
    def other_session_marks(self, vpn: str) -> None:
        """Another session of the host says that it has published all of its items, which are none."""
        if self.session is None and self.service.rib.stale("hv1"):
            return
        other = self.bench.connect("hv1", ADDRESS, "other")
        other.ask("set", f"<end-of-items xmlns='urn:vrfwire:items:1' node='{vpn}'/>")
        self.bench.disconnect(other)

    @rule(seconds=st.sampled_from([1, 29, 31, 61]))
    def wait(self, seconds: int) -> None:
        self.bench.now += seconds
        self.resumption.expire(self.bench.now)
        if any(self.service.expire(self.bench.now)):
            self.constant &= self._published()

    # -- the host's ports

    @precondition(lambda self: len(self.ports) < len(PORTS))
    @rule(data=st.data())
    def attach(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(PORTS.keys() - self.ports.keys())))
        self.ports[name] = False
        self.agent.announcer.expect(PORTS[name])

    @rule()
    def become_ready(self) -> None:
        for name, detaching in self.ports.items():
            if not detaching and name not in self.agent.ready:
                self.agent.ready.add(name)
                self.agent.announcer.announce(PORTS[name], RECORDS[PORTS[name].attachment.vpn])
                break

    @precondition(lambda self: not all(self.ports.values()))
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, detaching in self.ports.items() if not detaching)))
        self.ports[name] = True
        self.agent.ready.discard(name)
        self._withdraw(name)

    def _withdraw(self, name: str) -> None:
        self.constant -= {str(prefix) for prefix in PORTS[name].attachment.announced()}
        self.agent.announcer.withdraw(PORTS[name], RECORDS[PORTS[name].attachment.vpn])

    @rule()
    def finish_detach(self) -> None:
        for name in [name for name, detaching in self.ports.items() if detaching]:
            if self.agent.announcer.withdrawn(PORTS[name]):
                del self.ports[name]
                vpn = PORTS[name].attachment.vpn
                if all(PORTS[other].attachment.vpn != vpn for other in self.ports):
                    self.agent.announcer.leave(vpn)
                self.agent.announcer.forget(name)

    @rule(silent=st.booleans())
    def drain(self, silent: bool) -> None:
        self.silent = self.agent.announcer.silent = silent
        for name in [name for name, detaching in self.ports.items() if not detaching]:
            if silent:
                self._withdraw(name)
            elif name in self.agent.ready:
                self.agent.announcer.announce(PORTS[name], RECORDS[PORTS[name].attachment.vpn])

    @rule()
    def retry(self) -> None:
        self.agent.signaling.retry_refused()

    # -- what happens elsewhere

    @rule(prefix=st.sampled_from(["10.1.1.1/32", "10.1.1.9/32", "10.1.1.8/32"]), label=st.integers(200, 202))
    def change(self, prefix: str, label: int) -> None:
        if label == 200:
            self.source.retract("blue", f"192.0.2.12:1:{prefix}")
        else:
            self.source.announce("blue", prefix, label=label)

    @rule(there=st.booleans())
    def red(self, there: bool) -> None:
        self.service.reload(MESH if there else WITHOUT_RED)

    # -- what is to be true

    def _published(self, vpn: str = "blue") -> set[str]:
        items = self.service.rib.items(vpn) if vpn in self.service.rib.tables else ()
        return {str(item.prefix) for _, item in items if item.publisher.host == "hv1"}

    def _wanted(self, vpn: str = "blue") -> set[str]:
        return {
            str(prefix)
            for name, detaching in self.ports.items()
            if not detaching and not self.silent and PORTS[name].attachment.vpn == vpn
            for prefix in PORTS[name].attachment.announced()
        }

    @invariant()
    def routes_of_vms_that_are_there_stay(self) -> None:
        published = self._published()
        assert self.constant <= published, self.constant - published
        held = self.session is not None and self.session.number in {**self.service.sessions, **self.service.suspended}
        for prefix in map(Prefix.parse, self._wanted()):
            if held and self.agent.signaling.announced("blue", prefix)[0] is Announced.YES:
                assert str(prefix) in published
                self.constant.add(str(prefix))

    def teardown(self) -> None:
        """Everything comes to rest."""
        self.service.reload(MESH)
        self.drain(False)
        if self.cut:
            self.resume()
        if self.session is None:
            self.connect()
        for _ in PORTS:
            self.become_ready()
        for _ in range(20):
            self.exchange_all()
            self._acknowledge()
            self.retry()
            self.finish_detach()
        assert not self._ask()
        rib = self.service.rib
        if not all(map(self._wanted, RECORDS)):
            # Where the agent has nothing any more it says nothing: what an earlier run has left has to time out.
            self.wait(61)
        for vpn in RECORDS:
            assert self._published(vpn) == self._wanted(vpn), "nothing is missing, and nothing is left behind"
            if self._wanted(vpn):
                shown = {str(prefix): path for prefix, path in rib.tables[vpn].routes()}
                assert self.agent.routes.get(vpn, {}) == shown
                assert self.agent.signaling.synchronised(vpn)
        assert rib.stale("hv1") == 0
        super().teardown()


TestSessions = Machine.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
