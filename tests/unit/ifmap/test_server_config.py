"""map.toml: what it means and how mistakes are reported."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ifmap.server.config import MapConfig
from ifmap.server.main import check
from ifmap.server.passwords import hash_password
from ifmap.values import MetadataName
from lab.pki import Authority
from runtime.config import load
from runtime.errors import OperatorError

HASH = hash_password("x", 4).text
BASE = """
[map]
listen = ["192.0.2.1:8443", "[2001:db8::1]:8443"]
[tls]
certificate = "map.pem"
key = "map.key"
"""
WITH_CA = BASE + 'ca = "ca.pem"\n'
VPN = "http://www.ietf.org/I.D-l3vpn-schema"


def read(tmp_path: Path, text: str) -> MapConfig:
    path = tmp_path / "map.toml"
    path.write_text(text)
    return load(MapConfig, program="map", path=path, environ={}).value


def test_a_configuration_becomes_values(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        WITH_CA
        + f'[[client]]\nname = "orchestrator"\npassword_hash = "{HASH}"\npurge_others = true\n'
        + '[[client]]\nname = "gw1"\nread = ["vpn:*"]\nwrite = ["vpn:attachment-state"]\n'
        + f'[[client]]\nname = "gw2"\npassword_hash = "{HASH}"\ncertificate = "gw2.example.net"\n',
    )
    assert [str(listen) for listen in config.map.listen] == ["192.0.2.1:8443", "[2001:db8::1]:8443"]
    assert [client.common_name for client in config.client] == [None, "gw1", "gw2.example.net"]
    password = config.client[0].hash()
    assert password is not None and password.verify("x")
    access = config.access()
    assert access["orchestrator"].purge_others
    assert MetadataName(VPN, "binding") in access["gw1"].read
    assert MetadataName(VPN, "binding") not in access["gw1"].write
    settings = config.service("map1", shared=True)
    assert (settings.strict, settings.shared, settings.name) == (True, True, "map1")
    assert settings.max_publish_size == config.map.max_request


def test_a_hash_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hash"
    file.write_text(HASH + "\n")
    file.chmod(0o600)
    config = read(tmp_path, BASE + '[[client]]\nname = "a"\npassword_hash_file = "hash"\n')
    password = config.client[0].hash()
    assert password is not None and password.text == HASH
    file.write_text("hunter2")
    with pytest.raises(OperatorError, match="must be a hash") as caught:
        config.client[0].hash()
    assert "hunter2" not in str(caught.value)


def test_the_url_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://map:secret@db/map\n")
    file.chmod(0o600)
    config = read(tmp_path, BASE + '[store]\nurl_file = "url"\n')
    assert config.store.address() == "postgresql://map:secret@db/map"


def test_hashes_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(BASE + f'[[client]]\nname = "a"\npassword_hash = "{HASH}"\n')
    assert HASH not in str(load(MapConfig, program="map", path=path, environ={}).document())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BASE + '[[client]]\nname = "a"\n', "'a' has no password_hash"),
        (BASE + f'[[client]]\nname = "a"\npassword_hash = "{HASH}"\ncertificate = "a"\n', "needs tls.ca"),
        (WITH_CA + '[[client]]\nname = "a"\n[[client]]\nname = "a"\n', "two [[client]] of the name 'a'"),
        (WITH_CA + '[[client]]\nname = "a"\n[[client]]\nname = "b"\ncertificate = "a"\n', "have the same common name"),
        (WITH_CA + '[[client]]\nname = "a:b"\n', "without a colon"),
        (WITH_CA + '[[client]]\nname = "a"\nread = ["nope:x"]\n', "nope"),
        (BASE + '[[client]]\nname = "a"\npassword_hash = "hunter2"\n', "must be a hash"),
        (BASE + f'[[client]]\nname = "a"\npassword_hash = "{HASH}"\npassword_hash_file = "x"\n', "has both"),
        (BASE + '[store]\nurl = "postgresql://map:hunter2@db/map"\n', "url has a password"),
        (BASE + '[health]\nrequire = ["{urn:x"]\n', "brace"),
        (BASE.replace('"192.0.2.1:8443", "[2001:db8::1]:8443"', ""), "listen is empty"),
        (BASE.replace("[tls]", "max_poll_size = 5000\n[tls]"), "max_poll_size"),
        (BASE.replace("[tls]", 'identifiers = "lax"\n[tls]'), "one of strict, opaque"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, text)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("lease", ["0.5", "3601", "-1"])
def test_a_lease_must_be_sensible(tmp_path: Path, lease: str) -> None:
    with pytest.raises(OperatorError, match="from 1 to 3600 seconds"):
        read(tmp_path, BASE + f"[store]\nlease = {lease}\n")
    assert read(tmp_path, BASE + "[store]\nlease = 5\n").store.lease == 5.0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///map.db", "its path map.db isn't absolute"),
        ("sqlite://", "it names no file"),
        ("sqlite:///:memory:", "it names no file"),
        ("mysql://h/d", "databases of type mysql can't be used"),
        ("/var/lib/vrfwire/map.db", "it isn't a URL"),
    ],
)
def test_a_store_that_cannot_be_is_found_without_serving(tmp_path: Path, url: str, why: str) -> None:
    tls = Authority(tmp_path).issue("map", "map.example.net")
    config = read(tmp_path, BASE + f'[store]\nurl = "{url}"\n')
    config = replace(config, tls=replace(config.tls, certificate=tls.certificate, key=tls.key))
    with pytest.raises(OperatorError, match=re.escape(why)) as caught:
        check(config)
    assert caught.value.what == "store.url" and "sqlite:////" in caught.value.hint
    check(replace(config, store=replace(config.store, url="sqlite:////nowhere/map.db")))
