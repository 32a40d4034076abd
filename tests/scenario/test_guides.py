"""docs/operations.md and docs/troubleshooting.md: their commands, as they stand there.

A gateway and a host are set up by the commands of docs/quickstart.md. The host's kernel is played; what is systemd's,
apt's or the kernel's is run by tests/install.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import guide
from tests.scenario.daemon_process import wait_for
from tests.scenario.guide_site import LOOKED, GuideSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuideSite]:
    """Gateway and host hv7, connected."""
    site = GuideSite(tmp_path_factory.mktemp("guides"))
    site.shell(site.block("docs/quickstart.md", "vrfwire-gateway-ctl pki init"))
    site.shell(site.block("docs/quickstart.md", "tar -C"))
    site.write("gateway.toml", site.block("docs/quickstart.md", "[gateway]"))
    site.write("gateway.toml.d/here.toml", f'[gateway]\nlisten = ["127.0.0.1:{site.ports["5222"]}"]\n')
    bundled = site.etc / "agent.toml"
    assert bundled.read_text() == site.block("docs/quickstart.md", "[host]"), "the bundle has what the page shows"
    # A drop-in can't change a table of an array.
    bundled.write_text(bundled.read_text().replace("[[gateway]]", f"[[gateway]]\nport = {site.ports['5222']}"))
    with site.daemon("gateway", "vrfwire-gateway"), site.daemon("agent", "vrfwire-agent"):
        wait_for(lambda: status(site)["gateways_connected"] == 1, "the session")
        yield site


def status(site: GuideSite) -> Any:
    """Of the agent."""
    return site.ask("agent", "status")


def routes(site: GuideSite) -> list[str]:
    """Prefixes that the gateway has of this host."""
    return [item["prefix"] for item in json.loads(site.shell("vrfwire-gateway-ctl route list --json"))["items"]]


def test_a_vm_moves_and_the_host_is_drained(site: GuideSite) -> None:
    attach, detach = site.block("docs/operations.md", "vrfwire port attach").splitlines()
    site.shell(f"{attach} --wait announced")
    assert routes(site) == ["10.1.1.1/32"]
    site.shell(site.block("docs/operations.md", "vrfwire drain"))
    assert (status(site)["state"], routes(site)) == ("drained", [])
    site.shell(site.block("docs/operations.md", "vrfwire undrain"))
    assert (status(site)["state"], routes(site)) == ("ok", ["10.1.1.1/32"])
    site.shell(detach)
    assert routes(site) == []


@pytest.fixture
def attached(site: GuideSite) -> Iterator[GuideSite]:
    """With a VM."""
    site.shell("vrfwire port attach web-1 --vpn blue --address 10.1.1.1 --tap tap0 --wait announced")
    yield site
    site.shell("vrfwire port detach web-1")


def filled(text: str) -> str:
    """A block with what the reader is to fill in."""
    return text.replace("ADDRESS", "10.1.1.1").replace("--vpn VPN", "--vpn blue")


def test_the_first_commands_of_troubleshooting(attached: GuideSite) -> None:
    on_the_host = filled(attached.block("docs/troubleshooting.md", "vrfwire status "))
    printed = attached.shell(on_the_host, codes=LOOKED)
    assert "hv7" in printed and "web-1" in printed, "status and explanation"
    assert "web-1" in attached.shell(filled(attached.block("docs/troubleshooting.md", "vrfwire route explain")))
    at_the_gateway = attached.shell(filled(attached.block("docs/troubleshooting.md", "vrfwire-gateway-ctl status")))
    assert "10.1.1.1/32" in at_the_gateway and "hv7" in at_the_gateway
    by_bgp = attached.shell(filled(attached.block("docs/troubleshooting.md", "vrfwire-gateway-ctl peer list")))
    assert "10.1.1.1/32" in by_bgp


def test_doctor(attached: GuideSite) -> None:
    table, document = attached.block("docs/troubleshooting.md", "vrfwire doctor ").splitlines()
    assert "underlay address" in attached.shell(table, codes=LOOKED)
    found = [item["check"] for item in json.loads(attached.shell(document, codes=LOOKED))["items"]]
    text = (guide.ROOT / "docs/troubleshooting.md").read_text()
    section = text[text.index("## The doctor") : text.index("## The command says")]
    named = [name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall("`(.*?)`", row)]
    # Checks of a kernel's features are named by one of them, and not all exist on all machines.
    seen = {name for name in named if any(check.startswith(name) for check in found)}
    assert seen >= {"systemd-networkd", "underlay address", "clock", "certificates", "state directory"}, found


def test_bundle(attached: GuideSite) -> None:
    for text in ("operations", "troubleshooting"):
        if text == "operations":
            attached.shell(attached.block("docs/operations.md", "vrfwire diag bundle"))
            (path,) = attached.etc.glob("vrfwire-diag-*.tar.gz")
        else:
            attached.shell(attached.block("docs/troubleshooting.md", "vrfwire diag bundle"))
            path = attached.directory / "tmp/hv7.tar.gz"
        with tarfile.open(path) as bundle:
            names = {Path(name).name for name in bundle.getnames()}
            content = b"".join(file.read() for one in bundle if (file := bundle.extractfile(one)) is not None)
        assert "manifest.json" in names
        key = (attached.etc / "hv7.key").read_bytes().splitlines()[1]
        assert b"web-1" in content and key not in content


def test_a_second_gateway_is_a_table_more(site: GuideSite) -> None:
    more = site.etc / "agent.toml.d/second.toml"
    site.write("agent.toml.d/second.toml", site.block("docs/operations.md", "[[gateway]]"))
    try:
        config = json.loads(site.shell(f"vrfwire config show --json --config {site.etc}/agent.toml"))
        assert site.shell(site.block("docs/upgrade.md", "vrfwire-agent --config")) == "configuration ok\n"
    finally:
        more.unlink()
    assert "192.0.2.2" in json.dumps(config) and "127.0.0.1" in json.dumps(config)


def test_renewal_and_revocation(site: GuideSite) -> None:
    sessions = site.ask("gateway", "host.list")["items"]
    listed = site.shell(site.block("docs/operations.md", "vrfwire-gateway-ctl pki list"))
    assert "hv7: renewed" in listed
    assert site.ask("gateway", "host.list")["items"][0]["state"] == sessions[0]["state"] == "connected"
    revoked = site.shell(site.block("docs/operations.md", "vrfwire-gateway-ctl pki revoke"))
    assert "ended sessions of hv7" in revoked
    wait_for(lambda: status(site)["gateways_connected"] == 0, "the end of the session")
    assert status(site)["state"] == "degraded" and status(site)["problems"]
