"""A change of the map takes effect in turns: nobody who is permitted before and after it is cut off on the way."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from gateway.authorization import Authorization, Mode
from gateway.grants import Grants
from gateway.provisioning import Difference, Provisioning, Targets
from gateway.switchover import Switchover
from tests.unit.gateway.harness import Bench
from tests.unit.gateway.test_map_admission import announce, routes, settle
from tests.unit.gateway.test_map_provisioning import targets
from vpn.prefix import Prefix
from xmpp.notices import Notice, NoticeKind

ONE, TWO = Prefix.parse("10.1.1.1/32"), Prefix.parse("10.1.1.2/32")
BLUE = {"blue": targets("64512:1", "64512:1")}
BOTH = {**BLUE, "red": targets("64512:2", "64512:2")}


def grants(vpns: str, *prefixes: Prefix) -> Grants:
    return Grants(frozenset(vpns.split()), frozenset(prefixes))


class Site:
    """A service that is provisioned, and somebody who changes that."""

    def __init__(self, vpns: Mapping[str, Targets], attachments: Mapping[str, Grants]) -> None:
        self.provisioning = Provisioning()
        self.provisioning.restore(vpns, attachments, {})
        self.bench = Bench(self.provisioning.policy(()))
        self.admission = self.bench.service.admission
        authorization = Authorization(Mode.STRICT, known=True)
        for name, its in attachments.items():
            authorization.grant(name, its)
        self.admission.use(authorization)
        settle(self.admission)
        self.switchover = Switchover(self.bench.service, self.provisioning, lambda: self.provisioning.policy(()))
        self.hv1 = self.bench.connect("hv1", "192.0.2.11")

    def change(self, vpns: Mapping[str, Targets], attachments: Mapping[str, Grants]) -> None:
        old = self.provisioning
        names = {*old.attachments, *attachments}
        changed = frozenset(name for name in names if old.attachments.get(name) != attachments.get(name))
        difference = Difference(frozenset({*old.vpns} ^ {*vpns}), changed)
        old.restore(vpns, attachments, {})
        self.switchover.differs(difference)


def test_an_address_that_moves_stays_announced() -> None:
    site = Site(BLUE, {"a": grants("blue", ONE), "z": grants("blue", TWO)})
    announce(site.hv1, "blue", (str(ONE), ""))
    announce(site.hv1, "blue", (str(TWO), ""))
    site.change(BLUE, {"a": grants("blue", TWO), "z": grants("blue", ONE)})
    turns = 0
    while site.switchover.pending:
        site.switchover.step(1)
        settle(site.admission)
        assert routes(site.bench, "blue") == [str(ONE), str(TWO)]
        turns += 1
    assert turns > 1 and site.admission.counters["withdrawn"] == 0
    site.hv1.pull()
    assert site.hv1.notices == []


def test_a_vpn_is_there_when_all_that_belongs_to_it_may_be_announced() -> None:
    site = Site(BLUE, {})
    site.hv1.subscribe("red")
    wanted = {f"vm-{number}": grants("red", Prefix.parse(f"10.1.2.{number}")) for number in range(9)}
    site.change(BOTH, wanted)
    while "red" not in site.bench.service.rib.tables:
        site.switchover.step(2)
    site.hv1.pull()
    assert site.hv1.notices == [Notice(NoticeKind.AVAILABLE, "red")]
    for name, its in wanted.items():
        for prefix in its.prefixes:
            announce(site.hv1, "red", (str(prefix), name))
    assert len(routes(site.bench, "red")) == len(wanted) and site.admission.counters["refused"] == 0
    while site.switchover.pending:
        site.switchover.step(2)
    assert len(routes(site.bench, "red")) == len(wanted)


def test_vpns_alone() -> None:
    site = Site(BLUE, {})
    site.switchover.step(10)
    assert not site.switchover.pending
    site.switchover.policy_differs()
    assert site.switchover.pending
    site.provisioning.restore(BOTH, {}, {})
    site.switchover.step(1)
    assert not site.switchover.pending and set(site.bench.service.rib.tables) == {"blue", "red"}


PREFIXES = [Prefix.parse(text) for text in ("10.1.1.1/32", "10.1.1.2/32", "10.1.1.0/24")]
TABLES = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(
        Grants, st.frozensets(st.sampled_from(["blue", "red"])), st.frozensets(st.sampled_from(PREFIXES), max_size=2)
    ).filter(lambda found: found != grants("")),
    max_size=3,
)
ITEMS = [(vpn, str(prefix), name) for vpn in BOTH for prefix, name in zip(PREFIXES, ("", "a", ""), strict=True)]


def judged(attachments: Mapping[str, Grants]) -> set[tuple[str, str, str]]:
    authorization = Authorization(Mode.STRICT, known=True)
    for name, its in attachments.items():
        authorization.grant(name, its)
    return {row for row in ITEMS if not authorization.judge(row[0], Prefix.parse(row[1]), row[2]).reason}


@given(TABLES, TABLES, TABLES, st.integers(0, 4))
def test_what_is_permitted_all_the_time_is_there_all_the_time(
    first: dict[str, Grants], second: dict[str, Grants], third: dict[str, Grants], steps: int
) -> None:
    """Also when the next change comes before the last one is through."""
    site = Site(BOTH, first)
    for vpn, prefix, name in ITEMS:
        announce(site.hv1, vpn, (prefix, name))
    always = judged(first) & judged(second) & judged(third)

    def step() -> None:
        site.switchover.step(1)
        settle(site.admission)
        for vpn, prefix, _ in always:
            assert prefix in routes(site.bench, vpn)

    site.change(BOTH, second)
    for _ in range(steps):
        step()
    site.change(BOTH, third)
    while site.switchover.pending:
        step()
    assert {row for row in ITEMS if row[1] in routes(site.bench, row[0])} == judged(third)
