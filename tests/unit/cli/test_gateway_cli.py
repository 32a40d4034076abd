"""`vrfwire-gateway-ctl` against a fake daemon."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.errors import ExitCode, OperatorError
from tests.unit.cli.conftest import Commands, FakeDaemon

HOST = {
    "name": "hv1",
    "jid": "hv1@vpn.example.net/vrfwire",
    "address": "192.0.2.11",
    "addresses": ["192.0.2.11"],
    "state": "connected",
    "since": "2026-01-31T12:00:00Z",
    "vpns": ["blue", "red"],
    "routes": 4,
    "stale_routes": 0,
}
VPN = {
    "name": "blue",
    "source": "map",
    "import": ["64512:1"],
    "export": ["64512:1"],
    "hosts": ["hv1", "hv2"],
    "routes": 6,
}
ROUTE = {
    "vpn": "blue",
    "prefix": "10.1.1.1/32",
    "next_hops": [{"address": "192.0.2.11", "label": 100000}, {"address": "192.0.2.12", "label": 100003}],
    "local_preference": 100,
    "sequence_number": 0,
    "source": ["hv1"],
    "stale": False,
}
ATTACHMENT = {
    "attachment": "web-1",
    "state": "up",
    "host": "hv1",
    "address": "192.0.2.11",
    "routes": ["10.1.1.1/32", "10.1.1.2/32"],
}
WITHHELD = {
    "attachment": "web-2",
    "vpn": "blue",
    "host": "hv1",
    "prefix": "10.1.1.3/32",
    "item": "192.0.2.11:1:10.1.1.3/32",
    "revoked": True,
    "reason": "attachment web-2 is not bound to VPN blue",
}
MAP = {
    "configured": True,
    "url": "https://192.0.2.9:8443/",
    "state": "connected",
    "since": "2026-01-31T12:00:00Z",
    "synchronised": True,
    "source": "server",
    "as_of": "2026-01-31T12:00:00Z",
    "age": 0,
    "authorization": "strict",
    "vpns": 2,
    "attachments": 4,
    "bindings": 5,
    "withheld_items": 1,
    "published": {"up": 2, "down": 0, "adminDown": 1},
    "unpublished": 3,
    "gateway": "192.0.2.1",
    "publisher_id": "gw1-1",
    "last_error": "",
    "problems": [],
}


@pytest.mark.parametrize(
    ("arguments", "method", "params", "reply", "row"),
    [
        (
            ("host", "list"),
            "host.list",
            {},
            {"items": [HOST]},
            f"hv1   192.0.2.11  connected  2026-01-31T12:00:00Z  blue,red       4      0  -       {HOST['jid']}",
        ),
        (("vpn", "list"), "vpn.list", {}, {"items": [VPN]}, "blue  map     64512:1  64512:1      2       6"),
        (
            ("route", "list", "--vpn", "blue"),
            "route.list",
            {"limit": 500, "vpn": "blue"},
            {"items": [ROUTE]},
            "blue  10.1.1.1/32  192.0.2.11 label 100000, 192.0.2.12 label 100003         100         0  no     hv1",
        ),
        (("vpn", "show", "blue"), "vpn.show", {"name": "blue"}, VPN, "hosts:  hv1,hv2"),
        (
            ("attachment", "list"),
            "attachment.list",
            {"withheld": False},
            {"configured": True, "items": [ATTACHMENT]},
            "web-1       up     hv1   192.0.2.11  10.1.1.1/32,10.1.1.2/32",
        ),
        (
            ("attachment", "list", "--withheld"),
            "attachment.list",
            {"withheld": True},
            {"configured": True, "items": [WITHHELD]},
            "web-2       blue  hv1   10.1.1.3/32  attachment web-2 is not bound to VPN blue",
        ),
        (("map", "show"), "map.show", {}, MAP, "published:     2 up, 1 adminDown, 3 metadata to go"),
    ],
)
def test_tables_and_json(
    commands: Commands,
    daemon: FakeDaemon,
    arguments: tuple[str, ...],
    method: str,
    params: dict[str, object],
    reply: dict[str, object],
    row: str,
) -> None:
    daemon.answers[method] = reply
    outcome = commands.gateway_ctl(*arguments)
    assert outcome.code == 0
    assert row in outcome.out.splitlines()
    assert commands.gateway_ctl(*arguments, "-j").json == reply
    assert daemon.asked == [(method, params)] * 2


def test_a_map_that_is_not_configured(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["map.show"] = {"configured": False}
    daemon.answers["attachment.list"] = {"configured": False, "items": []}
    for arguments in (("map", "show"), ("attachment", "list")):
        outcome = commands.gateway_ctl(*arguments)
        assert outcome.code == 0 and "[map]" in outcome.err
        assert commands.gateway_ctl(*arguments, "-j").json["configured"] is False
    assert commands.gateway_ctl("map", "show").out == ""


@pytest.mark.parametrize(
    ("age", "text"), [(7, "7 seconds ago"), (130, "2 minutes ago"), (7200, "2 hours ago"), (90 * 3600, "3 days ago")]
)
def test_how_old_is_what_is_in_use(commands: Commands, daemon: FakeDaemon, age: int, text: str) -> None:
    daemon.answers["map.show"] = {**MAP, "synchronised": False, "source": "last run", "age": age}
    out = commands.gateway_ctl("map", "show").out
    assert re.search(rf"^as of: +2026-01-31T12:00:00Z, {text}$", out, re.MULTILINE)
    daemon.answers["map.show"] = MAP
    assert "as of" not in commands.gateway_ctl("map", "show").out


def test_an_empty_map_is_accepted(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["map.show"] = {**MAP, "disbelieved": True}
    assert re.search(r"^empty, not believed: +yes$", commands.gateway_ctl("map", "show").out, re.MULTILINE)
    daemon.answers["map.show"] = {**MAP, "disbelieved": False}
    assert "not believed" not in commands.gateway_ctl("map", "show").out
    for accepted, text in ((True, "map: accepted"), (False, "map: nothing is in doubt")):
        daemon.answers["map.accept"] = {"configured": True, "accepted": accepted}
        outcome = commands.gateway_ctl("map", "accept")
        assert (outcome.code, outcome.err) == (0, "") and outcome.out.startswith(text)
    daemon.answers["map.accept"] = {"configured": False, "accepted": False}
    assert "[map]" in commands.gateway_ctl("map", "accept").err


def test_problems_of_the_map_are_shown(commands: Commands, daemon: FakeDaemon) -> None:
    problem = {"what": "VPN bare", "why": "it has no route target", "hint": ""}
    daemon.answers["map.show"] = {**MAP, "state": "waiting", "last_error": "no answer", "problems": [problem]}
    text = commands.gateway_ctl("map", "show").out
    assert "last error:    no answer\n" in text and "problems:\n  VPN bare: it has no route target\n" in text


def test_status(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["status"] = {"state": "degraded", "hosts": 0, "problems": []}
    outcome = commands.gateway_ctl("status")
    assert (outcome.code, outcome.out) == (ExitCode.DEGRADED, "state: degraded\nhosts: 0\n")


def test_errors(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["vpn.show"] = OperatorError("VPN green", "not here", "vpn list", ExitCode.NOT_FOUND)
    outcome = commands.gateway_ctl("vpn", "show", "green")
    assert (outcome.code, outcome.err) == (4, "vrfwire-gateway-ctl: VPN green: not here\nhint: vpn list\n")


def test_no_daemon(commands: Commands) -> None:
    outcome = commands.gateway_ctl("host", "list")
    assert outcome.code == ExitCode.UNREACHABLE
    assert outcome.err.startswith("vrfwire-gateway-ctl: vrfwire-gateway at ")


def test_version_and_completion(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["version"] = {"version": "9.9.9"}
    assert commands.gateway_ctl("version").out.splitlines()[1] == "vrfwire-gateway 9.9.9"
    assert "_VRFWIRE_GATEWAY_CTL_COMPLETE" in commands.gateway_ctl("completion", "bash").out


def test_config_of_a_file(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[gateway]\ndomain = "vpn.example.net"\n[tls]\nca = "ca"\ncertificate = "c"\nkey = "k"\n'
        '[[vpn]]\nname = "blue"\nimport = ["64512:1"]\nexport = ["64512:1"]\n'
    )
    out = commands.gateway_ctl("config", "show", "--effective", "--config", str(path)).out
    assert "gateway.stale_time" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["vpn[0].import", "64512:1", f"{path}:9"] in lines
    assert ["gateway.listen", "0.0.0.0:5222", "default"] in lines


def test_routes_come_in_pages_and_are_put_in_order(commands: Commands, daemon: FakeDaemon) -> None:
    order = ["9.0.0.0/8", "10.1.1.0/24", "10.1.1.0/32", "2001:db8::/64"]
    rows = [{**ROUTE, "prefix": prefix} for prefix in reversed(order)]
    daemon.answers["route.list"] = {"items": [*rows, {**rows[0], "local_preference": 7}], "after": None}
    found = commands.gateway_ctl("route", "list", "--json").json["items"]
    assert [row["prefix"] for row in found] == order and found[-1]["local_preference"] == 7


def test_problems_come_with_hints_and_cannot_steer_the_terminal(commands: Commands, daemon: FakeDaemon) -> None:
    problem = {"what": "map", "why": "attachment \x1b[2Jweb-1", "hint": "look \x07 there"}
    shown = "problems:\n  map: attachment ?[2Jweb-1\n    hint: look ? there\n"
    for method, command in (("map.show", ("map", "show")), ("status", ("status",))):
        daemon.answers[method] = {**MAP, "state": "degraded", "problems": [problem]}
        assert commands.gateway_ctl(*command).out.endswith(shown)
