"""route.list page by page: everything, once, whatever changes meanwhile; and requests that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.route_status import RouteStatus
from gateway.status import Status
from runtime.errors import ExitCode, OperatorError
from tests.unit.gateway.gateways import Gateway, path
from vpn.prefix import Prefix


def site(count: int) -> tuple[Gateway, Status]:
    """A gateway with routes in each of its VPNs."""
    gateway = Gateway()
    for name in gateway.rib.tables:
        for number in range(count):
            prefix = Prefix(bytes((10, 1, number >> 8, number & 255)), 32)
            gateway.rib.publish(name, "hv1", f"192.0.2.1:1:{prefix}", prefix, path(1))
    return gateway, Status(gateway.service, {})


def read(status: Status, vpn: str | None, limit: int) -> list[Any]:
    after: object = None
    rows: list[Any] = []
    while True:
        page: Any = status.page(vpn, after, limit)
        assert len(page["items"]) <= limit
        rows += page["items"]
        after = page["after"]
        if after is None:
            return rows


def key(row: Any) -> tuple[str, str]:
    return row["vpn"], row["prefix"]


@pytest.mark.parametrize("limit", [1, 7, 500])
@pytest.mark.parametrize("vpn", [None, "blue"])
def test_pages_have_what_the_whole_has(vpn: str | None, limit: int) -> None:
    _, status = site(20)
    whole: Any = status.routes(vpn)["items"]
    assert sorted(read(status, vpn, limit), key=key) == sorted(whole, key=key)


def test_a_vpn_that_goes_meanwhile_is_left_out() -> None:
    gateway, status = site(5)
    first, *rest = sorted(gateway.rib.tables)
    assert {row["vpn"] for row in status.page(None, f"2/{first}x", 500)["items"]} == set(rest)  # type: ignore[attr-defined]


@pytest.mark.parametrize("after", ["", "1", "x/blue", "1" * 5000 + "/blue", 7, ["0/blue"]])
def test_positions_that_no_page_ended_with(after: object) -> None:
    _, status = site(1)
    with pytest.raises(OperatorError, match="is not what a page ended with") as caught:
        status.page("blue", after, 10)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("after", ["0." + "1" * 5000, "1" * 5000 + ".0", "0.\u00b2"])
def test_the_same_of_the_tables_of_bgp(after: str) -> None:
    gateway, _ = site(1)
    with pytest.raises(OperatorError, match="is not what a page ended with"):
        RouteStatus(gateway.service).page(gateway.bgp, {"after": after})
