"""The vrfwire-map command and people's mistakes: what it says, what to do next, and the exit code."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.provisioning import VPN_NAME
from ifmap.client_errors import MapUnavailable, SessionLost
from ifmap.errors import ErrorCode, IfmapError
from ifmap.map_arguments import GATEWAY_NAMES
from ifmap.server.passwords import PasswordHash
from ifmap.values import PublishOperation
from lab.pki import Authority
from runtime.errors import ExitCode
from tests.unit.ifmap.test_map_cli import Map, Shell

DATA = Path(__file__).parents[2] / "data"
BLUE = ("vpn", "create", "blue", "--route-target", "64512:1")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("secret\n")
    monkeypatch.setattr("runtime.config.DIRECTORY", tmp_path / "etc")
    monkeypatch.setenv("VRFWIRE_MAP_URL", "https://192.0.2.9:8443/")
    monkeypatch.setenv("VRFWIRE_MAP_USER", "operator")
    monkeypatch.setenv("VRFWIRE_MAP_PASSWORD_FILE", str(tmp_path / "password"))
    return Shell(Map())


# -- names, addresses, route targets


def test_names_that_gateways_do_not_take_are_warned_of(shell: Shell) -> None:
    assert GATEWAY_NAMES.pattern == VPN_NAME.pattern
    for name in ("röt", "two words", "x" * 129):
        assert shell("vpn", "create", name, "--route-target", "64512:1") == f"VPN {name}: provisioned\n"
        assert "gateways of vrfwire leave it out" in shell.err
    shell(*BLUE)
    assert shell.err == ""


@pytest.mark.parametrize("name", ["", "a\x01b", "a\udcffb"])
def test_names_that_xml_does_not_carry_are_refused(shell: Shell, name: str) -> None:
    for command in (("vpn", "create", name, "--route-target", "1:1"), ("vpn", "show", name), ("bind", name, "blue")):
        shell(*command, code=ExitCode.USAGE)
        assert len(shell.err.splitlines()) == 1 and repr(name) in shell.err


@pytest.mark.parametrize(
    "target", ["64512", "64512:x", "65536:70000", "192.0.2.1:65536", "", "1:2:3", "-1:1", "64512L"]
)
def test_wrong_route_targets(shell: Shell, target: str) -> None:
    shell("vpn", "create", "blue", "--route-target", target, code=ExitCode.USAGE)
    assert f"'{target}' is not a route target" in shell.err
    assert shell.map.publishes == []


def test_route_targets_of_all_forms(shell: Shell) -> None:
    shell("vpn", "create", "blue", "--route-target", "192.0.2.1:5", "--import", "4200000000:1", "--export", "65000L:1")
    (row,) = shell.json("vpn", "list")["items"]
    assert (row["imports"], row["exports"]) == (["192.0.2.1:5", "4200000000:1"], ["192.0.2.1:5", "65000L:1"])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.1.1.1/16", "the prefix is 10.1.0.0/16"),
        ("2001:db8::1/64", "the prefix is 2001:db8::/64"),
        ("10.1.1.300", "is not an IPv4 or IPv6 address"),
        ("", "is not an IPv4 or IPv6 address"),
        ("10.0.0.0/33", "greater than 32"),
        ("127.0.0.1", "127.0.0.1 is not a unicast address"),
        ("224.0.0.0/4", "224.0.0.0/4 is a multicast or reserved address"),
        ("fe80::1", "fe80::1 is a link-local address"),
        ("::ffff:10.1.1.1", "is an IPv4-mapped address"),
    ],
)
def test_addresses_that_no_vm_can_have(shell: Shell, address: str, why: str) -> None:
    shell(*BLUE)
    shell("bind", "web-1", "blue", "--address", address, code=ExitCode.USAGE)
    assert why in shell.err
    assert len(shell.map.publishes) == 1


def test_any_address_and_none_of_its_own(shell: Shell) -> None:
    shell(*BLUE)
    shell("bind", "fw-1", "blue", "--address", "0.0.0.0/0", "--address", "::/0")
    (row,) = shell.json("state", "fw-1")["items"]
    assert row["addresses"] == ["0.0.0.0/0", "::/0"]


def test_addresses_that_some_program_published_can_be_taken_away(shell: Shell) -> None:
    shell(*BLUE)
    shell("bind", "web-1", "blue")
    shell("unbind", "web-1", "--address", "127.0.0.1", code=ExitCode.NOT_FOUND)
    assert "has no address 127.0.0.1/32" in shell.err


# -- what a search starts at


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--vpn", "blue", "--domain", "x"), "--domain goes with --ip-address and --mac-address"),
        (("--device", "x", "--domain", "x"), "--domain goes with"),
        (("--ip-address", "10.1.1.1", "--identity-type", "username"), ""),
        (("--ip-address", "10.1.1.1", "--identity-type", "other"), "--identity-type goes with --identity alone"),
        (("--vpn", "blue", "--definition", "x"), "--definition goes with --identity alone"),
        (("--vpn", "blue", "--depth", str(1 << 32)), "is not in the range"),
        (("--vpn", "blue", "--max-size", str(1 << 32)), "is not in the range"),
    ],
)
def test_options_that_do_not_fit_the_start(shell: Shell, arguments: Sequence[str], why: str) -> None:
    shell("search", *arguments, code=ExitCode.USAGE if why else ExitCode.OK)
    assert why in shell.err


# -- who asks whom


@pytest.mark.parametrize("url", ["http://192.0.2.9/", "192.0.2.9:8443", "https://", "https://a b/", "https://u:p@a/"])
def test_a_url_that_is_none(shell: Shell, url: str) -> None:
    shell("vpn", "list", "--url", url, code=ExitCode.USAGE)
    assert shell.err.startswith("vrfwire-map: vpn list: invalid value for '--url': ")


def test_files_of_our_own_are_not_blamed_on_the_server(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "password").chmod(0o644)
    shell("vpn", "list", code=ExitCode.FAILURE)
    assert "lets others read or change it" in shell.err and f"hint: chmod 0600 {tmp_path}/password" in shell.err
    shell("vpn", "list", "--password-file", str(tmp_path / "none"), code=ExitCode.FAILURE)
    assert "No such file" in shell.err
    (tmp_path / "password").chmod(0o600)
    shell("vpn", "list", "--ca", str(tmp_path / "password"), code=ExitCode.FAILURE)
    assert "no certificate or crl found" in shell.err and "hint: --ca, --cert and --key" in shell.err
    authority = Authority(tmp_path / "pki")
    one, other = authority.issue("one", "one"), authority.issue("two", "two")
    shell("vpn", "list", "--cert", str(one.certificate), "--key", str(other.key), code=ExitCode.FAILURE)
    assert "key values mismatch" in shell.err
    assert shell.map.settings is None, "nobody was asked"
    shell("vpn", "list", "--cert", str(one.certificate), "--key", str(one.key), "--ca", str(authority.certificate))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (MapUnavailable("https://a/: Connect call failed"), "check --url;"),
        (MapUnavailable("https://a/: the server's certificate isn't accepted: Hostname mismatch"), "--ca names the"),
        (MapUnavailable("https://a/: the server doesn't accept user 'x' (401)"), "check the user and its password"),
        (SessionLost("another program has logged in"), "a user has one session"),
    ],
)
def test_each_failure_has_its_hint(shell: Shell, error: Exception, hint: str) -> None:
    shell.map.fails = error
    shell("vpn", "list", code=ExitCode.NOT_PERMITTED if "401" in str(error) else shell_code(error))
    assert shell.err.splitlines()[1].startswith(f"hint: {hint}")


def shell_code(error: Exception) -> ExitCode:
    return ExitCode.UNREACHABLE if isinstance(error, MapUnavailable) else ExitCode.FAILURE


def test_types_in_refusals_are_written_as_in_the_servers_configuration(shell: Shell) -> None:
    text = "this client may not write metadata of type {http://www.ietf.org/I.D-l3vpn-schema}binding"
    shell.map.refuses = IfmapError(ErrorCode.ACCESS_DENIED, text)
    shell(*BLUE, code=ExitCode.NOT_PERMITTED)
    assert "may not write metadata of type vpn:binding" in shell.err


def test_opaque_identifiers_need_a_server_that_takes_them(shell: Shell) -> None:
    shell.map.refuses = IfmapError(ErrorCode.INVALID_IDENTIFIER, "extended identifier: malformed XML")
    shell(*BLUE, code=ExitCode.FAILURE)
    assert 'identifiers = "opaque"' in shell.err


def test_the_clients_log_is_not_printed(shell: Shell, capfd: pytest.CaptureFixture[str]) -> None:
    shell("vpn", "list")
    logging.getLogger("vrfwire.ifmap.client").warning("the session is over")
    assert "the session is over" not in capfd.readouterr().err


# -- documents


def test_the_documents_of_draft_and_presentation(shell: Shell) -> None:
    shell("publish", str(DATA / "presentation-example.xml"))
    shell("publish", str(DATA / "draft-l3vpn-schema.xml"))
    assert shell("state", "--graph").splitlines() == [
        "VPN Services",
        "`-- connected with SimpleVPN, imports 1:1 of it",
        "VPN SimpleVPN",
        "|-- route target 1:1",
        "|-- connected with Services",
        "|-- attachment urn:dev:mac:010203ffff040506: up",
        "|   |-- address 10.2.0.1/32",
        "|   `-- up at ge-0/0/0.0 (192.0.2.1)",
        "`-- attachment vm:00:00:00:01:02:03: up",
        "    `-- up at 192.168.0.1",
    ]
    rows = shell("state", "--no-legend").splitlines()
    assert [row.split()[-2:] for row in rows] == [["?", "up"], ["?", "up"]]


def test_a_document_that_is_none_comes_with_a_hint(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("<html/>")
    shell("publish", str(tmp_path / "text"), code=ExitCode.FAILURE)
    assert "hint: `vrfwire-map publish --help`" in shell.err


class Losing(Map):
    """A MAP whose session ends with the publish."""

    async def publish(self, operations: Sequence[PublishOperation]) -> None:
        await super().publish(operations)
        assert self.listener is not None
        asyncio.get_running_loop().call_soon(self.listener.session_lost, "the server closed the connection")


def test_who_holds_a_session_is_told_of_its_end(shell: Shell) -> None:
    shell.map = Losing()
    shell("publish", str(DATA / "presentation-example.xml"), "--lifetime", "session", "--hold", code=ExitCode.FAILURE)
    assert "the session is lost, and what was published in it: the server closed the connection" in shell.err


# -- what is printed


def test_an_empty_map_is_no_riddle(shell: Shell) -> None:
    assert shell("state", "--graph") == ""
    assert "there is no VPN in the map" in shell.err
    assert shell.json("state", "--graph") == {"items": [], "problems": [], "vpns": []}
    assert shell.err == ""


def test_one_long_name_does_not_move_the_others(shell: Shell) -> None:
    shell(*BLUE)
    shell("vpn", "create", "x" * 500, "--route-target", "64512:2")
    legend, blue, long = shell("vpn", "list").splitlines()
    assert len(legend) < 200 and len(blue) < 200 and long.startswith("x" * 500)


def test_passwd_writes_a_file_that_the_server_takes(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("s3cret\n"))
    file = tmp_path / "it.hash"
    assert shell("passwd", "--output", str(file)) == ""
    assert file.stat().st_mode & 0o777 == 0o600
    assert PasswordHash.parse(file.read_text().strip()).verify("s3cret")
    monkeypatch.setattr(sys, "stdin", io.StringIO("s3cret\n"))
    shell("passwd", "--output", str(tmp_path / "none/it.hash"), code=ExitCode.FAILURE)
    assert "No such file" in shell.err


def test_completion_in_bash(shell: Shell, tmp_path: Path) -> None:
    """What the shell makes of the script: words of commands and options."""
    (tmp_path / "script").write_text(shell("completion", "bash"))
    (tmp_path / "vrfwire-map").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ifmap.cli "$@"\n')
    (tmp_path / "vrfwire-map").chmod(0o755)
    complete = 'COMP_WORDS=({}); COMP_CWORD={}; _vrfwire_map_completion vrfwire-map; echo "${{COMPREPLY[*]}}"'
    asked = complete.format("vrfwire-map vpn c", 2), complete.format("vrfwire-map search --m", 2)
    commands = f"source ./script; ({asked[0]}); ({asked[1]})"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(DATA.parents[1])}
    done = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["create connect", "--mac-address --match-links --max-size"]
