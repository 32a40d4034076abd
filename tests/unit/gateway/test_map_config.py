"""[map] of gateway.toml: what it means, how mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.authorization import Mode
from gateway.config import GatewayConfig
from gateway.map_link import Plan
from ifmap.endpoint import Endpoint
from runtime.errors import OperatorError
from tests.unit.gateway.test_config import BASE, read

USER = 'user = "gw1"\npassword_file = "secret"\n'
URL = 'url = "https://192.0.2.9:8443/"\n'


def with_map(tmp_path: Path, text: str) -> GatewayConfig:
    return read(tmp_path, BASE + "[map]\n" + text)


def test_the_section_becomes_a_plan(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of gw1\n")
    (tmp_path / "secret").chmod(0o600)
    config = with_map(tmp_path, URL + USER + 'groups = ["grey"]\n')
    assert config.map is not None
    plan = Plan(config.map, config.map_name)
    assert plan.name == "192.0.2.1", "the router id"
    assert (plan.settings.endpoints, plan.settings.user) == ((Endpoint("192.0.2.9", 8443),), "gw1")
    assert plan.settings.secret() == "of gw1" and plan.section.authorization is Mode.STRICT
    assert list(plan.wanted) == ["vpns", "group-1"]
    several = with_map(tmp_path, 'urls = ["https://a/", "https://b:1/"]\n' + USER + 'name = "west"')
    assert several.map is not None and [str(one) for one in several.map.endpoints] == [
        "https://a:8443/",
        "https://b:1/",
    ]
    assert several.map_name == "west"
    assert not Plan(several.map, several.map_name).same_session(plan)
    loose = with_map(tmp_path, URL + USER + 'groups = ["grey"]\nauthorization = "off"')
    assert loose.map is not None and plan.same_session(Plan(loose.map, loose.map_name))


def test_without_the_section_there_is_none(tmp_path: Path) -> None:
    config = read(tmp_path, BASE)
    assert config.map is None


def test_hosts_may_name_vpns_that_come_later(tmp_path: Path) -> None:
    host = '[[host]]\nname = "hv1"\nvpns = ["green"]\n'
    with pytest.raises(OperatorError, match="green"):
        read(tmp_path, BASE + host)
    assert with_map(tmp_path, URL + USER + host).host[0].vpns == ("green",)


def test_the_gateway_is_known_by_its_domain_without_a_router_id(tmp_path: Path) -> None:
    text = BASE.replace('router_id = "192.0.2.1"\n', "").replace("as = 64512\n", "")
    assert read(tmp_path, text + "[map]\n" + URL + USER).map_name == "vpn.example.net"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (USER, "one of url and urls"),
        (URL + 'urls = ["https://b/"]\n' + USER, "one of url and urls"),
        ('url = "http://192.0.2.9/"\n' + USER, "https://"),
        (URL, "one of user and certificate"),
        (URL + 'user = "gw1"', "go together"),
        (URL + 'certificate = "gw.pem"', "go together"),
        (URL + USER + 'certificate = "a"\nkey = "b"', "one of user and certificate"),
        (URL + USER + 'authorization = "lax"', "strict"),
        (URL + USER + 'name = ""', "empty"),
        (URL + USER + 'passwort = "x"', "unknown key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(OperatorError) as caught:
        with_map(tmp_path, text)
    assert word in f"{caught.value} {caught.value.hint}"


def test_files_and_names_are_looked_at_before_anything_is_done(tmp_path: Path) -> None:
    section = with_map(tmp_path, URL + USER).map
    assert section is not None
    with pytest.raises(OperatorError, match="secret"):
        Plan(section, "gw1")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    missing = with_map(tmp_path, URL + USER + 'ca = "missing.pem"').map
    assert missing is not None
    with pytest.raises(OperatorError, match=r"missing\.pem"):
        Plan(missing, "gw1")
    unspeakable = with_map(tmp_path, URL + USER + 'groups = ["\\u0001"]').map
    assert unspeakable is not None
    with pytest.raises(OperatorError, match=r"map\.groups"):
        Plan(unspeakable, "gw1")
