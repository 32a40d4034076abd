"""What is said of attachments: up, down, adminDown, nothing; and only of what has changed."""

from __future__ import annotations

from gateway.attachment_state import AttachmentStates, Condition, Presence, Statement
from gateway.authorization import Authorization, Mode
from gateway.grants import NO_GRANTS, Forfeited, Grants
from tests.unit.gateway.harness import Bench, Peer
from tests.unit.gateway.test_map_admission import DB, WEB, announce, item, regrant, settle, site
from vpn.prefix import Prefix

WEB_AT_HV1 = Presence("web", "192.0.2.11", "hv1")
DB_AT_HV1 = Presence("db", "192.0.2.11", "hv1")
P = Prefix.parse("10.1.1.1/32")
Q = Prefix.parse("10.1.1.2/32")


class Site:
    """A bench with states. told: what the map would have been told, by presence."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.states = AttachmentStates(bench.service.rib, bench.service.admission)
        self.told: dict[Presence, Statement] = {}
        self.hv1 = bench.connect("hv1", "192.0.2.11")

    def changes(self) -> dict[Presence, Statement | None]:
        changes = dict(self.states.update(100))
        for presence, statement in changes.items():
            if statement is None:
                self.told.pop(presence, None)
            else:
                self.told[presence] = statement
        assert self.told == self.states.presences() and len(self.states) == len(self.told)
        return changes


def test_an_attachment_is_up_with_its_item_and_down_while_its_host_is_away() -> None:
    there = Site(site(web=WEB, db=DB))
    assert there.changes() == {} and not there.states.pending
    announce(there.hv1, "blue", ("10.1.1.1/32", "web"))
    assert there.states.pending
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (P,))}
    announce(there.hv1, "blue", ("10.1.1.2/32", "db"))
    assert there.changes() == {DB_AT_HV1: Statement(Condition.UP, (Q,))}
    assert there.changes() == {}, "nothing was touched"
    there.bench.disconnect(there.hv1)
    assert there.changes() == {
        WEB_AT_HV1: Statement(Condition.DOWN, (P,)),
        DB_AT_HV1: Statement(Condition.DOWN, (Q,)),
    }
    there.hv1 = there.bench.connect("hv1", "192.0.2.11")
    announce(there.hv1, "blue", ("10.1.1.1/32", "web"))
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (P,))}
    there.bench.now += 61
    there.bench.service.expire(there.bench.now)
    assert there.changes() == {DB_AT_HV1: None}
    there.hv1.retract("blue", item(there.hv1, "10.1.1.1/32"))
    assert there.changes() == {WEB_AT_HV1: None} and there.told == {}


def test_an_attachment_whose_binding_is_revoked_is_admin_down_until_its_host_gives_up() -> None:
    there = Site(site(web=WEB))
    announce(there.hv1, "blue", ("10.1.1.1/32", "web"))
    there.changes()
    regrant(there.bench, web=NO_GRANTS)
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.ADMIN_DOWN, (P,))}
    assert there.states.counts() == {Condition.ADMIN_DOWN: 1, Condition.DOWN: 0, Condition.UP: 0}
    regrant(there.bench, web=WEB)
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (P,))}
    regrant(there.bench, web=NO_GRANTS)
    there.bench.disconnect(there.hv1)
    assert there.changes() == {WEB_AT_HV1: None}


def test_what_was_permitted_once_is_admin_down_also_in_a_session_that_has_never_seen_that() -> None:
    """A host that comes back, a gateway that was restarted, a binding that was revoked while the gateway was down."""
    forfeited = Forfeited()
    forfeited.note("web", WEB, NO_GRANTS)
    bench = site()
    bench.service.admission.use(Authorization(Mode.STRICT, known=True, forfeited=forfeited))
    there = Site(bench)
    for _ in range(2):
        announce(there.hv1, "blue", ("10.1.1.1/32", "web"))
        announce(there.hv1, "blue", ("10.1.1.2/32", "web"))
        announce(there.hv1, "red", ("10.1.1.1/32", "web"))
        announce(there.hv1, "blue", ("10.1.1.3/32", "db"))
        assert there.changes() == {WEB_AT_HV1: Statement(Condition.ADMIN_DOWN, (P,))}
        there.bench.disconnect(there.hv1)
        assert there.changes() == {WEB_AT_HV1: None}
        there.hv1 = there.bench.connect("hv1", "192.0.2.11")


def test_nothing_is_said_of_what_was_never_permitted() -> None:
    there = Site(site(web=WEB))
    announce(there.hv1, "blue", ("10.1.1.9/32", "of somebody else"))
    assert there.changes() == {}
    regrant(there.bench, **{"of somebody else": Grants(frozenset({"red"}), WEB.prefixes)})
    assert there.changes() == {}


def test_one_item_of_several_keeps_an_attachment_up() -> None:
    net = Grants(frozenset({"blue", "red"}), frozenset({Prefix.parse("10.1.0.0/16")}))
    there = Site(site(web=net))
    announce(there.hv1, "blue", ("10.1.1.1/32", "web"), ("10.1.1.2/32", "web"))
    announce(there.hv1, "red", ("10.1.1.2/32", "web"))
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (P, Q))}
    regrant(there.bench, web=Grants(frozenset({"red"}), net.prefixes))
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (Q,))}, "routes that are up"


def test_an_attachment_may_be_at_two_hosts() -> None:
    there = Site(site(web=WEB))
    hv2: Peer = there.bench.connect("hv2", "192.0.2.12")
    for peer in (there.hv1, hv2):
        announce(peer, "blue", ("10.1.1.1/32", "web"))
    there.changes()
    there.hv1.retract("blue", item(there.hv1, "10.1.1.1/32"))
    assert there.changes() == {WEB_AT_HV1: None}
    assert list(there.told) == [Presence("web", "192.0.2.12", "hv2")]


def test_an_item_without_a_name_is_put_down_to_who_has_the_address() -> None:
    there = Site(site(web=WEB))
    announce(there.hv1, "blue", ("10.1.1.1/32", ""))
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (P,))}
    regrant(there.bench, db=Grants(frozenset({"blue"}), frozenset({P})))
    assert there.changes() == {WEB_AT_HV1: None}, "it may be either of two"
    regrant(there.bench, web=NO_GRANTS)
    assert there.changes() == {DB_AT_HV1: Statement(Condition.UP, (P,))}


def test_much_is_looked_at_in_turns() -> None:
    net = Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.0.0/16")}))
    there = Site(site(Mode.STRICT, None, **{f"vm{number}": net for number in range(5)}))
    for number in range(5):
        announce(there.hv1, "blue", (f"10.1.1.{number}/32", f"vm{number}"))
    seen = []
    while there.states.pending:
        seen.append(len(there.states.update(2)))
    assert seen == [2, 2, 1]
    assert there.states.counts()[Condition.UP] == 5


def test_what_was_there_before_the_map_was_configured_is_said() -> None:
    bench = Bench()
    there = Site(bench)
    announce(there.hv1, "blue", ("10.1.1.1/32", "web"))
    assert there.changes() == {}
    bench.service.admission.use(Authorization(Mode.OFF))
    settle(bench.service.admission)
    assert there.changes() == {WEB_AT_HV1: Statement(Condition.UP, (P,))}
