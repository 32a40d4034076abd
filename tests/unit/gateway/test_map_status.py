"""What is shown of the map: documents, problems, metrics, lines of the log."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gateway.admission import Decision
from gateway.attachment_state import AttachmentStates, Condition
from gateway.authorization import Mode
from gateway.map_log import LINES, WINDOW, DecisionLog
from gateway.map_metrics import MAP_METRICS, measure_map
from gateway.map_status import SHOWN, MapView, describe_attachments, describe_withheld
from gateway.metrics import GatewayMetrics
from gateway.status import Problem
from ifmap.client import ClientState, ClientStatus
from tests.unit.gateway.harness import Bench
from tests.unit.gateway.test_map_admission import WEB, announce, item, site

CLIENT = ClientStatus(ClientState.CONNECTED, "https://map1:8443/", "gw1-7", 5.0, 2, "", {"vpns": "complete"}, 17)
VIEW = MapView(
    plan_servers=("https://map1:8443/", "https://map2:8443/"),
    gateway="192.0.2.1",
    authorization=Mode.STRICT,
    client=CLIENT,
    since=1_769_860_800.0,
    synchronised=True,
    as_of=1_769_860_900.0,
    now=1_769_860_900.0,
    disbelieved=False,
    known=True,
    restored=False,
    vpns=2,
    attachments=3,
    bindings=4,
    withheld=1,
    presences={Condition.ADMIN_DOWN: 1, Condition.DOWN: 0, Condition.UP: 5},
    unpublished=0,
    unpublishable=(),
    refused_subscriptions={},
    kept=(),
    troubles=(),
)
AWAY = replace(
    VIEW, synchronised=False, client=replace(CLIENT, state=ClientState.WAITING, last_error="https://map1:8443/: no")
)


def test_a_map_that_is_well() -> None:
    shown = VIEW.document()
    assert shown["url"] == "https://map1:8443/" and shown["urls"] == ["https://map1:8443/", "https://map2:8443/"]
    assert (shown["state"], shown["since"], shown["source"]) == ("connected", "2026-01-31T12:00:00Z", "server")
    assert shown["published"] == {"adminDown": 1, "down": 0, "up": 5}
    assert shown["problems"] == [] and VIEW.problems() == []
    assert VIEW.summary() == {
        "configured": True,
        "url": "https://map1:8443/",
        "state": "connected",
        "since": "2026-01-31T12:00:00Z",
        "synchronised": True,
        "withheld_items": 1,
    }


def test_where_what_is_in_use_comes_from() -> None:
    assert AWAY.document()["source"] == "server, earlier"
    first = replace(AWAY, client=replace(AWAY.client, sessions=0))
    assert first.document()["source"] == "last run"
    never = replace(first, known=False, as_of=None).document()
    assert (never["source"], never["as_of"], never["age"]) == ("none", None, None)
    kept = replace(first, as_of=1_769_860_800.0, now=1_769_860_800.0 + 7500).document()
    assert (kept["as_of"], kept["age"]) == ("2026-01-31T12:00:00Z", 7500)
    assert replace(first, as_of=VIEW.now + 5).document()["age"] == 0, "the clock was put back"


def problems(**other: object) -> list[tuple[str, str]]:
    return [(one.what, one.why) for one in replace(VIEW, **other).problems()]  # type: ignore[arg-type]


def test_problems() -> None:
    [(what, why)] = [(one.what, one.why) for one in AWAY.problems()]
    assert what == "map server https://map1:8443/" and "no session: https://map1:8443/: no" in why and "stays" in why
    [lost] = replace(AWAY, known=False).problems()
    assert "nothing is permitted" in lost.why
    [empty] = replace(VIEW, disbelieved=True).problems()
    assert empty.what == "map server https://map1:8443/" and "empty" in empty.why and "stays in use" in empty.why
    assert "map accept" in empty.hint
    starting = replace(AWAY, client=replace(CLIENT, state=ClientState.CONNECTING))
    assert starting.problems() == [], "it has only begun"
    assert problems(refused_subscriptions={"vpns": "SearchResultsTooBig: 5"}) == [
        ("map subscription vpns", "SearchResultsTooBig: 5")
    ]
    [(_, why)] = problems(unpublishable=("attachment-state: AccessDenied", "attachment-info: AccessDenied"))
    assert "attachment-state: AccessDenied (and 1 more)" in why
    assert problems(kept=(Problem("file", "disk full"),)) == [("file", "disk full")]
    many = tuple((f"VPN {number}", "why") for number in range(SHOWN + 3))
    found = problems(troubles=many)
    assert found[:SHOWN] == list(many[:SHOWN]) and found[SHOWN:] == [("map", "3 more problems of this kind")]


def test_attachments_and_withheld_items() -> None:
    bench = site(web=WEB)
    states = AttachmentStates(bench.service.rib, bench.service.admission)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.1/32", "web"))
    announce(hv1, "blue", ("10.1.1.9/32", ""))
    states.update(10)
    shown = {"attachment": "web", "state": "up", "host": "hv1", "address": "192.0.2.11", "routes": ["10.1.1.1/32"]}
    assert describe_attachments(states) == {"configured": True, "items": [shown]}
    held = {
        "attachment": "",
        "vpn": "blue",
        "host": "hv1",
        "prefix": "10.1.1.9/32",
        "item": item(hv1, "10.1.1.9/32"),
        "revoked": False,
        "reason": "10.1.1.9/32 is no address of an attachment that is bound to VPN blue",
    }
    assert describe_withheld(bench.service.admission.withheld) == {"configured": True, "items": [held]}


def test_metrics() -> None:
    bench = site(web=WEB)
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce(hv1, "blue", ("10.1.1.9/32", ""))
    found = {(one.name, labels): value for one, labels, value in measure_map(VIEW, bench.service.admission)}
    assert {name for name, _ in found} == {one.name for one in MAP_METRICS}
    assert found["vrfwire_map_up", ()] == 1 and found["vrfwire_map_results_total", ()] == 17
    assert found["vrfwire_map_items_total", ("refused",)] == 1
    assert found["vrfwire_map_items_total", ("admitted",)] == 0
    assert found["vrfwire_map_published_attachments", ("up",)] == 5
    assert found["vrfwire_map_disbelieved", ()] == 0
    empty = {one.name: value for one, _, value in measure_map(replace(VIEW, disbelieved=True), bench.service.admission)}
    assert (empty["vrfwire_map_disbelieved"], empty["vrfwire_map_problems"]) == (1, 1)
    away = {(one.name, labels): value for one, labels, value in measure_map(AWAY, bench.service.admission)}
    assert (away["vrfwire_map_up", ()], away["vrfwire_map_synchronised", ()]) == (0, 0)
    assert away["vrfwire_map_problems", ()] == 1


def test_metrics_are_there_only_with_a_map() -> None:
    bench = Bench()

    def names(*view: MapView) -> set[str]:
        metrics = GatewayMetrics(None, bench.service, *(lambda one=one: one for one in view))
        return {metric.description.name for metric in metrics.snapshot()}

    of_map = {one.name for one in MAP_METRICS}
    assert names() & of_map == set()
    assert of_map <= names(VIEW)


def test_the_log_names_everything_but_not_without_end(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog()
    withdrawn = Decision("hv1", "blue", "192.0.2.11:1:10.1.1.1/32", "web", "attachment web is not bound to VPN blue")
    with caplog.at_level(logging.INFO, "vrfwire.gateway.map"):
        log.write([withdrawn, withdrawn._replace(attachment="", reason="")], 100.0)
        one, other = caplog.records
        assert one.levelno == logging.WARNING and one.getMessage() == (
            "host hv1: item 192.0.2.11:1:10.1.1.1/32 of attachment web in VPN blue is withdrawn: "
            "attachment web is not bound to VPN blue"
        )
        assert vars(one)["VRFWIRE_ATTACHMENT"] == "web" and vars(one)["VRFWIRE_VPN"] == "blue"
        assert other.getMessage() == "host hv1: item 192.0.2.11:1:10.1.1.1/32 in VPN blue is admitted"
        caplog.clear()
        log.write([withdrawn] * 1000, 101.0)
        assert len(caplog.records) == LINES - 2 + 1
        assert caplog.records[-1].getMessage().startswith(f"{1000 - LINES + 2} more")
        caplog.clear()
        log.write([withdrawn], 100.0 + WINDOW)
        assert len(caplog.records) == 1
