"""docs/map.md: its commands and files, as they stand there; the map of docs/troubleshooting.md. The host's kernel is
played; the authority is made by README's commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ifmap.server.config import MapConfig
from runtime.config import load
from tests.guide import block, lines
from tests.scenario.daemon_process import wait_for
from tests.scenario.guide_site import GuideSite

PASSWORD = "ann's password"
"""What ann types."""


def test_set_up_back_up_and_restore_as_described(tmp_path: Path) -> None:
    site = GuideSite(tmp_path)
    site.shell(site.block("README.md", "vrfwire-gateway-ctl pki init") + site.block("README.md", "tar -xf hv7.tar"))
    site.shell(
        site.block("docs/map.md", "vrfwire-gateway-ctl pki enroll map") + site.block("docs/map.md", "tar -xf map.tar")
    )

    # The server: its configuration, and ann's hash.
    site.write("map.toml", site.block("docs/map.md", "[map]\nlisten"))
    passwd, check, serve = lines(site.block("docs/map.md", "vrfwire-map passwd --output"))
    site.shell(passwd, stdin=f"{PASSWORD}\n")
    assert site.shell(check) == "configuration ok\n"

    # Whom commands ask; the first VPN.
    with site.daemon("map", serve):
        site.write("map-client.toml", site.block("docs/map.md", "[map]\nurl = ["))
        site.write("ann.password", f"{PASSWORD}\n")
        provision = site.block("docs/map.md", "vrfwire-map vpn create blue --route-target 64512:1\nvrfwire-map bind")
        printed = site.shell(provision)
        assert "VPN blue: provisioned" in printed and "web-1" in printed
        site.shell(site.block("docs/operations.md", "sqlite3"))
        assert block("docs/map.md", "sqlite3") == block("docs/operations.md", "sqlite3")
        health = json.loads(site.shell(site.block("docs/map.md", "curl")))
        assert health["state"] == "ok" and health.keys() == json.loads(block("docs/map.md", '{"state": "ok"')).keys()
        assert "ann" in site.shell(site.block("docs/map.md", "vrfwire-map status "))

        # The gateway: README's, with the map in the place of its [[vpn]].
        readme = site.block("README.md", "[gateway]")
        static = readme.index("[[vpn]]")
        site.write("gateway.toml", readme[:static] + site.block("docs/map.md", '[map]\nurl = "https'))
        check, start = lines(site.block("docs/map.md", "vrfwire-gateway --config"))
        assert site.shell(check) == "configuration ok\n"
        with site.daemon("gateway", start):
            wait_for(lambda: site.ask("gateway", "map.show")["synchronised"], "the gateway to have the map")
            shown = site.shell(site.block("docs/map.md", "vrfwire-gateway-ctl map show"))
            assert re.search(r"synchronised: +yes", shown) and re.search(r"blue +map +64512:1", shown)
            on_the_host(site)
        assert json.loads(site.shell("vrfwire-map vpn list --json"))["items"][0]["attachments"] == []

    # What was there at the back-up is there again.
    site.shell(site.block("docs/map.md", "rm -f"))
    with site.daemon("map", serve):
        (vpn,) = json.loads(site.shell("vrfwire-map vpn list --json"))["items"]
        assert (vpn["name"], vpn["attachments"]) == ("blue", ["web-1"])


def test_settings_are_taken(tmp_path: Path) -> None:
    site = GuideSite(tmp_path)
    server = block("docs/map.md", "[map]\nlisten")
    tls = server[server.index("[tls]") : server.index("[[client]]")]
    fragments = (
        block("docs/map.md", "[[client]]"),
        block("docs/map.md", "[health]"),
        block("docs/map.md", '[map]\nidentifiers = "opaque"'),
        block("docs/map.md", '[map]\nname = "map1"'),
    )
    configs = []
    for fragment in fragments:
        client = "" if "[[client]]" in fragment else server[server.index("[[client]]") : server.index("[health]")]
        path = site.write("map.toml", tls + client + fragment)
        configs.append(load(MapConfig, program="map", path=path, environ={}).value)
    assert [client.name for client in configs[0].client] == ["orchestrator", "gw1.example.net", "dashboard"]
    assert configs[1].health.min_metadata == 1 and configs[2].map.default_poll_size == 50_000_000
    assert (configs[3].map.name, configs[3].store.lease) == ("map1", 15)


def on_the_host(site: GuideSite) -> None:
    """README's host: attach, look in the map, take the binding back."""
    port = f"[[gateway]]\nport = {site.ports['5222']}"
    config = site.write("agent.toml", site.block("README.md", "[host]").replace("[[gateway]]", port))
    with site.daemon("agent", f"vrfwire-agent --config {config}"):
        site.shell(site.block("docs/map.md", "vrfwire port attach web-1"))
        state = site.block("docs/map.md", "vrfwire-map state --graph")
        # The gateway says it in half a second.
        drawn = wait_for(
            lambda: text if "web-1: up" in (text := site.shell(state)) else "", "web-1 to be up in the map"
        )
        assert "up at hv7 (192.0.2.7) by gateway vpn.example.net, routes 10.1.1.1/32" in drawn
        looked = site.shell(site.block("docs/troubleshooting.md", "vrfwire-gateway-ctl map show"))
        assert "synchronised" in looked and "web-1: up" in looked
        site.shell("vrfwire-map unbind web-1 blue")

        def problems() -> str:
            return json.dumps(site.ask("agent", "status")["problems"])

        wait_for(lambda: "vrfwire-map bind web-1 blue --address 10.1.1.1" in problems(), "web-1 to be blocked")
