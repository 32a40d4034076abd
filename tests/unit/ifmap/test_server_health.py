"""The health check looks at what is in the map."""

from __future__ import annotations

import json

from ifmap.l3vpn import PROVISIONED
from ifmap.server.config import HealthSection
from ifmap.server.health import Conditions, Finding, response
from ifmap.values import MetadataName

VPN = "http://www.ietf.org/I.D-l3vpn-schema"
LASTING = {MetadataName(VPN, "binding"): 2, MetadataName(VPN, "group-target"): 1, MetadataName("urn:x", "gone"): 0}


def test_a_map_that_has_what_it_needs() -> None:
    conditions = Conditions.of(HealthSection(min_metadata=3, require=("vpn:binding", "vpn:*")))
    assert conditions.look(LASTING) == []
    assert Conditions().look({}) == []


def test_a_map_that_lacks_something() -> None:
    conditions = Conditions.of(HealthSection(min_metadata=4, require=("{urn:x}gone", "vpn:binding", "vpn:connection")))
    found = conditions.look(LASTING)
    assert [finding.check for finding in found] == ["content"] * 3
    assert "3 lasting metadata" in found[0].why
    assert "{urn:x}gone" in found[1].why
    assert "vpn:connection" in found[2].why


def test_a_map_in_which_nothing_was_ever_provisioned() -> None:
    conditions = Conditions.of(HealthSection(require=("vrfwire:provisioned",)))
    [finding] = conditions.look({})
    assert "vrfwire:provisioned" in finding.why
    assert conditions.look({PROVISIONED: 1}) == []


def test_answers() -> None:
    good = response([], 10, 3)
    assert (good.status, good.type) == (200, "application/json")
    assert json.loads(good.body) == {
        "state": "ok",
        "checks": {"store": True, "content": True},
        "metadata": 10,
        "lasting": 3,
    }
    bad = response([Finding("store", "database db7: password authentication failed for user map")], 10, 3)
    assert bad.status == 503
    assert json.loads(bad.body)["checks"] == {"store": False, "content": True}
    assert b"db7" not in bad.body
