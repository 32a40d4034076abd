"""gateway/records.py: a host is remembered for as long as there is anything of it."""

from __future__ import annotations

import pytest

from gateway.records import HostRecords
from tests.unit.gateway.harness import Bench


class Site(Bench):
    """A service with records of its hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.records = HostRecords(self.service, lambda host: self.waiting)


def test_a_host_is_forgotten_with_the_last_that_is_left_of_it() -> None:
    site = Site()
    first, second = site.connect("hv1", "192.0.2.1", "a"), site.connect("hv1", "192.0.2.1", "b")
    site.records.began(first.session, "192.0.2.1")
    site.records.began(second.session, "192.0.2.2")
    [record] = site.records.by_host.values()
    assert (record.jid, record.address, record.addresses) == (str(second.session.jid), "192.0.2.2", ["192.0.2.1"])
    since = record.since = 1.0
    for peer in (first, second):
        assert record.since == since, "it has a session"
        site.disconnect(peer)
        site.records.left("hv1")
        site.waiting = 1
        site.records.tidy("hv1")
        assert "hv1" in site.records.by_host, "it may come back"
    assert record.since > since
    site.waiting = 0
    site.records.tidy("hv1")
    assert not site.records.by_host
    site.records.left("hv1")
    site.records.tidy("hv1")


def test_stale_items_are_withdrawn_in_time_and_told(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    for name, address in (("hv1", "192.0.2.1"), ("hv2", "192.0.2.2")):
        peer = site.connect(name, address)
        site.records.began(peer.session)
        peer.announce("blue", "10.1.1.1/32", "10.1.1.2/32")
        site.disconnect(peer)
        site.records.tidy(name)
    assert set(site.records.by_host) == {"hv1", "hv2"}
    back = site.connect("hv2", "192.0.2.2")
    site.records.began(back.session)
    back.announce("blue", "10.1.1.1/32", "10.1.1.2/32")
    site.records.expire(site.now + 61)
    assert set(site.records.by_host) == {"hv2"} and site.service.rib.count("hv2") == 2
    told = [record.getMessage() for record in caplog.records]
    assert told == ["host hv1 did not come back in time; 2 of its routes are withdrawn"]
