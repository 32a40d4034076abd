"""Addresses of MAP servers, and which is tried when."""

from __future__ import annotations

import pytest

from ifmap.endpoint import STEADY, Endpoint, EndpointError, Failover
from runtime.backoff import Backoff

A, B, C = (Endpoint(name) for name in "abc")


@pytest.mark.parametrize(
    ("url", "endpoint", "text"),
    [
        ("https://192.0.2.9", Endpoint("192.0.2.9"), "https://192.0.2.9:8443/"),
        ("https://map.example.net:9/", Endpoint("map.example.net", 9), "https://map.example.net:9/"),
        ("HTTPS://Map.Example.net/ifmap?x=1", Endpoint("map.example.net", 8443, "/ifmap?x=1"), None),
        ("https://[2001:db8::1]:443/a%20b", Endpoint("2001:db8::1", 443, "/a%20b"), "https://[2001:db8::1]:443/a%20b"),
    ],
)
def test_urls(url: str, endpoint: Endpoint, text: str | None) -> None:
    assert Endpoint.parse(url) == endpoint
    assert text is None or str(endpoint) == text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a/", "https://"),
        ("a:8443", "https://"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://a:0/", "no port"),
        ("https://a:70000/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://a/#top", "fragment"),
        ("https://a/ b", "characters"),
        ("https://a/\u00e4", "characters"),
        ("https://a b/", "characters"),
        ("https://.a/", "neither a name"),
        ("https://-a/", "neither a name"),
        ("https://[fe80::1%25eth0]/", "neither a name"),
        ("https://a\r\nX:y/", "characters"),
        ("https://a/\x00", "characters"),
        ("https://a'b/", "neither a name"),
    ],
)
def test_what_is_no_url_of_a_server(url: str, why: str) -> None:
    with pytest.raises(EndpointError, match=why):
        Endpoint.parse(url)


def test_a_password_in_a_url_is_refused_and_not_told() -> None:
    with pytest.raises(EndpointError) as error:
        Endpoint.parse("https://gw1:secret@a/")
    assert "secret" not in str(error.value)


def test_waits_have_full_jitter_below_a_ceiling_that_doubles() -> None:
    ceilings = Backoff(0.5, 30.0, lambda: 1.0)
    assert [ceilings.next() for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert Backoff(0.5, 30.0, lambda: 0.0).next() == 0.0
    ceilings.reset()
    assert ceilings.next() == 0.5


def failover(*endpoints: Endpoint) -> Failover:
    return Failover(endpoints, Backoff(0.5, 30.0, lambda: 1.0))


def test_a_round_tries_every_server_at_once_and_then_waits() -> None:
    servers = failover(A, B, C)
    seen: list[object] = []
    for _ in range(6):
        seen.append(servers.current)
        wait = servers.unreachable()
        seen.append(wait)
    assert seen == [A, None, B, None, C, 0.5, A, None, B, None, C, 1.0]


def test_after_a_steady_session_its_server_comes_first_and_the_wait_is_short() -> None:
    servers = failover(A, B, C)
    servers.unreachable()
    servers.unreachable()
    servers.unreachable()
    servers.unreachable()
    assert servers.current == B
    assert servers.lost(STEADY) == 0.5
    assert [servers.current, servers.unreachable(), servers.current, servers.unreachable(), servers.current] == [
        *(B, None, A, None, C)
    ]


def test_a_session_that_ends_early_makes_the_wait_grow_and_others_come_first() -> None:
    """Two programs with one user: each new session ends the other's."""
    servers = failover(A, B)
    assert (servers.lost(1.0), servers.current) == (0.5, B)
    assert (servers.lost(1.0), servers.current) == (1.0, A)
    alone = failover(A)
    assert [alone.lost(STEADY - 1) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert alone.lost(STEADY) == 0.5


def test_there_has_to_be_a_server() -> None:
    with pytest.raises(ValueError, match="no server"):
        failover()
