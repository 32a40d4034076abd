"""What a gateway that is a component shows, measures, refuses, and takes from a new configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.component_front import REFUSED_TIME, ComponentFront
from gateway.component_metrics import COMPONENT_METRICS
from gateway.config import GatewayConfig
from gateway.doctor import subject
from gateway.main import check
from gateway.rib import Rib
from gateway.server_front import ServerFront
from gateway.service import Service
from runtime.config import load
from runtime.errors import OperatorError

TEXT = """
[gateway]
domain = "vpn.gw.example.org"
[xmpp]
mode = "component"
port = 15347
secret_file = "secret"
"""
SERVER = '[gateway]\ndomain = "vpn.gw.example.org"\n[tls]\nca = "ca"\ncertificate = "crt"\nkey = "key"\n'


def read(directory: Path, text: str = TEXT, secret: str = "a secret") -> GatewayConfig:
    file = directory / "secret"
    if secret:
        file.write_text(secret)
        file.chmod(0o600)
    path = directory / "gateway.toml"
    path.write_text(text)
    return load(GatewayConfig, program="gateway", path=path, environ={}).value


def front(config: GatewayConfig, look: Callable[[ComponentFront], None]) -> None:
    """Have a look at a front that was never started."""

    async def run() -> None:
        look(ComponentFront(config, Service(config.gateway.domain, Rib(config.policy()))))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("not-authorized: Invalid handshake", "secret_file"),
        ("host-unknown", "gateway.domain"),
        ("conflict", "another gateway"),
        ("Connection refused", "is the server running"),
        ("", "is the server running"),
    ],
)
def test_a_stream_that_is_missing_is_a_problem_with_a_remedy(tmp_path: Path, error: str, hint: str) -> None:
    def look(one: ComponentFront) -> None:
        one.gate.last_error = error
        [problem] = one.problems()
        assert problem.what == "component" and "127.0.0.1:15347" in problem.why and hint in problem.hint
        assert (error or "connecting") in problem.why
        shown = one.document()
        assert (shown["mode"], shown["listen"]) == ("component", [])
        component = shown["component"]
        assert isinstance(component, dict)
        assert (component["server"], component["state"], component["last_error"]) == ("127.0.0.1:15347", "away", error)
        assert one.summary() == "XMPP server away"

    front(read(tmp_path), look)


def test_refused_hosts_are_named_for_a_time(tmp_path: Path) -> None:
    def look(one: ComponentFront) -> None:
        now = asyncio.get_running_loop().time()
        one.gate.hosts.unlisted.update({"hv9": now, "hv8": now - REFUSED_TIME - 1})
        [_, problem] = one.problems()
        assert problem.what == "host hv9" and 'name = "hv9"' in problem.hint
        found = {metric.description.name: metric.samples for metric in one.metrics()}
        assert list(found) == [description.name for description in COMPONENT_METRICS]
        assert found["vrfwire_component_unlisted_hosts"] == [((), 1)]
        assert found["vrfwire_component_up"] == [((), False)]

    front(read(tmp_path), look)


def test_a_new_secret_and_new_hosts_are_taken(tmp_path: Path) -> None:
    config = read(tmp_path)

    def look(one: ComponentFront) -> None:
        assert one.gate.config.secret == "a secret"
        apply = one.prepare(read(tmp_path, TEXT + '[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\n', "another"))
        assert one.gate.config.secret == "a secret" and one.gate.hosts.hosts.listed("hv1") is None
        apply()
        assert one.gate.config.secret == "another" and one.gate.hosts.hosts.listed("hv1") is not None

    front(config, look)


def test_a_running_gateway_does_not_change_sides(tmp_path: Path) -> None:
    def look(one: ComponentFront) -> None:
        with pytest.raises(OperatorError, match="changed to server"):
            one.prepare(read(tmp_path, SERVER))
        with pytest.raises(OperatorError, match="no certificates"):
            one.reload_certificates()

    front(read(tmp_path), look)
    with pytest.raises(OperatorError, match="changed to component"):
        ServerFront.prepare(object.__new__(ServerFront), read(tmp_path))


def test_a_secret_that_cannot_be_read_is_found_before_the_start(tmp_path: Path) -> None:
    config = read(tmp_path)
    check(config)
    assert subject(config, check).secrets == {"xmpp.secret_file": tmp_path / "secret"}
    assert (list(subject(config, check).listen), list(subject(config, check).certificates)) == ([], [])
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(OperatorError, match="0644"):
        check(config)
    (tmp_path / "secret").unlink()
    with pytest.raises(OperatorError, match="No such file"):
        check(config)
