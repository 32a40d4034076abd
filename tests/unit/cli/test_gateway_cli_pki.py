"""`vrfwire-gateway-ctl pki`, as a person sees it; tests/unit/gateway/test_pki.py has what it does."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import ExitCode, OperatorError
from tests.unit.cli.conftest import Commands, FakeDaemon, Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def pki(tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Run:
    """With an authority in ./pki, a gateway and a host."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRFWIRE_PKI", "pki")

    def run(*arguments: str) -> Outcome:
        return commands.gateway_ctl("pki", *arguments)

    assert run("init").code == ExitCode.OK
    run("enroll", "gw1", "--role", "gateway", "--domain", "vpn.example.net", "--address", "192.0.2.1")
    run("enroll", "hv7", "--address", "192.0.2.7")
    return run


def test_init_publishes_beside_the_directory(pki: Run, tmp_path: Path) -> None:
    assert (tmp_path / "ca.pem").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "crl.pem").read_bytes() == (tmp_path / "pki" / "crl.pem").read_bytes()
    again = pki("init")
    assert (again.code, again.out) == (ExitCode.OK, f"authority in {tmp_path}/pki: unchanged\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert pki("init", "--publish", str(elsewhere)).code == ExitCode.OK
    assert (elsewhere / "ca.pem").exists() and pki("show", "--json").json["publish"] == str(elsewhere)


def test_enroll_says_where_the_files_are(pki: Run, tmp_path: Path) -> None:
    told = pki("enroll", "hv8", "--address", "192.0.2.8", "--out", "hv8.tar")
    assert "host hv8: enrolled, valid until" in told.out
    assert f"{tmp_path}/hv8.tar: hv8.key, hv8.pem, ca.pem, crl.pem, agent.toml" in told.out
    again = pki("enroll", "hv8", "--address", "192.0.2.8", "--out", "hv8.tar", "--json").json
    assert again["unchanged"] is True and again["name"] == "hv8" and "hv8.key" not in again["files"]
    other = pki("enroll", "hv8", "--address", "192.0.2.9")
    assert other.code == ExitCode.CONFLICT
    assert "hv8: is enrolled already, with other names: host, 192.0.2.8\nhint: " in other.err


def test_a_host_that_gets_no_configuration_is_told_why(commands: Commands, tmp_path: Path) -> None:
    def run(*arguments: str) -> Outcome:
        return commands.gateway_ctl("pki", *arguments, "--directory", str(tmp_path / "pki"))

    enroll = ("enroll", "hv7", "--address", "192.0.2.7", "--out", str(tmp_path / "hv7.tar"))
    run("init")
    told = run(*enroll)
    assert (told.code, "agent.toml" in told.out) == (ExitCode.OK, False)
    assert told.err.splitlines() == [
        f"vrfwire-gateway-ctl: no agent.toml in {tmp_path}/hv7.tar: no gateway is enrolled yet",
        "hint: enroll one first by `pki enroll NAME --role gateway --address A`, then `pki enroll hv7` again in the "
        "same way; or write it by docs/configuration.md",
    ]
    assert run("renew", "hv7", "--out", str(tmp_path / "new.tar")).err == "", "it was told when it mattered"
    gateway = ("enroll", "gw1", "--role", "gateway", "--out", str(tmp_path / "gw1"))
    assert run(*gateway).err == "", "who isn't a host lacks nothing"
    assert "hv7.tar: no gateway was enrolled with an address\nhint: `pki revoke gw1`, " in run(*enroll).err
    run("revoke", "gw1")
    run(*gateway, "--address", "192.0.2.1")
    told = run(*enroll)
    assert (told.err, told.out.endswith(", agent.toml\n")) == ("", True)
    out = str(tmp_path / "hv8")
    assert "hv8: hv8 has no IPv4 address" in run("enroll", "hv8", "--address", "fd00::8", "--out", out).err


def test_who_may_not_read_the_authority_is_told_so(pki: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what reads it: click would call the directory an invalid value, and point at --help."""

    def refuse(path: Path, *_: object, **__: object) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr(Path, "open", refuse)
    refused = pki("list")
    assert refused.code == ExitCode.NOT_PERMITTED
    assert "Permission denied\nhint: run it as root" in refused.err


def test_bad_names_are_usage_errors(pki: Run) -> None:
    for arguments in (
        ("../x", "--address", "192.0.2.8"),
        ("hv8",),
        ("hv8", "--address", "192.0.2.x"),
        ("hv8", "--address", "192.0.2.8", "--days", "0"),
        ("hv8", "--address", "192.0.2.8", "--out", "hv8.tar.gz"),
    ):
        told = pki("enroll", *arguments)
        assert told.code == ExitCode.USAGE and told.err.startswith("vrfwire-gateway-ctl: "), told.err
    assert pki("init", "--replace", "--retire").code == ExitCode.USAGE
    assert pki("renew", "hv7", "--new-key", "--csr", "x").code == ExitCode.USAGE
    assert pki("revoke", "hv7", "--serial", "xyz").code == ExitCode.USAGE


def test_list_and_show(pki: Run) -> None:
    assert [line.split()[:3] for line in pki("list", "--no-legend").out.splitlines()] == [
        ["gw1", "gateway", "valid"],
        ["hv7", "host", "valid"],
    ]
    pki("renew", "hv7")
    assert len(pki("list", "--json").json["items"]) == 2
    assert [row["state"] for row in pki("list", "--all", "--json").json["items"]] == ["valid", "superseded", "valid"]
    assert pki("list", "--expiring", "30", "--json").json["items"] == []
    assert [row["name"] for row in pki("list", "--expiring", "366", "--json").json["items"]] == ["gw1", "hv7"]
    shown = pki("show", "hv7").out
    assert "addresses: 192.0.2.7" in shown and shown.count("vrfwire authority 1") == 2
    assert pki("show", "hv9").code == ExitCode.NOT_FOUND
    authority = pki("show").out
    assert "signs:         vrfwire authority 1" in authority and "certificates:  2" in authority


def test_renew_unless_it_is_valid_for_long(pki: Run) -> None:
    assert "host hv7: unchanged" in pki("renew", "hv7", "--within", "30").out
    assert "host hv7: renewed" in pki("renew", "hv7", "--within", "366").out
    assert "hv7.key" in pki("renew", "hv7", "--new-key", "--json").json["files"]


def test_revoke_has_the_gateway_act(pki: Run, daemon: FakeDaemon) -> None:
    number = pki("show", "--json").json["list_number"]
    daemon.answers["tls.reload"] = {"crl": "/etc/vrfwire/crl.pem", "numbers": [number + 1], "ended": ["hv7"]}
    told = pki("revoke", "hv7", "--reason", "keycompromise")
    assert told.code == ExitCode.OK and told.err == ""
    assert "hv7: 1 certificates revoked\nthe gateway has ended sessions of hv7\n" in told.out
    assert daemon.asked == [("tls.reload", {})]
    (row,) = pki("list", "--all", "--json").json["items"][1:]
    assert (row["state"], row["reason"]) == ("revoked", "keyCompromise")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"crl": None}, "has no [tls] crl: it knows of no revocation"),
        ({"crl": "/elsewhere/crl.pem", "numbers": [1]}, "reads /elsewhere/crl.pem, which is not the list"),
    ],
)
def test_a_gateway_that_does_not_know_of_it_is_told(
    pki: Run, daemon: FakeDaemon, answer: dict[str, object], told: str
) -> None:
    daemon.answers["tls.reload"] = answer
    done = pki("revoke", "hv7")
    assert done.code == ExitCode.DEGRADED and told in done.err and "revoked" in done.out


def test_revoke_without_a_gateway_is_done_all_the_same(pki: Run) -> None:
    done = pki("revoke", "hv7", "--json")
    assert done.code == ExitCode.OK and done.json["gateway"] == {"reached": False} and "no gateway answers" in done.err
    again = pki("revoke", "hv7", "--json").json
    assert again["unchanged"] is True and again["serials"] == []


def test_a_gateway_that_refuses_is_an_error(pki: Run, daemon: FakeDaemon) -> None:
    daemon.answers["tls.reload"] = OperatorError("control socket", "not permitted", "", ExitCode.NOT_PERMITTED)
    assert pki("revoke", "hv7").code == ExitCode.NOT_PERMITTED


def test_crl_and_the_next_authority(pki: Run) -> None:
    assert "number 4, due" in pki("crl", "--days", "60").out
    assert "vrfwire authority 2 signs from now on" in pki("init", "--replace").out
    refused = pki("init", "--retire")
    assert refused.code == ExitCode.CONFLICT and "gw1, hv7 use certificates" in refused.err
    for name in ("gw1", "hv7"):
        pki("renew", name)
    assert pki("init", "--retire").out.startswith("retired: vrfwire authority 1;")
    assert [row["state"] for row in pki("show", "--json").json["authorities"]] == ["retired", "signs"]


def test_without_an_authority(commands: Commands, tmp_path: Path) -> None:
    done = commands.gateway_ctl("pki", "list", "--directory", str(tmp_path / "none"))
    assert done.code == ExitCode.NOT_FOUND and "pki init" in done.err
