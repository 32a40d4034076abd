"""[bgp] and [[bgp.peer]]: what they mean, and how mistakes are reported."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bgp.family import RTC, VPNV4, VPNV6
from bgp.rib.peer import PrefixLimit
from bgp.rib.values import SourceKind
from gateway.config import GatewayConfig
from gateway.peer_config import NO_BGP, BgpSettings, resolve
from runtime.config import load
from runtime.errors import OperatorError

HEAD = '[gateway]\ndomain = "vpn.example.net"\n'
IDENTITY = 'router_id = "192.0.2.1"\nas = 64512\n'
TAIL = '[tls]\nca = "ca.pem"\ncertificate = "gw.pem"\nkey = "gw.key"\n'


def read(tmp_path: Path, text: str, identity: str = IDENTITY) -> GatewayConfig:
    path = tmp_path / "gateway.toml"
    path.write_text(HEAD + identity + TAIL + text)
    return load(GatewayConfig, program="gateway", path=path, environ={}).value


def settings(tmp_path: Path, text: str) -> BgpSettings:
    config = read(tmp_path, text)
    return resolve(config.bgp, config.gateway.router_id, config.gateway.autonomous_system)


def peers(*tables: str) -> str:
    return "".join(f"[[bgp.peer]]\n{table}\n" for table in tables)


def test_without_peers_there_is_no_bgp(tmp_path: Path) -> None:
    config = read(tmp_path, "[bgp]\nhold_time = 9\n", identity="")
    assert resolve(config.bgp, config.gateway.router_id, config.gateway.autonomous_system) is NO_BGP


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, peers('address = "192.0.2.254"'))
    [peer] = found.peers
    router_id = IPv4Address("192.0.2.1").packed
    assert (found.identity.asn, found.identity.router_id, found.identity.cluster_id) == (64512, router_id, router_id)
    assert [str(listen) for listen in found.listen] == ["0.0.0.0:179"]
    assert (peer.name, peer.link.address, peer.link.port) == ("192.0.2.254", IPv4Address("192.0.2.254"), 179)
    assert (peer.link.local_address, peer.link.password) == (None, b"")
    assert (peer.link.ttl, peer.link.min_ttl) == (64, 0)
    session = peer.session
    assert (session.local_as, session.remote_as, session.families) == (64512, 64512, (VPNV4, VPNV6, RTC))
    assert (session.hold_time, session.connect_retry, session.passive) == (90, 5.0, False)
    assert session.restart is not None
    assert (session.restart.restart_time, session.restart.long_lived) == (120, 0)
    assert session.restart.forwarding, "hosts forward whatever becomes of the gateway"
    assert (peer.policy.kind, peer.policy.limits) == (SourceKind.INTERNAL, {})
    assert (peer.policy.stale_time, peer.policy.membership_time) == (360.0, 30.0)
    assert peer.max_prefixes_restart is None


def test_everything_set(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    text = (
        '[bgp]\nlisten = ["192.0.2.1:1790", "[2001:db8::1]:1790"]\ncluster_id = "192.0.2.9"\nhold_time = 30\n'
        "connect_retry = 2\nrestart_time = 60\nlong_lived_time = 3600\nstale_time = 100\nmembership_time = 10\n"
        + peers(
            'address = "2001:db8::2"\nname = "pe1"\nport = 1790\nas = 64513\nlocal_address = "2001:db8::1"\n'
            'password_file = "secret"\nfamilies = ["vpnv6"]\npassive = true\nhold_time = 0\nconnect_retry = 7\n'
            "ttl_security = 2\nenforce_first_as = false\nmax_prefixes = 1000\nmax_prefixes_warning = 0.5\n"
            "max_prefixes_restart = 60",
            'address = "192.0.2.3"\nreflector_client = true\nmultihop = 5\nmax_prefixes = 10',
            'address = "192.0.2.4"\nas = 64514',
        )
    )
    found = settings(tmp_path, text)
    outside, client, neighbour = found.peers
    assert found.identity.cluster_id == IPv4Address("192.0.2.9").packed
    assert found.identity.addresses == {IPv4Address("192.0.2.1").packed, IPv6Address("2001:db8::1").packed}
    assert (outside.name, outside.link.port, outside.session.remote_as) == ("pe1", 1790, 64513)
    assert outside.link.local_address == IPv6Address("2001:db8::1")
    assert outside.link.password == b"s3cret" and "s3cret" not in repr(found)
    assert (outside.link.ttl, outside.link.min_ttl) == (255, 254)
    assert (outside.session.hold_time, outside.session.connect_retry, outside.session.passive) == (0, 7.0, True)
    assert outside.session.first_as is None and neighbour.session.first_as == 64514
    assert outside.policy.kind is SourceKind.EXTERNAL
    assert outside.policy.limits == {VPNV6: PrefixLimit(1000, 0.5)}
    assert outside.max_prefixes_restart == 60
    assert (client.policy.kind, client.link.ttl, client.link.min_ttl) == (SourceKind.CLIENT, 5, 0)
    assert client.policy.limits == {VPNV4: PrefixLimit(10), VPNV6: PrefixLimit(10)}
    assert client.session.restart is not None and client.session.restart.long_lived == 3600
    assert (neighbour.policy.kind, neighbour.link.ttl) == (SourceKind.EXTERNAL, 1)


def test_without_graceful_restart(tmp_path: Path) -> None:
    found = settings(tmp_path, "[bgp]\ngraceful_restart = false\n" + peers('address = "192.0.2.2"'))
    assert found.peers[0].session.restart is None and not found.graceful_restart


ONE = 'address = "192.0.2.2"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (peers(ONE, ONE), "two [[bgp.peer]] of the address 192.0.2.2"),
        (peers(ONE + 'name = "a"', 'address = "192.0.2.3"\nname = "a"'), "two [[bgp.peer]] of the name 'a'"),
        (peers('name = "a"'), "bgp.peer[0].address is missing"),
        (peers(ONE + 'families = ["vpn4"]'), "did you mean 'vpnv4'?"),
        (peers(ONE + 'families = ["l2vpn-evpn"]'), "'l2vpn-evpn' is no family"),
        (peers(ONE + 'families = ["ipv4"]'), "not spoken here"),
        (peers(ONE + 'families = ["rtc", "rtc"]'), "names rtc twice"),
        (peers(ONE + "families = []"), "must name a family"),
        (peers(ONE + "hold_time = 1"), "must be 0 (none) or from 3 to 65535"),
        ("[bgp]\nhold_time = 2\n", "must be 0 (none) or from 3 to 65535"),
        (peers(ONE + "ttl_security = 1\nmultihop = 2"), "ttl_security and multihop exclude each other"),
        (peers(ONE + "ttl_security = 0"), "must be from 1 to 254"),
        (peers(ONE + 'local_address = "2001:db8::1"'), "are not of one IP version"),
        (peers(ONE + 'local_address = "192.0.2.2"'), "192.0.2.2 is our own address"),
        (peers('address = "192.0.2.1"'), "192.0.2.1 is this gateway's own address"),
        ('[bgp]\nlisten = ["192.0.2.2:179"]\n' + peers(ONE), "192.0.2.2 is this gateway's own address"),
        (peers('address = "0.0.0.0"'), "0.0.0.0 is not the address of one peer"),
        (peers('address = "255.255.255.255"'), "255.255.255.255 is not the address of one peer"),
        (peers('address = "fe80::1"'), "a link-local address needs its interface"),
        (peers('address = "fe80::1%a"', 'address = "fe80::1%b"'), "two [[bgp.peer]] of the address"),
        (peers('address = "::ffff:192.0.2.2"'), "write 192.0.2.2"),
        (peers(ONE + 'name = "--help"'), "must not begin with a dash"),
        (peers(ONE + 'name = " "'), "nor end with a space"),
        (peers(ONE + "connect_retry = inf"), "must be more than 0, and finite"),
        ('[bgp]\nlisten = ["0.0.0.0:179", "0.0.0.0:179"]\n' + peers(ONE), "bgp.listen has an address twice"),
        ("[bgp]\nlisten = []\n" + peers(ONE), "gateway.toml: bgp.listen is empty"),
        (peers('address = "192.0.2.1"'), "own address (gateway.router_id)"),
        (peers(ONE + "as = 64513\nreflector_client = true"), "reflector_client is for peers of our own AS"),
        (peers(ONE + "max_prefixes = 0"), "must be from 1"),
        (peers(ONE + "max_prefixes_warning = 1.5"), "must be more than 0 and at most 1"),
        (peers(ONE + "connect_retry = 0"), "must be more than 0"),
        ("[bgp]\nlisten = []\n" + peers(ONE), "bgp.listen is empty"),
        ('[bgp]\ncluster_id = "0.0.0.0"\n' + peers(ONE), "0.0.0.0 is neither a router_id nor a cluster_id"),
        ("[bgp]\nrestart_time = 5000\n", "must be from 1 to 4095"),
        (peers(ONE + "nam = 1"), "unknown key bgp.peer[0].nam"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, text)
    assert why in f"{caught.value} {caught.value.hint}"


def test_mistakes_in_a_peer_name_its_line(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"gateway.toml:10: \[\[bgp.peer\]\]"):
        read(tmp_path, "\n" + peers(ONE + "ttl_security = 1\nmultihop = 2"))


@pytest.mark.parametrize(
    ("identity", "missing"),
    [("", "router_id and as"), ("as = 64512\n", "router_id"), ('router_id = "192.0.2.1"\n', "as")],
)
def test_peers_need_an_identity(tmp_path: Path, identity: str, missing: str) -> None:
    with pytest.raises(OperatorError, match=rf"so \[gateway\] needs {missing}$"):
        read(tmp_path, peers(ONE), identity)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [(None, 0, "No such file"), (b"x", 0o644, "lets others read"), (b"", 0o600, "is empty"), (b"x" * 81, 0o600, "80")],
)
def test_passwords_that_cannot_be_used(tmp_path: Path, content: bytes | None, mode: int, why: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
        (tmp_path / "secret").chmod(mode)
    with pytest.raises(OperatorError, match=why):
        settings(tmp_path, peers(ONE + 'password_file = "secret"'))
