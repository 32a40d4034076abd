"""Route targets decide which VPNs see which routes."""

from __future__ import annotations

from gateway.policy import Policy, Vpn
from vpn.community import RouteTarget


def vpn(name: str, imports: str, exports: str) -> Vpn:
    return Vpn(
        name,
        frozenset(map(RouteTarget.parse, imports.split())),
        frozenset(map(RouteTarget.parse, exports.split())),
    )


def test_a_full_mesh_imports_what_it_exports() -> None:
    policy = Policy([vpn("blue", "64512:1", "64512:1"), vpn("red", "64512:2", "64512:2")])
    assert policy.importers("blue") == {"blue"}
    assert policy.importers("red") == {"red"}
    assert policy.importers("green") == set()


def test_spokes_see_the_hub_alone_and_not_even_themselves() -> None:
    policy = Policy([vpn("hub", "64512:20", "64512:10"), vpn("spoke", "64512:10", "64512:20")])
    assert policy.importers("spoke") == {"hub"}
    assert policy.importers("hub") == {"spoke"}


def test_an_extranet_is_a_target_that_several_import() -> None:
    policy = Policy(
        [
            vpn("blue", "64512:1 64512:9", "64512:1"),
            vpn("red", "64512:2 64512:9", "64512:2"),
            vpn("shared", "64512:1 64512:2 64512:9", "64512:9"),
        ]
    )
    assert policy.importers("shared") == {"blue", "red", "shared"}
    assert policy.importers("blue") == {"blue", "shared"}


def test_a_vpn_without_targets_sees_and_shows_nothing() -> None:
    policy = Policy([vpn("blue", "", ""), vpn("red", "64512:2", "64512:2")])
    assert policy.importers("blue") == set()
    assert policy.importers_of([RouteTarget.parse("64512:2")]) == {"red"}
    assert policy.importers_of([]) == set()
