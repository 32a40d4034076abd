"""What daemons do at their start, whatever they serve."""

from __future__ import annotations

import resource

import pytest

from runtime.daemon import connections_possible, raise_file_limit


def test_servers_take_as_many_files_as_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 65536))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: wanted.append((what, limits)))
    raise_file_limit(10_000, "some.key")
    assert wanted == [(resource.RLIMIT_NOFILE, (65536, 65536))]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (65536, 65536))
    raise_file_limit(10_000, "some.key")
    assert len(wanted) == 1


@pytest.mark.parametrize(
    ("limit", "told"), [(65536, False), (10_200, False), (10_000, True), (1024, True), (resource.RLIM_INFINITY, False)]
)
def test_too_few_files_are_told(
    limit: int, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (limit, limit))
    raise_file_limit(10_000, "some.key")
    assert ("too few for some.key = 10000" in caplog.text) is told


@pytest.mark.parametrize(
    ("files", "connections"), [(65536, 10_000), (10_050, 9_950), (64, 32), (resource.RLIM_INFINITY, 10_000)]
)
def test_files_are_left_for_other_things_than_connections(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (files, files))
    assert connections_possible(10_000) == connections


def test_a_unit_that_lets_nobody_change_limits_stops_no_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 65536))
    monkeypatch.setattr(resource, "setrlimit", refused)
    raise_file_limit(500, "some.key")
    assert "1024" in caplog.text and "some.key" not in caplog.text
