"""Items under a map: refused, withheld, admitted, withdrawn; what hosts are told; a random history against a model."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission import Admission, Decision
from gateway.authorization import Authorization, Mode
from gateway.grants import NO_GRANTS, Grants
from gateway.policy import Policy
from gateway.service import Limits
from tests.unit.gateway.harness import MESH, Bench, Peer, refusal
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp.entry import Entry, encode
from xmpp.notices import Notice, NoticeKind

WEB = Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.1.1/32")}))
DB = Grants(frozenset({"blue", "red"}), frozenset({Prefix.parse("10.1.1.2/32")}))
NOT_BOUND = "attachment web is not bound to VPN blue"


def site(mode: Mode = Mode.STRICT, limits: Limits | None = None, **attachments: Grants) -> Bench:
    bench = Bench(limits=limits)
    authorization = Authorization(mode, known=True)
    for name, grants in attachments.items():
        authorization.grant(name, grants)
    bench.service.admission.use(authorization)
    settle(bench.service.admission)
    return bench


def settle(admission: Admission) -> None:
    while admission.step(1):
        pass


def regrant(bench: Bench, **attachments: Grants) -> None:
    bench.service.admission.regrant(attachments.items())
    bench.service.admission.release(attachments)
    settle(bench.service.admission)


def announce(peer: Peer, node: str, *items: tuple[str, str], label: int = 100) -> Element:
    """Publish (prefix, attachment) each in one request; the answer."""
    hop = NextHop(parse_address(peer.address), label)
    return peer.publish(
        node,
        [
            (item(peer, prefix), encode(Entry(Prefix.parse(prefix), Path((hop,)), attachment)))
            for prefix, attachment in items
        ],
    )


def item(peer: Peer, prefix: str) -> str:
    return f"{peer.address}:1:{prefix}"


def routes(bench: Bench, node: str) -> list[str]:
    return sorted(map(str, bench.service.rib.tables[node]))


def withheld(bench: Bench) -> dict[tuple[str, str], str]:
    return {ref: one.reason for ref, one in bench.service.admission.withheld.items()}


def test_what_is_permitted_goes_in_and_the_rest_is_refused_with_the_reason() -> None:
    bench = site(web=WEB, db=DB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    assert announce(hv1, "blue", ("10.1.1.1/32", "web")).get("type") == "result"
    assert announce(hv1, "red", ("10.1.1.2/32", "")).get("type") == "result"
    condition, app, text = refusal(announce(hv1, "red", ("10.1.1.1/32", "web")))
    own = item(hv1, "10.1.1.1/32")
    assert (condition, app, text) == ("forbidden", "", f"item {own}: attachment web is not bound to VPN red")
    assert routes(bench, "blue") == ["10.1.1.1/32"] and routes(bench, "red") == ["10.1.1.2/32"]
    assert withheld(bench) == {("red", own): "attachment web is not bound to VPN red"}
    assert bench.service.admission.counters == {"refused": 1}
    [noted] = bench.service.take_refusals()
    assert (noted.host, noted.vpn, noted.request) == ("hv1", "red", "publish") and "attachment web" in noted.reason
    # Asked again and again, it is refused and counted, and fills no log.
    assert refusal(announce(hv1, "red", ("10.1.1.1/32", "web")))[0] == "forbidden"
    assert bench.service.take_refusals() == []
    assert bench.service.counters["refused/forbidden"] == 2 and bench.service.admission.counters["refused"] == 2


def test_a_request_is_taken_as_a_whole_or_not_at_all() -> None:
    bench = site(web=WEB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    batch = [("10.1.1.1/32", "web"), ("10.1.1.7/32", "web"), ("10.1.1.8/32", "web")]
    text = refusal(announce(hv1, "blue", *batch))[2]
    assert "10.1.1.7/32 is no address of attachment web" in text and "1 more" in text
    assert routes(bench, "blue") == []
    assert set(withheld(bench)) == {("blue", item(hv1, "10.1.1.7/32")), ("blue", item(hv1, "10.1.1.8/32"))}


def test_revoking_one_binding_takes_out_that_attachment_and_no_other() -> None:
    bench = site(web=WEB, db=DB)
    hv1, hv2 = bench.connect("hv1", "192.0.2.11"), bench.connect("hv2", "192.0.2.12")
    hv2.subscribe("blue")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    announce(hv1, "blue", ("10.1.1.2/32", "db"))
    regrant(bench, web=Grants(frozenset(), WEB.prefixes))
    assert bench.service.take_pending() == [hv1.session, hv2.session]
    hv1.pull()
    hv2.pull()
    assert list(hv2.routes["blue"]) == ["10.1.1.2/32"]
    own = item(hv1, "10.1.1.1/32")
    assert hv1.notices == [Notice(NoticeKind.WITHHELD, "blue", (own,), NOT_BOUND)] and hv2.notices == []
    assert bench.service.admission.take_decisions() == [Decision("hv1", "blue", own, "web", NOT_BOUND)]
    held = bench.service.admission.withheld.get(("blue", own))
    assert held is not None and held.revoked

    regrant(bench, web=WEB)
    hv1.pull()
    hv2.pull()
    assert set(hv2.routes["blue"]) == {"10.1.1.1/32", "10.1.1.2/32"}
    assert hv1.notices[1:] == [Notice(NoticeKind.ADMITTED, "blue", (own,))]
    assert bench.service.admission.counters == {"withdrawn": 1, "admitted": 1}
    assert bench.service.admission.take_decisions() == [Decision("hv1", "blue", own, "web", "")]
    # It belongs to its session as if it had just been published.
    bench.disconnect(hv1)
    assert bench.service.rib.is_stale("blue", "hv1", own)


def test_an_address_that_is_taken_away_takes_out_what_was_announced_by_it() -> None:
    net = Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.0.0/16"), Prefix.parse("10.1.1.1/32")}))
    bench = site(web=net)
    hv1 = bench.connect("hv1", "192.0.2.11")
    for prefix, attachment in (("10.1.1.1/32", "web"), ("10.1.2.0/24", "web"), ("10.1.3.0/24", "")):
        announce(hv1, "blue", (prefix, attachment))
    regrant(bench, web=WEB)
    assert routes(bench, "blue") == ["10.1.1.1/32"]
    assert withheld(bench) == {
        ("blue", item(hv1, "10.1.2.0/24")): "10.1.2.0/24 is no address of attachment web",
        ("blue", item(hv1, "10.1.3.0/24")): ("10.1.3.0/24 is no address of an attachment that is bound to VPN blue"),
    }
    regrant(bench, other=Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.3.0/24")})))
    assert routes(bench, "blue") == ["10.1.1.1/32", "10.1.3.0/24"], "whoever has the address"


def test_only_items_concerned_are_looked_at() -> None:
    bench = site(web=WEB, db=DB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    announce(hv1, "blue", ("10.1.1.2/32", ""))
    admission = bench.service.admission
    admission.regrant([("other", Grants(frozenset({"red", "blue"}), frozenset({Prefix.parse("10.9.0.0/16")})))])
    assert admission.due == 0
    admission.regrant([("db", NO_GRANTS)])
    assert admission.due == 0, "it holds what it has lost, until others have got theirs"
    admission.release(["db"])
    assert admission.due == 1


def test_a_new_reason_is_told() -> None:
    bench = site()
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    regrant(bench, web=Grants(frozenset({"blue"}), frozenset()))
    hv1.pull()
    reason = "10.1.1.1/32 is no address of attachment web"
    assert hv1.notices == [Notice(NoticeKind.WITHHELD, "blue", (item(hv1, "10.1.1.1/32"),), reason)]
    assert bench.service.admission.take_decisions() == [], "nothing was done to it"


def test_an_answer_is_newer_than_a_notice_that_waits() -> None:
    bench = site(web=WEB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    regrant(bench, web=NO_GRANTS)
    regrant(bench, web=WEB)
    regrant(bench, web=NO_GRANTS)
    assert refusal(announce(hv1, "blue", ("10.1.1.1/32", "web"), label=200))[0] == "forbidden"
    assert hv1.notices == []
    regrant(bench, web=WEB)
    assert announce(hv1, "blue", ("10.1.1.1/32", "web"), label=201).get("type") == "result"
    assert hv1.notices == [] and withheld(bench) == {}
    regrant(bench, web=NO_GRANTS)
    assert hv1.retract("blue", item(hv1, "10.1.1.1/32")).get("type") == "result"
    assert hv1.notices == [] and withheld(bench) == {}
    regrant(bench, web=WEB)
    assert routes(bench, "blue") == []


def test_what_replaces_an_item_and_is_refused_takes_the_item_along() -> None:
    bench = site(web=WEB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    refused = announce(hv1, "blue", ("10.1.1.1/32", "intruder"), label=200)
    assert refusal(refused)[0] == "forbidden"
    assert routes(bench, "blue") == []
    held = bench.service.admission.withheld.get(("blue", item(hv1, "10.1.1.1/32")))
    assert held is not None and held.attachment == "intruder" and held.revoked
    regrant(bench, intruder=WEB)
    [hop] = bench.service.rib.tables["blue"].get(Prefix.parse("10.1.1.1/32")).next_hops  # type: ignore[union-attr]
    assert hop.label == 200


def test_the_end_of_a_session_forgets_what_it_published_and_may_not() -> None:
    bench = site(web=WEB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    announce(hv1, "blue", ("10.1.1.7/32", "web"))
    bench.disconnect(hv1)
    assert withheld(bench) == {} and routes(bench, "blue") == ["10.1.1.1/32"]
    # Stale, and not permitted any more: nobody is there for whom to keep it.
    regrant(bench, web=NO_GRANTS)
    assert withheld(bench) == {} and routes(bench, "blue") == []
    regrant(bench, web=WEB)
    assert routes(bench, "blue") == []
    assert announce(bench.connect("hv1", "192.0.2.11"), "blue", ("10.1.1.1/32", "web")).get("type") == "result"


def test_withheld_items_count_and_have_an_owner() -> None:
    bench = site(limits=Limits(items=2), web=WEB)
    hv1, hv2 = bench.connect("hv1", "192.0.2.11"), bench.connect("hv2", "192.0.2.12")
    hop = NextHop(parse_address("192.0.2.11"), 100)
    free = [("free", encode(Entry(Prefix.parse("10.1.1.7/32"), Path((hop,)), "web")))]
    assert refusal(hv1.publish("blue", free))[0] == "forbidden"
    theirs = [("free", free[0][1].replace(b"192.0.2.11", b"192.0.2.12"))]
    assert "another host" in refusal(hv2.publish("blue", theirs))[2]
    assert "another host" in refusal(hv2.retract("blue", "free"))[2]
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    assert refusal(announce(hv1, "blue", ("10.1.1.8/32", "web")))[0] == "policy-violation"
    assert refusal(hv1.publish("blue", free))[0] == "forbidden", "the same again is no more"


def test_a_vpn_that_goes_takes_what_is_withheld_in_it() -> None:
    bench = site(web=WEB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "red", ("10.1.1.7/32", "web"))
    bench.service.reload(Policy([MESH.vpns["blue"]]))
    hv1.pull()
    assert hv1.notices == [Notice(NoticeKind.DELETED, "red")] and withheld(bench) == {}
    bench.service.reload(MESH)
    regrant(bench, web=Grants(frozenset({"red"}), frozenset({Prefix.parse("10.1.1.7/32")})))
    assert routes(bench, "red") == []


def test_nothing_is_lost_while_nothing_is_known() -> None:
    bench = Bench()
    bench.service.admission.use(Authorization(Mode.STRICT))
    hv1 = bench.connect("hv1", "192.0.2.11")
    assert "no MAP server" in refusal(announce(hv1, "blue", ("10.1.1.1/32", "web")))[2]
    bench.service.admission.regrant([("web", WEB)])
    settle(bench.service.admission)
    assert routes(bench, "blue") == []
    bench.service.admission.learnt()
    settle(bench.service.admission)
    assert routes(bench, "blue") == ["10.1.1.1/32"]


def test_a_map_that_is_configured_or_removed_judges_everything_again() -> None:
    bench = Bench()
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    announce(hv1, "blue", ("10.1.1.7/32", ""))
    assert bench.service.rib.moves is None, "without a map nothing is followed"
    authorization = Authorization(Mode.STRICT, known=True)
    authorization.grant("web", WEB)
    bench.service.admission.use(authorization)
    settle(bench.service.admission)
    assert routes(bench, "blue") == ["10.1.1.1/32"]
    regrant(bench, web=NO_GRANTS)
    assert routes(bench, "blue") == []
    bench.service.admission.use(None)
    settle(bench.service.admission)
    assert routes(bench, "blue") == ["10.1.1.1/32", "10.1.1.7/32"]
    assert withheld(bench) == {} and bench.service.rib.moves is None


def test_an_instance_id_given_by_subscription_counts_when_an_item_is_admitted() -> None:
    bench = site()
    hv1 = bench.connect("hv1", "192.0.2.11")
    hop = NextHop(parse_address("192.0.2.11"), 100)
    hv1.publish("blue", [("free", encode(Entry(Prefix.parse("10.1.1.1/32"), Path((hop,)), "web")))])
    hv1.subscribe("blue", "<options><instance-id>7</instance-id></options>")
    regrant(bench, web=WEB)
    stored = bench.service.rib.item("blue", "free")
    assert stored is not None and (stored.instance, stored.attachment) == (7, "web")


prefixes = st.sampled_from(["10.1.1.1/32", "10.1.1.2/32", "10.1.0.0/16"])
attachments = st.sampled_from(["", "web", "db"])
nodes = st.sampled_from(["blue", "red"])
some_grants = st.builds(
    Grants,
    st.frozensets(nodes),
    st.frozensets(prefixes.map(Prefix.parse), max_size=2),
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), nodes, prefixes, attachments),
        st.tuples(st.just("retract"), nodes, prefixes),
        st.tuples(st.just("grant"), attachments.filter(bool), some_grants),
        st.tuples(st.just("reconnect")),
        st.tuples(st.just("mode"), st.sampled_from([*Mode, None])),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(actions)
def test_items_are_in_the_tables_exactly_when_they_may(history: list[tuple[object, ...]]) -> None:
    """And the host, by answers and notices, knows which of its items are in."""
    bench = site()
    admission = bench.service.admission
    hv1 = bench.connect("hv1", "192.0.2.11")
    said: dict[tuple[str, str], str] = {}
    told: dict[tuple[str, str], bool] = {}
    granted: dict[str, Grants] = {}
    for action in history:
        match action:
            case ("publish", str(node), str(prefix), str(attachment)):
                answer = announce(hv1, node, (prefix, attachment))
                said[node, item(hv1, prefix)] = attachment
                told[node, item(hv1, prefix)] = answer.get("type") == "result"
            case ("retract", str(node), str(prefix)):
                ref = (node, item(hv1, prefix))
                answer = hv1.retract(*ref)
                assert (answer.get("type") == "result") == (ref in said)
                said.pop(ref, None)
                told.pop(ref, None)
            case ("grant", str(attachment), Grants() as grants):
                granted[attachment] = grants
                regrant(bench, **{attachment: grants})
            case ("reconnect",):
                bench.disconnect(hv1)
                bench.now += 61
                bench.service.expire(bench.now)
                hv1 = bench.connect("hv1", "192.0.2.11")
                said.clear()
                told.clear()
            case ("mode", mode):
                admission.use(Authorization(mode, known=True) if isinstance(mode, Mode) else None)
                admission.regrant(granted.items())
                settle(admission)
        hv1.notices.clear()
        hv1.pull()
        for notice in hv1.notices:
            for item_id in notice.ids:
                told[notice.node, item_id] = notice.kind is NoticeKind.ADMITTED
        judge = admission.authorization
        for (node, item_id), attachment in said.items():
            of = Prefix.parse(item_id.rpartition(":")[2])
            permitted = judge is None or not judge.judge(node, of, attachment).reason
            assert (bench.service.rib.item(node, item_id) is not None) == permitted
            assert (admission.withheld.get((node, item_id)) is None) == permitted
            assert told[node, item_id] == permitted
        assert bench.service.rib.count("hv1") + admission.withheld.count("hv1") == len(said)
