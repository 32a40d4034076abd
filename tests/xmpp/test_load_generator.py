"""The load generator against the servers that it measures: what it says was delivered was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gateway_fanout import PUBLISHERS
from benchmarks.gateway_load import Certificates, LoadProcess
from benchmarks.gateway_servers import DOMAIN, OURS, Component, Gateway, Other, Side

HOSTS = 3
NODE = "blue"


def ours(folder: Path, *, plain: bool = False) -> Side:
    certificates = Certificates(folder / "hosts", DOMAIN)
    certificates.issue(range(PUBLISHERS + HOSTS))
    return Gateway(folder / "gateway", certificates, [NODE], plain=plain)


SIDES: dict[str, Callable[[Path], Side]] = {
    OURS: ours,
    f"{OURS}-plain": lambda folder: ours(folder, plain=True),
    "prosody": lambda folder: Other("prosody", folder, range(PUBLISHERS)),
    "ejabberd": lambda folder: Other("ejabberd", folder, range(PUBLISHERS)),
    "component_prosody": lambda folder: Component("prosody", folder, PUBLISHERS + HOSTS, [NODE]),
}


@pytest.mark.parametrize("name", SIDES)
def test_each_item_reaches_each_subscriber(name: str, tmp_path: Path) -> None:
    tls = not name.endswith("plain")
    with SIDES[name](tmp_path) as side, LoadProcess(side.settings(tls=tls)) as load:
        load.connect(0, PUBLISHERS)
        load.ask("publish", hosts=[0], node=NODE, seconds=0.01)
        load.connect(PUBLISHERS, HOSTS)
        load.ask("plan", first=PUBLISHERS, count=HOSTS, nodes=[NODE])
        load.ask("act", first=PUBLISHERS, count=HOSTS)
        load.ask("wait", quiet=0.3)
        found = load.ask("publish", hosts=[0], node=NODE, window=4, subscribers=HOSTS, seconds=0.1)
        assert found["errors"] == 0
        assert found["delivered"] == found["wanted"] == found["requests"] * HOSTS > 0
        assert found["answers"] >= found["requests"]
        assert side.cpu() > 0
        assert side.resident() > 1
