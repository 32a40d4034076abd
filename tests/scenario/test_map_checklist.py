"""What real clients need of a MAP server, point by point, over HTTPS from plain sockets."""

from __future__ import annotations

import re

import pytest

from tests.scenario.conftest import MakeClient, MakeMap
from tests.scenario.map_process import MapProcess
from tests.scenario.raw_map import (
    BASE,
    Answer,
    RawClient,
    basic,
    device,
    envelope,
    multi,
    single,
    update,
)

TIMESTAMP = re.compile(r'ifmap-timestamp="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)"')
ADDRESS = '<ip-address value="{}" type="IPv4"/>'


def kinds(answer: Answer) -> list[tuple[str, str]]:
    """The children of a pollResult: kind and name of the subscription."""
    return re.findall(r'<(\w+Result)(?: errorCode="\w+")? name="([^"]*)"', answer.text)


def texts(answer: Answer) -> list[str]:
    """Contents of all metadata of ours in an answer, in their order."""
    return re.findall(r"<x:\w+[^>]*>([^<]*)</x:\w+>", answer.text)


# -- 1. envelope and HTTP


@pytest.mark.parametrize(
    "head",
    [
        "POST / HTTP/1.1\r\n",
        "POST /any/path?with=query HTTP/1.1\r\nHost: elsewhere\r\n",
        'POST / HTTP/1.1\r\nContent-Type: text/xml; charset="UTF-8"\r\nSOAPAction: "publish"\r\n',
        "POST / HTTP/1.1\r\nContent-Type: application/soap+xml\r\n",
        "POST / HTTP/1.1\r\nContent-Type: image/png\r\nSOAPAction: nonsense\r\n",
        "POST http://map/ HTTP/1.1\r\nHost:\r\n",
    ],
)
def test_1_any_head_is_taken(shared_map: MapProcess, map_client: MakeClient, head: str) -> None:
    raw = map_client(shared_map, begin=False)
    body = envelope("<m:newSession/>")
    raw.ssrc.send(f"{head}{basic(raw.user)}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = raw.ssrc.answer()
    assert answer.status == 200
    assert b"\r\nContent-Length: " in answer.head
    assert b"\r\nContent-Type: application/soap+xml\r\n" in answer.head
    assert b"chunked" not in answer.head.lower()
    assert answer.text.startswith('<?xml version="1.0"')
    assert f'="{BASE}"' in answer.text
    # Inside the response nothing has a prefix.
    assert re.search(r'<newSessionResult session-id="[^"]+" ifmap-publisher-id="[^"]+"/>', answer.text)


def test_1_errors_have_status_200(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    unreadable = [b"", b"no xml", b"<a/>", envelope(""), envelope("<m:attachSession/>"), envelope("<m:poll/>")]
    wrong_soap = envelope("<m:newSession/>").replace(b"2003/05/soap-envelope", b"2001/06/soap-envelope")
    for body in [*unreadable, wrong_soap]:
        raw.ssrc.post(raw.user, body)
        answer = raw.ssrc.answer()
        assert (answer.status, answer.error) == (200, "Failure"), body
        assert "<errorString>" in answer.text
    # The session has survived all that.
    assert "<renewSessionResult/>" in raw.ask("renewSession").text


# -- 2. sessions (misuse: test_map_misuse.py)


def test_2_every_kind_of_end_answers_the_poll(make_map: MakeMap, map_client: MakeClient) -> None:
    server = make_map(settings="session_timeout = 0.2")

    def waiting() -> RawClient:
        raw = map_client(server, "c0")
        raw.begin_poll()
        server.wait_polling(raw.user)
        return raw

    asked = waiting()
    assert "<endSessionResult/>" in asked.ask("endSession").text
    assert "<endSessionResult/>" in asked.arc.answer().text
    assert asked.ask("renewSession").error == "InvalidSessionID"

    replaced = waiting()
    successor = map_client(server, "c0")
    assert "<endSessionResult/>" in replaced.arc.answer().text
    assert replaced.ask("renewSession").error == "InvalidSessionID"
    assert successor.session != replaced.session

    idle = map_client(server, "c0")
    assert "<renewSessionResult/>" in idle.ask("renewSession").text
    idle.ssrc.close()
    server.wait_log("c0", "no connection for 0.2 s")
    again = idle.connect()
    assert again.ask(idle.user, idle.operation("renewSession")).error == "InvalidSessionID"

    stopped = waiting()
    stopped.ask("renewSession")
    assert server.stop() == 0
    assert "<endSessionResult/>" in stopped.arc.answer().text


# -- 3. publish


def test_3_all_or_nothing(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    good = update(device("atomic"), single("1"))
    for bad, error in [
        (update(device("atomic"), "<x:bare/>"), "InvalidMetadata"),
        (update('<ip-address value="1.2.3"/>', single("2")), "InvalidIdentifier"),
        (update("<nonsense/>", single("2")), "InvalidIdentifierType"),
        (f'<delete filter="undeclared:x">{device("atomic")}</delete>', "Failure"),
        (update(device("atomic"), single("2") + multi("3", "state")), "InvalidMetadata"),
        ("<x/>", "Failure"),
    ]:
        assert raw.publish(good + bad).error == error, bad
        assert texts(raw.search(device("atomic"))) == []
    assert "<publishReceived/>" in raw.publish(good).text
    assert texts(raw.search(device("atomic"))) == ["1"]


def test_3_values_of_two_publishers(shared_map: MapProcess, map_client: MakeClient) -> None:
    ann, bob = map_client(shared_map), map_client(shared_map)
    here = device("two publishers")
    ann.publish(update(here, single("ann") + multi("same")))
    bob.publish(update(here, single("bob") + multi("same")))
    found = ann.search(here)
    assert sorted(texts(found)) == ["bob", "same", "same"]
    assert f'ifmap-publisher-id="{bob.publisher}"' in found.text
    assert TIMESTAMP.search(found.text)
    # A type keeps its cardinality; the standard's types have theirs from the beginning.
    assert ann.publish(update(here, single("x", "event"))).error == "InvalidMetadata"
    standard = '<meta:ip-mac ifmap-cardinality="singleValue"/>'
    assert ann.publish(update(here, standard)).error == "InvalidMetadata"


def test_3_what_a_client_may_not_say_itself(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    forged = (
        '<x:state ifmap-cardinality="singleValue" ifmap-publisher-id="forged" ifmap-timestamp="forged" k="kept"'
        ' ifmap-other="forged">v</x:state>'
    )
    assert raw.publish(update(device("forged"), forged)).error == ""
    found = raw.search(device("forged")).text
    assert "forged" not in found.replace("<name>forged</name>", "")
    assert 'k="kept"' in found


def test_3_update_and_delete_in_one_publish(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    here = device("transient")
    raw.publish(update(here, single("old")))
    raw.subscribe("s", here)
    assert texts(raw.poll()) == ["old"]
    raw.publish(update(here, single("new")) + f'<delete filter="x:state">{here}</delete>')
    answer = raw.poll()
    assert (kinds(answer), texts(answer)) == ([("deleteResult", "s")], ["old"])
    assert texts(raw.search(here)) == []


# -- 4. search


def test_4_search(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    hub, near, far, beside = (device(f"search-{name}") for name in ("hub", "near", "far", "beside"))
    raw.publish(
        update(hub, single("hub") + multi("extra", "other"))
        + update(hub + near, single("first") + multi("unmatched"))
        + update(near + far, single("second"))
        + update(far, single("far"))
        + update(hub + beside, multi("aside"))
    )
    assert texts(raw.search(hub)) == ["hub", "extra"]
    both = raw.search(hub, ' max-depth="2" match-links="x:state"')
    assert sorted(texts(both)) == ["extra", "far", "first", "hub", "second"]
    kept = raw.search(hub, ' max-depth="2" match-links="x:state" result-filter="x:other"')
    assert texts(kept) == ["extra"]
    assert kept.text.count("<resultItem>") == 5
    assert sorted(texts(raw.search(hub, ' max-depth="1"'))) == ["aside", "extra", "first", "hub", "unmatched"]
    assert texts(raw.search(hub, ' max-depth="9" match-links=""')) == ["hub", "extra"]
    assert texts(raw.search(hub, ' max-depth="9" terminal-identifier-type="device"')) == ["hub", "extra"]
    nobody = raw.search(device("nobody ever named"))
    assert nobody.text.count("<resultItem>") == 1 and "<metadata" not in nobody.text


# -- 5. subscriptions


def test_5_subscriptions_tell_differences(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    hub, near, far = (device(f"sub-{name}") for name in ("hub", "near", "far"))
    raw.publish(update(near + far, single("beyond")) + update(far, single("far")))
    raw.subscribe("s", hub, ' max-depth="9" match-links="x:state"')
    first = raw.poll()
    assert kinds(first) == [("searchResult", "s")], "even if there is nothing but the start"
    assert first.text.count("<resultItem>") == 1

    raw.publish(update(hub + near, single("bridge")))
    joined = raw.poll()
    assert kinds(joined) == [("updateResult", "s")]
    assert sorted(texts(joined)) == ["beyond", "bridge", "far"]

    raw.publish(update(hub + near, single("new bridge")))
    replaced = raw.poll()
    assert (kinds(replaced), texts(replaced)) == ([("updateResult", "s")], ["new bridge"])

    raw.publish(f"<notify>{hub}<metadata>{multi('seen')}</metadata></notify>")
    told = raw.poll()
    assert (kinds(told), texts(told)) == ([("notifyResult", "s")], ["seen"])

    raw.publish(update(hub, multi("1")))
    raw.publish(f'<delete filter="x:event">{hub}</delete>')
    both = raw.poll()
    assert kinds(both) == [("updateResult", "s"), ("deleteResult", "s")], "changes between two polls, in their order"

    raw.publish(f"<delete>{hub}{near}</delete>")
    gone = raw.poll()
    assert kinds(gone) == [("deleteResult", "s")]
    assert sorted(texts(gone)) == ["beyond", "far", "new bridge"]


def test_5_a_poll_waits_until_there_is_something(shared_map: MapProcess, map_client: MakeClient) -> None:
    ann, bob = map_client(shared_map), map_client(shared_map)
    here = device("patience")
    ann.subscribe("s", here)
    ann.poll()
    ann.begin_poll()
    # What doesn't concern the subscription doesn't wake it; then something does.
    bob.publish(update(device("elsewhere"), multi("1")))
    bob.publish(update(here, multi("2")))
    answer = ann.arc.answer()
    assert (kinds(answer), texts(answer)) == ([("updateResult", "s")], ["2"])


# -- 6. limits


def test_6_sizes(make_map: MakeMap, map_client: MakeClient) -> None:
    limits = "max_search_size = 4000\ndefault_search_size = 2000\nmax_poll_size = 8000\ndefault_poll_size = 8000"
    server = make_map(settings=limits)
    raw = map_client(server, "c0", begin=False)
    assert raw.begin(' max-poll-result-size="99000000"').attribute("max-poll-result-size") == "8000"
    assert "max-poll-result-size" not in raw.begin().text
    here = device("large")
    raw.publish(update(here, multi("x" * 2500)))
    assert raw.search(here).error == "SearchResultsTooBig"
    assert raw.search(here, ' max-size="4000"').error == ""
    raw.publish(update(here, multi("x" * 2500)))
    assert raw.search(here, ' max-size="99000000"').error == "SearchResultsTooBig"

    raw.subscribe("wide", here)
    raw.subscribe("fits", device("small"))
    answer = raw.poll()
    assert sorted(kinds(answer)) == [("errorResult", "wide"), ("searchResult", "fits")]
    assert answer.attribute("errorCode") == "SearchResultsTooBig"

    raw.subscribe("flood", device("flood"), ' max-size="4000"')
    raw.poll()
    for number in range(4):
        raw.publish(update(device("flood"), single(str(number) * 2500)))
    assert raw.poll().error == "PollResultsTooBig"
    assert raw.ask("renewSession").error == "", "the session lives"
    raw.subscribe("again", device("small"))
    assert kinds(raw.poll()) == [("searchResult", "again")], "and all subscriptions are gone"


# -- 7. identifiers

EXTENDED = (
    "&amp;lt;site xmlns=&amp;quot;urn:example:x&amp;quot; administrative-domain=&amp;quot;&amp;quot; {}&amp;gt;"
    "&amp;lt;/site&amp;gt;"
)
IDENTITY = '<identity type="other" other-type-definition="extended" name="{}"/>'
COLON_JOINED = IDENTITY.format("contrail:config-root:root")


@pytest.mark.parametrize(
    "identifier",
    [
        ADDRESS.format("192.0.2.07"),
        '<ip-address value="fe80::1" type="IPv6"/>',
        '<mac-address value="02:00:5E:00:00:07"/>',
        "<device><name/></device>",
        '<identity name="x" type="trusted-platform-module"/>',
        '<identity name="x" type="other"/>',
        COLON_JOINED,
        IDENTITY.format("&lt;site xmlns=&quot;urn:example:x&quot; administrative-domain=&quot;&quot;&gt;&lt;/site&gt;"),
    ],
)
def test_7_what_is_not_canonical_is_refused(shared_map: MapProcess, map_client: MakeClient, identifier: str) -> None:
    raw = map_client(shared_map)
    assert raw.publish(update(identifier, single("1"))).error in ("InvalidIdentifier", "InvalidIdentifierType")


def test_7_identifiers(shared_map: MapProcess, map_client: MakeClient, make_map: MakeMap) -> None:
    raw = map_client(shared_map)
    site = IDENTITY.format(EXTENDED.format("id=&amp;quot;s1&amp;quot;"))
    for identifier in (
        ADDRESS.format("192.0.2.7"),
        '<ip-address value="2001:db8:0:0:0:0:0:1" type="IPv6"/>',
        '<mac-address value="02:00:5e:00:00:07"/>',
        '<access-request name="ar" administrative-domain="d"/>',
        '<identity name="bob" type="username"/>',
        site,
    ):
        assert raw.publish(update(identifier, single("here"))).error == "", identifier
        assert texts(raw.search(identifier)) == ["here"]
    # The type of an address may be left out; both ends of a link have no order.
    raw.publish(update('<ip-address value="192.0.2.8"/>' + site, single("link")))
    assert texts(raw.search(ADDRESS.format("192.0.2.8"), ' max-depth="1" result-filter="x:state"')) == ["link", "here"]
    opaque = map_client(make_map(settings='identifiers = "opaque"'), "c0")
    assert opaque.publish(update(COLON_JOINED, single("root"))).error == ""
    assert texts(opaque.search(COLON_JOINED)) == ["root"]


# -- 8. filters


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ("x:state or x:none", ["s"]),
        ("p:state", ["s"]),
        ("x:event[@k='1']", ["e1"]),
        ("x:event[not(@k='1')]", ["e2"]),
        ("*", ["e1", "e2", "s"]),
        ("[@k]", ["e1", "e2"]),
        ("", []),
        ("state", []),
    ],
)
def test_8_filters(shared_map: MapProcess, map_client: MakeClient, filter_: str, found: list[str]) -> None:
    raw = map_client(shared_map)
    here = device("filters")
    event = '<x:event ifmap-cardinality="multiValue" k="{0}">e{0}</x:event>'
    raw.publish(f"<delete>{here}</delete>" + update(here, single("s") + event.format(1) + event.format(2)))
    attributes = f' xmlns:p="urn:example:x" result-filter="{filter_}"'
    assert sorted(texts(raw.search(here, attributes))) == found


@pytest.mark.parametrize("filter_", ["unknown:state", "x:state[", "x:state or", "x:state x:event"])
def test_8_bad_filters(shared_map: MapProcess, map_client: MakeClient, filter_: str) -> None:
    raw = map_client(shared_map)
    assert raw.search(device("filters"), f' result-filter="{filter_}"').error == "Failure"
    assert raw.subscribe("s", device("filters"), f' match-links="{filter_}"').error == "Failure"


# -- 9. what lasts


def test_9_what_outlives_the_server(make_map: MakeMap, map_client: MakeClient) -> None:
    server = make_map()
    raw = map_client(server, "c0")
    here, there = device("lasting"), device("other")
    raw.publish(
        update(here, single("for ever") + multi("too"), "forever")
        + update(here + there, single("linked"), "forever")
        + update(here, multi("for the session"))
    )
    server.kill()
    server.start()
    again = map_client(server, "c0")
    assert again.publisher == raw.publisher
    found = again.search(here, ' max-depth="1"')
    assert sorted(texts(found)) == ["for ever", "linked", "too"]
    assert f'ifmap-publisher-id="{raw.publisher}"' in found.text
    assert again.publish(update(here, single("x", "event"))).error == "InvalidMetadata", "cardinalities are kept, too"
    assert again.ask("purgePublisher", attributes=f' ifmap-publisher-id="{again.publisher}"').error == ""
    assert texts(again.search(here, ' max-depth="1"')) == []


# -- 10. real clients: test_map_dialects.py
