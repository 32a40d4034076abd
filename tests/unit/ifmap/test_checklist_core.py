"""The checklist for a MAP server, point by point, bytes in and bytes out. (Over HTTPS: scenario tests.)"""

from __future__ import annotations

import re

import pytest

from ifmap.answers import EndSessionResult, NewSessionResult, PollResult, Received
from ifmap.errors import ErrorCode, IfmapError
from ifmap.filters import NOTHING, compile, of_names
from ifmap.requests_writer import write_request
from ifmap.service import ServiceSettings
from ifmap.values import (
    Delete,
    Lifetime,
    Notify,
    Poll,
    Publish,
    PurgePublisher,
    RenewSession,
    ResultKind,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Update,
)
from tests.unit.ifmap.map_harness import (
    D1,
    D2,
    D3,
    NAMESPACE,
    Bench,
    MapUser,
    ip_address,
    link,
    mac_address,
    multi,
    name,
    node,
    single,
)

SOAP = "http://www.w3.org/2003/05/soap-envelope"
BASE = "http://www.trustedcomputinggroup.org/2010/IFMAP/2"
META = "http://www.trustedcomputinggroup.org/2010/IFMAP-METADATA/2"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def envelope(operation: str, declarations: str = "") -> bytes:
    """A request as somebody's client wrote it."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="{SOAP}" xmlns:m="{BASE}" {declarations}>'
        f"<s:Body>{operation}</s:Body></s:Envelope>"
    ).encode()


def publish(user: MapUser, operations: str, declarations: str = f'xmlns:x="{NAMESPACE}"') -> bytes:
    return envelope(f'<m:publish session-id="{user.id}" {declarations}>{operations}</m:publish>')


# -- 1. envelope


def test_1_inner_elements_are_unqualified_and_the_declaration_is_there(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(link(D1, D2), single("state", "up"))
    user.subscribe("s", D1, 1)
    user.poll()
    user.ask(Search(user.id, SearchSpec(D1, 1)))
    user.refused(RenewSession("x"))
    bodies = [*bench.bodies[user.ssrc], *bench.bodies[user.arc]]
    assert len(bodies) == 6
    for body in bodies:
        text = body.decode()
        assert text.startswith("<?xml version=")
        # Only the response and what clients published are in a namespace; no default namespace hides in between.
        prefixes = set(re.findall(r"<(\w+):", text))
        inner = text.partition("<m:response")[2]
        assert prefixes <= {"s", "m", "x"} and 'xmlns="' not in inner
        assert not re.search(r"='", text)
    assert (
        f'session-id="{user.id}"' in bodies[0].decode()
        and f'ifmap-publisher-id="{user.publisher}"' in bodies[0].decode()
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<not xml",
        b"<html/>",
        envelope("<m:attachSession/>"),
        envelope("<newSession/>"),
        envelope("<m:newSession/><m:newSession/>"),
        envelope("<m:newSession/>").replace(SOAP.encode(), b"http://schemas.xmlsoap.org/soap/envelope/"),
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + envelope("<m:newSession/>").partition(b"\n")[2],
    ],
)
def test_1_what_cannot_be_read_is_answered_by_failure(bench: Bench, body: bytes) -> None:
    assert bench.refused(bench.connection(), "a", body).code is ErrorCode.FAILURE


def test_1_other_prefixes_and_a_qualified_inner_element_do_not_matter(bench: Bench) -> None:
    channel = bench.connection()
    body = f'<e:Envelope xmlns:e="{SOAP}"><e:Header/><e:Body><newSession xmlns="{BASE}"/></e:Body></e:Envelope>'
    result = bench.ask(channel, "a", body.encode())
    assert isinstance(result, NewSessionResult)
    body = (
        f'<e:Envelope xmlns:e="{SOAP}" xmlns:i="{BASE}"><e:Body><i:search session-id="{result.session_id}">'
        f'<ip-address value="192.0.2.1"/></i:search></e:Body></e:Envelope>'
    )
    bench.ask(channel, "a", body.encode())
    assert b'<ip-address value="192.0.2.1" type="IPv4"/>' in bench.bodies[channel][-1]


# -- 2. sessions: test_service_sessions has each row of the table; here, that every end answers the poll that waits


@pytest.mark.parametrize("cause", ["endSession", "newSession", "second poll", "rules"])
def test_2_every_end_answers_the_poll_that_waits_and_deletes_session_metadata(bench: Bench, cause: str) -> None:
    user, watcher = MapUser(bench, "a"), MapUser(bench, "b")
    watcher.subscribe("s", D1)
    watcher.poll()
    user.update(node(D1), single("state", "up"))
    watcher.poll()
    user.start_poll()
    match cause:
        case "endSession":
            user.end()
        case "newSession":
            MapUser(bench, "a")
        case "second poll":
            bench.refused(bench.connection(), "a", Poll(user.id))
        case "rules":
            bench.service.set_access({"b": bench.access["b"]})
            bench.commit()
    assert [type(answer) for answer in user.poll_answers()] == [EndSessionResult]
    assert watcher.poll() == [(ResultKind.DELETE, "s", {node(D1): ("state=up",)})]


# -- 3. publish


def test_3_all_or_nothing(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "old"))
    error = user.refused(
        Publish(
            user.id,
            (
                Delete(node(D1)),
                Update(node(D2), (single("state", "new"),)),
                Update(node(D2), (multi("state", "contradicts"),)),
            ),
        )
    )
    assert error.code is ErrorCode.INVALID_METADATA
    assert user.search(D1) == {node(D1): ("state=old",)}
    assert user.search(D2) == {node(D2): ()}


def test_3_single_value_replaces_across_publishers_and_multi_value_is_appended(bench: Bench) -> None:
    first, second = MapUser(bench, "a"), MapUser(bench, "b")
    first.update(node(D1), single("state", "up"), multi("seen", "x"))
    second.update(node(D1), single("state", "down"), multi("seen", "x"))
    assert first.search(D1) == {node(D1): ("seen=x", "seen=x", "state=down")}
    first.end()
    assert second.search(D1) == {node(D1): ("seen=x", "state=down")}


def test_3_cardinality_is_for_ever_and_that_of_standard_types_is_known(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state"))
    user.delete(node(D1))
    assert user.refused(Publish(user.id, (Update(node(D2), (multi("state"),)),))).code is ErrorCode.INVALID_METADATA
    for element in (
        f'<t:ip-mac xmlns:t="{META}" ifmap-cardinality="singleValue"/>',
        f'<t:device-ip xmlns:t="{META}" ifmap-cardinality="multiValue"/>',
        "<x:none/>",
        '<x:none ifmap-cardinality="several"/>',
        "",
    ):
        body = publish(user, f"<update><device><name>d1</name></device><metadata>{element}</metadata></update>")
        assert bench.refused(user.ssrc, "a", body).code is ErrorCode.INVALID_METADATA


def test_3_operational_attributes_are_the_servers(bench: Bench) -> None:
    user = MapUser(bench, "a")
    element = (
        '<x:state ifmap-publisher-id="forged" ifmap-timestamp="2001-01-01T00:00:00Z" ifmap-anything="1" kept="1" '
        'ifmap-cardinality="singleValue"><deep>a&amp;b</deep></x:state>'
    )
    body = publish(user, f"<update><device><name>d1</name></device><metadata>{element}</metadata></update>")
    assert isinstance(bench.ask(user.ssrc, "a", body), Received)
    user.ask(Search(user.id, SearchSpec(D1)))
    text = bench.bodies[user.ssrc][-1].decode()
    assert f'ifmap-publisher-id="{user.publisher}"' in text and 'ifmap-timestamp="2026-01-05T10:11:12+00:00"' in text
    assert 'kept="1"' in text and "<deep>a&amp;b</deep>" in text
    assert "forged" not in text and "2001-" not in text and "ifmap-anything" not in text


def test_3_update_and_delete_in_one_publish_cancel_out(bench: Bench) -> None:
    writer, reader = MapUser(bench, "a"), MapUser(bench, "b")
    writer.update(node(D1), single("state", "old"))
    reader.subscribe("s", D1)
    reader.poll()
    writer.publish(Update(node(D1), (single("state", "passing"),)), Delete(node(D1)))
    assert reader.poll() == [(ResultKind.DELETE, "s", {node(D1): ("state=old",)})]


def test_3_links_have_no_direction_and_a_delete_keeps_to_its_place(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(link(D1, D2), single("binding", "1"))
    user.update(link(D2, D1), single("binding", "2"))
    user.update(link(D1, D1), single("loop"))
    user.update(node(D1), single("state"))
    everything = {node(D1): ("state",), link(D1, D2): ("binding=2",), link(D1, D1): ("loop",), node(D2): ()}
    assert user.search(D1, 1) == everything
    user.delete(node(D1), NOTHING)
    assert user.search(D1, 1) == everything
    user.delete(node(D1))
    assert user.search(D1, 1) == {**everything, node(D1): ()}
    user.delete(link(D2, D1))
    assert user.search(D1, 1) == {node(D1): (), link(D1, D1): ("loop",)}
    user.delete(link(D2, D3))


def test_3_purge_deletes_whatever_the_lifetime(bench: Bench) -> None:
    user, other = MapUser(bench, "a"), MapUser(bench, "b")
    user.update(node(D1), multi("seen", "1"), lifetime=Lifetime.FOREVER)
    user.update(node(D1), multi("seen", "2"))
    other.update(node(D1), multi("seen", "3"))
    user.ask(PurgePublisher(user.id, user.publisher))
    assert other.search(D1) == {node(D1): ("seen=3",)}


# -- 4. search


def test_4_match_links_decides_what_is_followed_and_which_metadata_of_a_link_is_told(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(link(D1, D2), single("yes"), single("no"))
    user.update(link(D1, D3), single("no"))
    user.update(node(D2), single("other"))
    yes = of_names(name("yes"))
    assert user.search(D1, 1, match_links=yes) == {node(D1): (), link(D1, D2): ("yes",), node(D2): ("other",)}
    assert user.search(D1, 1, match_links=NOTHING) == {node(D1): ()}


def test_4_result_filter_keeps_what_matches_and_decides_nothing_else(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("yes"), single("no"))
    user.update(link(D1, D2), single("no"))
    kept = {node(D1): ("yes",), link(D1, D2): (), node(D2): ()}
    assert user.search(D1, 1, result_filter=of_names(name("yes"))) == kept
    assert user.search(D1, 1, result_filter=NOTHING) == {**kept, node(D1): ()}


def test_4_depth_terminal_types_and_what_is_listed(bench: Bench) -> None:
    user = MapUser(bench, "a")
    ip, mac = ip_address("192.0.2.7"), mac_address("02:00:5e:00:00:07")
    for edge in (link(D1, ip), link(D1, mac), link(ip, mac), link(mac, D2)):
        user.update(edge, single("joint"))
    assert set(user.search(D1)) == {node(D1)}
    assert set(user.search(D1, 1)) == {node(D1), link(D1, ip), link(D1, mac), node(ip), node(mac)}
    assert set(user.search(D1, 9, terminal_types=frozenset({"mac-address", "ip-address"}))) == set(user.search(D1, 1))
    assert user.search(D3, 5) == {node(D3): ()}


# -- 5. subscriptions


def test_5_search_result_first_even_if_bare_and_never_an_empty_poll_result(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.start_poll()
    user.subscribe("s", D1)
    assert user.polled() == [(ResultKind.SEARCH, "s", {node(D1): ()})]
    user.start_poll()
    user.publish(Delete(node(D1)))
    user.update(node(D2), single("elsewhere"))
    user.ask(RenewSession(user.id))
    user.unsubscribe("never")
    assert len(user.poll_answers()) == 1


def test_5_results_in_order_with_replacement_as_update_only(bench: Bench) -> None:
    writer, user = MapUser(bench, "a"), MapUser(bench, "b")
    user.subscribe("s", D1)
    writer.update(node(D1), single("state", "1"))
    writer.update(node(D1), single("state", "2"))
    writer.publish(Notify(node(D1), (single("state", "told"),)))
    writer.delete(node(D1))
    assert user.poll() == [
        (ResultKind.SEARCH, "s", {node(D1): ()}),
        (ResultKind.UPDATE, "s", {node(D1): ("state=1", "state=2")}),
        (ResultKind.NOTIFY, "s", {node(D1): ("state=told",)}),
        (ResultKind.DELETE, "s", {node(D1): ("state=2",)}),
    ]


def test_5_subgraphs_join_and_leave(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(link(D2, D3), single("joint"))
    user.update(node(D3), single("state", "far"))
    user.subscribe("s", D1, 2)
    user.poll()
    user.update(link(D1, D2), single("joint"))
    whole = {link(D1, D2): ("joint",), link(D2, D3): ("joint",), node(D3): ("state=far",)}
    assert user.poll() == [(ResultKind.UPDATE, "s", whole)]
    user.delete(link(D1, D2))
    assert user.poll() == [(ResultKind.DELETE, "s", whole)]


def test_5_a_subscription_in_the_place_of_another(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.subscribe("s", D1)
    user.update(node(D1), single("state"))
    user.subscribe("s", D2)
    user.subscribe("t", D3)
    user.unsubscribe("t")
    user.update(node(D1), single("state", "unseen"))
    assert user.poll() == [(ResultKind.SEARCH, "s", {node(D2): ()})]


# -- 6. limits


def test_6_search_results_too_big(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), multi("seen", "x" * 60_000))
    assert user.search(D1)
    user.update(node(D1), multi("seen", "x" * 60_000))
    error = user.refused(Search(user.id, SearchSpec(D1)))
    assert error.code is ErrorCode.SEARCH_RESULTS_TOO_BIG
    assert user.search(D1, max_size=200_000)


def test_6_max_size_is_cut_to_the_servers() -> None:
    user = MapUser(Bench(ServiceSettings(default_search_size=500, max_search_size=2_000)), "a")
    user.update(node(D1), multi("seen", "x" * 1_000))
    assert user.refused(Search(user.id, SearchSpec(D1))).code is ErrorCode.SEARCH_RESULTS_TOO_BIG
    assert user.search(D1, max_size=1_900)
    user.update(node(D1), multi("seen", "x" * 1_000))
    assert user.refused(Search(user.id, SearchSpec(D1, max_size=1 << 30))).code is ErrorCode.SEARCH_RESULTS_TOO_BIG


def test_6_a_subscription_too_big_goes_alone(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), multi("seen", "x" * 3_000))
    user.subscribe("wide", D1, max_size=1_000)
    user.subscribe("other", D2)
    user.start_poll()
    outcome = user.poll_answers()[-1]
    assert isinstance(outcome, PollResult)
    assert [(part.kind, part.name, part.code) for part in outcome.parts] == [
        (ResultKind.ERROR, "wide", ErrorCode.SEARCH_RESULTS_TOO_BIG),
        (ResultKind.SEARCH, "other", None),
    ]
    user.update(node(D1), single("state"))
    user.update(node(D2), single("state"))
    assert user.poll() == [(ResultKind.UPDATE, "other", {node(D2): ("state",)})]


def test_6_poll_results_too_big_drop_all_subscriptions_and_leave_the_session() -> None:
    bench = Bench()
    user = MapUser(bench, "a", max_poll_result_size=5_000)
    user.subscribe("s", D1)
    user.subscribe("t", D2)
    user.poll()
    user.update(node(D1), multi("seen", "x" * 6_000))
    user.update(node(D2), single("state"))
    user.start_poll()
    error = user.poll_answers()[-1]
    assert isinstance(error, IfmapError) and error.code is ErrorCode.POLL_RESULTS_TOO_BIG
    assert bench.service.figures().subscriptions == 0
    user.start_poll()
    assert len(user.poll_answers()) == 2
    user.subscribe("s", D2)
    assert user.polled() == [(ResultKind.SEARCH, "s", {node(D2): ("state",)})]


def test_6_a_waiting_poll_hears_of_poll_results_too_big_at_once() -> None:
    user = MapUser(Bench(), "a", max_poll_result_size=5_000)
    user.subscribe("s", D1)
    user.poll()
    user.start_poll()
    user.update(node(D1), multi("seen", "x" * 6_000))
    error = user.poll_answers()[-1]
    assert isinstance(error, IfmapError) and error.code is ErrorCode.POLL_RESULTS_TOO_BIG


# -- 7. identifiers


@pytest.mark.parametrize(
    ("identifier", "code"),
    [
        ('<ip-address value="192.0.2.07"/>', ErrorCode.INVALID_IDENTIFIER),
        ('<ip-address value="2001:db8::1" type="IPv6"/>', ErrorCode.INVALID_IDENTIFIER),
        ('<mac-address value="02:00:5E:00:00:07"/>', ErrorCode.INVALID_IDENTIFIER),
        ('<identity name="a" type="other"/>', ErrorCode.INVALID_IDENTIFIER),
        ('<identity name="a" type="nickname"/>', ErrorCode.INVALID_IDENTIFIER_TYPE),
    ],
)
def test_7_identifiers_that_are_not_canonical_are_refused(bench: Bench, identifier: str, code: ErrorCode) -> None:
    user = MapUser(bench, "a")
    metadata = '<metadata><x:state ifmap-cardinality="singleValue"/></metadata>'
    body = publish(user, f"<update>{identifier}{metadata}</update>")
    assert bench.refused(user.ssrc, "a", body).code is code
    search = envelope(f'<m:search session-id="{user.id}">{identifier}</m:search>')
    assert bench.refused(user.ssrc, "a", search).code is code


@pytest.mark.parametrize("strict", [True, False])
def test_7_extended_identifiers_strict_or_opaque(strict: bool) -> None:
    user = MapUser(Bench(ServiceSettings(strict=strict)), "a")
    identifier = '<identity name="contrail:vn:blue" type="other" other-type-definition="extended"/>'
    body = envelope(f'<m:search session-id="{user.id}">{identifier}</m:search>')
    outcome = user.bench.ask(user.ssrc, "a", body)
    assert isinstance(outcome, IfmapError) == strict


# -- 8. filters


def test_8_prefixes_are_those_in_scope_where_the_filter_stands(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "up"))
    start = "<device><name>d1</name></device>"
    envelopes = (
        envelope(
            f'<m:search session-id="{user.id}" xmlns:p="{NAMESPACE}" result-filter="p:state">{start}</m:search>',
            'xmlns:p="urn:wrong"',
        ),
        envelope(
            f'<m:search session-id="{user.id}" result-filter="p:state">{start}</m:search>', f'xmlns:p="{NAMESPACE}"'
        ),
    )
    for body in envelopes:
        bench.ask(user.ssrc, "a", body)
        assert b":state" in bench.bodies[user.ssrc][-1]
    body = envelope(f'<m:search session-id="{user.id}" result-filter="q:state">{start}</m:search>')
    assert bench.refused(user.ssrc, "a", body).code is ErrorCode.FAILURE


def test_8_a_bad_filter_fails_its_subscribe_and_its_publish(bench: Bench) -> None:
    user = MapUser(bench, "a")
    start = "<device><name>d1</name></device>"
    subscribe = envelope(
        f'<m:subscribe session-id="{user.id}"><update name="good">{start}</update>'
        f'<update name="bad" match-links="q:x">{start}</update></m:subscribe>'
    )
    assert bench.refused(user.ssrc, "a", subscribe).code is ErrorCode.FAILURE
    assert bench.service.figures().subscriptions == 0
    body = publish(user, f'<delete filter="x:a[">{start}</delete>')
    assert bench.refused(user.ssrc, "a", body).code is ErrorCode.FAILURE


def test_8_conditions_look_into_one_metadatum(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), multi("seen", "1"), multi("seen", "2"))
    text = f"x:seen[@ifmap-publisher-id='{user.publisher}' and text()='2']"
    user.delete(node(D1), compile(text, {"x": NAMESPACE}))
    assert user.search(D1) == {node(D1): ("seen=1",)}


# -- 9. what lasts


def test_9_records_hold_all_that_has_to_last(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "up"), lifetime=Lifetime.FOREVER)
    user.update(node(D1), single("passing"))
    user.end()
    publishers = [record.publisher for record in bench.records if record.publisher is not None]
    assert [(publisher.client, publisher.publisher_id) for publisher in publishers] == [("a", user.publisher)]
    types = [found for record in bench.records for found in record.delta.types]
    assert types == [(name("state"), True), (name("passing"), True)]
    lasting = [
        (change.edge, metadata.publisher, metadata.session)
        for record in bench.records
        for change in record.delta.changes
        for metadata in change.added
        if not metadata.session
    ]
    assert lasting == [(node(D1), user.publisher, "")]
    assert [record.lasting for record in bench.records] == [True, True, True, False]


# -- 10. what other clients send


def test_10_a_session_as_a_contrail_control_node_has_it() -> None:
    """Whole-graph subscription from one root, opaque extended identifiers, no match-links, no max-size."""
    bench = Bench(ServiceSettings(strict=False, default_search_size=50_000_000, default_poll_size=50_000_000))
    writer, reader = MapUser(bench, "a"), MapUser(bench, "b")
    contrail = 'xmlns:contrail="http://www.contrailsystems.com/vnc_cfg.xsd"'
    identity = '<identity name="contrail:{}" type="other" other-type-definition="extended"/>'
    for number in range(3):
        ends = identity.format("config-root:root") + identity.format(f"virtual-network:net{number}")
        metadata = (
            '<metadata><contrail:root-net ifmap-cardinality="singleValue"><a>&lt;</a></contrail:root-net></metadata>'
        )
        body = publish(writer, f'<update lifetime="forever">{ends}{metadata}</update>', contrail)
        assert isinstance(bench.ask(writer.ssrc, "a", body), Received)
    start = identity.format("config-root:root")
    subscribe = envelope(
        f'<m:subscribe session-id="{reader.id}"><update name="root" max-depth="255">{start}</update></m:subscribe>'
    )
    assert isinstance(bench.ask(reader.ssrc, "b", subscribe), Received)
    ((kind, label, items),) = reader.poll()
    assert (kind, label, len(items)) == (ResultKind.SEARCH, "root", 7)
    reader.start_poll()
    ends = identity.format("config-root:root") + identity.format("virtual-network:net1")
    body = publish(writer, f'<delete filter="contrail:root-net">{ends}</delete>', contrail)
    assert isinstance(bench.ask(writer.ssrc, "a", body), Received)
    ((kind, label, items),) = reader.polled()
    assert (kind, label, len(items)) == (ResultKind.DELETE, "root", 1)
    assert b"errorResult" not in b"".join(bench.bodies[reader.arc])


def test_10_utf_16_and_what_our_own_client_writes(bench: Bench) -> None:
    user = MapUser(bench, "a")
    body = write_request(Subscribe(user.id, (Subscription("s", SearchSpec(D1)),)))
    text = body.decode().partition("?>")[2]
    assert isinstance(
        bench.ask(user.ssrc, "a", ('<?xml version="1.0" encoding="UTF-16"?>' + text).encode("utf-16")), Received
    )
    assert user.poll() == [(ResultKind.SEARCH, "s", {node(D1): ()})]
