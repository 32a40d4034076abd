"""The configurations of docs/bgp.md, as they stand there, at the addresses and the port that they name."""

from __future__ import annotations

import os
import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.speakers.base import hide
from tests.interop.site import Site

GUIDE = (Path(__file__).parents[2] / "docs/bgp.md").read_text()
GATEWAY, REFLECTOR, PORT = "192.0.2.1", "192.0.2.254", 179
PASSWORD = "s3cret"


class Other(NamedTuple):
    """A speaker of the guide. argv: with {file} and {directory}; hidden: directories it gets empty ones in place of;
    more: lines that keep it within the test's directory."""

    heading: str
    argv: str
    families: list[str]
    restart: bool = True
    hidden: tuple[str, ...] = ()
    more: str = ""


VPN = ["vpnv4", "vpnv6"]
OTHERS = (
    Other(
        "FRR",
        "/usr/lib/frr/bgpd -S -Z -P 0 -f {file} -i {directory}/pid --vty_socket {directory}",
        VPN,
        hidden=("/run/frr", "/var/tmp"),
    ),
    Other("BIRD", "bird -f -c {file} -s {directory}/control", VPN),
    Other("GoBGP", "gobgpd -f {file} -t toml --pprof-disable", [*VPN, "rtc"]),
    Other(
        "OpenBGPD",
        "/usr/sbin/bgpd -d -f {file}",
        VPN,
        restart=False,
        hidden=("/run/openbgpd",),
        more='socket "{directory}/control"\n',
    ),
)


def block(heading: str) -> str:
    """The first configuration under a heading."""
    section = GUIDE[GUIDE.index(f"\n{heading}\n") :]
    found = re.search(r"\n\n((?:    .*\n|\n)+)", section)
    assert found is not None
    return textwrap.dedent(found[1]).strip() + "\n"


def peer_of_guide() -> dict[str, Any]:
    """The [[bgp.peer]] of the guide, with the password in place of its file."""
    guide = tomllib.loads(block("## The gateway"))
    assert (guide["gateway"]["router_id"], guide["gateway"]["as"]) == (GATEWAY, 64512)
    (peer,) = guide["bgp"]["peer"]
    assert peer.pop("password_file") == "rr1.password"
    assert peer["address"] == REFLECTOR
    return {**peer, "password": PASSWORD}


@pytest.fixture
def elsewhere() -> Iterator[Namespace]:
    """The machine of the reflector: some of them listen at all addresses."""
    namespace = Namespace(f"guide-{os.getpid()}")
    yield namespace
    namespace.delete()


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.heading)
def test_configuration_of_the_guide(elsewhere: Namespace, site: Site, other: Other) -> None:
    link = f"link add rr type veth peer name gw netns {elsewhere.name}"
    site.namespace.ip(link, f"addr add {GATEWAY}/24 dev rr", "link set rr up")
    elsewhere.ip(f"addr add {REFLECTOR}/24 dev gw", "link set gw up")
    directory = site.directory / "other"
    directory.mkdir()
    file = directory / "config"
    file.touch(mode=0o600)
    file.write_text(other.more.format(directory=directory) + block(f"### {other.heading}"))
    argv = other.argv.format(file=file, directory=directory).split()
    prepare = partial(hide, other.hidden) if other.hidden else None
    daemon = Daemon(other.heading, argv, elsewhere, directory / "log", lambda: True, prepare=prepare)
    listen = [f"{GATEWAY}:{PORT}"]
    gateway = site.gateway("gw", GATEWAY, [peer_of_guide()], listen=listen, graceful_restart=True, deferral_time=1.0)
    daemon.launch()
    try:
        gateway.start()
        gateway.wait_established("rr1")
        shown = gateway.peer("rr1")
        assert shown["families"] == other.families
        used = {row["capability"]: row["used"] for row in shown["capabilities"]}
        assert used.get("graceful restart", False) is other.restart
        # A route of a host goes there. A reflector that speaks RTC wants it, since it says to each client what any
        # client wants, to the one that wants it as well (RFC 4684, 3.2).
        host = site.host(gateway, "hv1", "192.0.2.11")
        host.subscribe("blue")
        host.publish("blue", {"10.1.1.1/32": 1001})
        question = {"prefix": "10.1.1.1", "rd": "192.0.2.11:1"}

        def exported() -> bool:
            bgp = gateway.ask("bgp.routes", {"family": "vpnv4"})["items"]
            return bool(bgp) and gateway.ask("route.explain", question)["destinations"][0]["told"] == ["rr1"]

        # GoBGP now and then keeps back the End-of-RIB of its memberships; then it is membership_time, 30 s.
        site.wait(exported, "the route to be told", 45.0)
    except AssertionError:
        print(daemon.tail(40))
        raise
    finally:
        daemon.kill()
