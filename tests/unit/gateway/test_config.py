"""gateway.toml: what it means and how mistakes are reported."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from gateway.hosts import Permit
from runtime.config import load
from runtime.errors import OperatorError
from runtime.listen import Listen
from vpn.prefix import parse_address

BASE = """
[gateway]
domain = "VPN.Example.net"
listen = ["192.0.2.1:5222", "[2001:db8::1]:5222"]
router_id = "192.0.2.1"
as = 64512
[tls]
ca = "ca.pem"
certificate = "gw.pem"
key = "gw.key"
[[vpn]]
name = "blue"
import = ["64512:1"]
export = ["64512:1", "192.0.2.1:7"]
"""


def read(tmp_path: Path, text: str) -> GatewayConfig:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return load(GatewayConfig, program="gateway", path=path, environ={}).value


def test_a_configuration_becomes_values(tmp_path: Path) -> None:
    config = read(
        tmp_path, BASE + '[[host]]\nname = "HV1"\naddresses = ["192.0.2.11"]\nvpns = ["blue"]\n[[host]]\nname = "hv2"\n'
    )
    assert config.gateway.domain == "vpn.example.net"
    assert config.gateway.listen == (
        Listen(IPv4Address("192.0.2.1"), 5222),
        Listen(IPv6Address("2001:db8::1"), 5222),
    )
    assert [str(listen) for listen in config.gateway.listen] == ["192.0.2.1:5222", "[2001:db8::1]:5222"]
    assert config.tls is not None and config.tls.ca == tmp_path / "ca.pem"
    assert (config.gateway.stale_time, config.gateway.hold_time) == (60.0, 90.0)
    assert config.policy().importers("blue") == {"blue"}
    peer = parse_address("192.0.2.99")
    assert config.hosts().permit("hv1", frozenset(), peer) == Permit(
        frozenset({parse_address("192.0.2.11")}), frozenset({"blue"})
    )
    assert config.hosts().permit("hv2", frozenset(), peer) == Permit(frozenset({peer}), None)


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        (("64512:1", "blue target"), 13, "not a route target"),
        (('name = "blue"', 'name = "two words"'), 12, "without spaces"),
        (("192.0.2.1:5222", "192.0.2.1:99999"), 4, "ADDRESS:PORT"),
        (("192.0.2.1:5222", "192.0.2.256:1"), 4, "no IP address"),
        (("as = 64512", "as = 0"), 6, "from 1 to"),
        (("as = 64512", "hold_tme = 1"), 6, "unknown key"),
        (("as = 64512", "stale_time = 0"), 6, "more than 0"),
        (("as = 64512", "hold_time = -1"), 6, "negative"),
        (("VPN.Example.net", "a b"), 3, "domain"),
    ],
)
def test_mistakes_are_reported_with_their_place(tmp_path: Path, change: tuple[str, str], where: int, why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, BASE.replace(*change))
    assert caught.value.what == f"{tmp_path}/gateway.toml:{where}"
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('[[vpn]]\nname = "blue"\nimport = []\nexport = []\n', "two [[vpn]]"),
        ('[[host]]\nname = "hv1"\n[[host]]\nname = "hv1"\n', "two [[host]]"),
        ('[[host]]\nname = "hv1"\nvpns = ["green"]\n', "green"),
        ('[[host]]\nname = "h v"\n', "host name"),
    ],
)
def test_contradictions_are_found(tmp_path: Path, more: str, why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, BASE + more)
    assert why in caught.value.why


def test_an_empty_list_of_addresses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="listen"):
        read(tmp_path, BASE.replace('["192.0.2.1:5222", "[2001:db8::1]:5222"]', "[]"))


COMPONENT = """
[gateway]
domain = "vpn.gw.example.org"
[xmpp]
mode = "component"
secret_file = "secret"
"""


def test_a_component_needs_a_secret_and_no_certificates(tmp_path: Path) -> None:
    config = read(tmp_path, COMPONENT)
    assert config.is_component and config.tls is None
    assert (str(config.xmpp.address), config.xmpp.port) == ("127.0.0.1", 5347)
    assert config.xmpp.secret_file == tmp_path / "secret"
    assert config.host_domains == {"gw.example.org"}
    other = read(tmp_path, COMPONENT + 'host_domains = ["A.example.net", "b.example.net"]\naddress = "2001:db8::1"\n')
    assert other.host_domains == {"a.example.net", "b.example.net"}
    assert not read(tmp_path, BASE).is_component


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (COMPONENT.replace('secret_file = "secret"\n', ""), "secret_file"),
        (COMPONENT.replace("vpn.gw.example.org", "gateway"), "host_domains"),
        (COMPONENT + 'host_domains = ["vpn.gw.example.org"]\n', "own name"),
        (COMPONENT + 'host_domains = ["a b"]\n', "domain"),
        (COMPONENT.replace('"component"', '"client"'), "one of server, component"),
        (
            BASE.replace("[tls]", "[metrics]")
            .replace('ca = "ca.pem"', "")
            .replace('certificate = "gw.pem"', "")
            .replace('key = "gw.key"', ""),
            "[tls] is missing",
        ),
    ],
)
def test_mistakes_of_a_component_are_found(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, text)
    assert why in caught.value.why
