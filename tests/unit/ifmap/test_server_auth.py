"""Who is let in: passwords checked once, certificates by their names, limits on guessing."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import Coroutine
from typing import Any

import pytest

from ifmap.server.auth import Authenticator, Clients
from ifmap.server.failures import LIMIT
from ifmap.server.passwords import PasswordHash, hash_password

HERE = "192.0.2.1"
CHEAP = 4


def basic(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def clients(**passwords: str) -> Clients:
    return Clients(
        frozenset(passwords), {name: hash_password(text, CHEAP) for name, text in passwords.items()}, {"cn-1": "gw1"}
    )


class Counting:
    """How often passwords were looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checks = 0
        verify = PasswordHash.verify

        def counted(stored: PasswordHash, password: str) -> bool:
            self.checks += 1
            return verify(stored, password)

        monkeypatch.setattr(PasswordHash, "verify", counted)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_a_password_is_looked_at_once(counting: Counting) -> None:
    async def scenario() -> None:
        authenticator = Authenticator(clients(ann="x:y"))
        field = basic("ann", "x:y")
        assert authenticator.known(field) is None
        # Two connections of a client come at once.
        verdicts = await asyncio.gather(authenticator.verify(field, HERE), authenticator.verify(field, HERE))
        assert [verdict.client for verdict in verdicts] == ["ann", "ann"]
        assert authenticator.known(field) == "ann"
        assert authenticator.known(basic("ann", "other")) is None
        authenticator.close()

    run(scenario())
    assert counting.checks == 1


@pytest.mark.parametrize(("user", "password"), [("ann", "hunter2"), ("nobody", "s3same"), ("", ""), ("ann", "")])
def test_wrong_ones_are_refused_and_take_a_check(
    counting: Counting, caplog: pytest.LogCaptureFixture, user: str, password: str
) -> None:
    async def scenario() -> None:
        authenticator = Authenticator(clients(ann="x"))
        verdict = await authenticator.verify(basic(user, password), HERE)
        assert (verdict.client, verdict.status) == (None, 401)
        assert verdict.delay > 0
        assert authenticator.known(basic(user, password)) is None
        assert authenticator.refused == 1
        authenticator.close()

    with caplog.at_level(logging.DEBUG):
        run(scenario())
    assert counting.checks == 1
    assert HERE in caplog.text
    assert not password or password not in caplog.text


def test_what_is_no_basic_authentication_is_not_a_guess() -> None:
    async def scenario() -> None:
        authenticator = Authenticator(clients(ann="x"))
        verdict = await authenticator.verify(b"Bearer abc", HERE)
        assert (verdict.client, verdict.status, verdict.delay) == (None, 401, 0.0)
        assert authenticator.refused == 0
        authenticator.close()

    run(scenario())


def test_guessing_ends_and_hurts_nobody_who_is_known(counting: Counting) -> None:
    async def scenario() -> None:
        authenticator = Authenticator(clients(ann="x", bob="y"))
        await authenticator.verify(basic("ann", "x"), HERE)
        guesses = [authenticator.verify(basic("bob", f"guess {number}"), HERE) for number in range(50)]
        verdicts = await asyncio.gather(*guesses)
        assert all(verdict.client is None and verdict.status == 401 for verdict in verdicts)
        assert authenticator.refused <= LIMIT + 1
        assert counting.checks <= LIMIT + 2
        assert authenticator.known(basic("ann", "x")) == "ann"
        # Not even the right one, from there; from elsewhere, yes.
        assert (await authenticator.verify(basic("bob", "y"), HERE)).client is None
        assert (await authenticator.verify(basic("bob", "y"), "192.0.2.2")).client == "bob"
        authenticator.close()

    run(scenario())


def test_other_clients_are_others_at_once() -> None:
    async def scenario() -> None:
        old = clients(ann="x", bob="y")
        authenticator = Authenticator(old)
        await authenticator.verify(basic("ann", "x"), HERE)
        under_way = asyncio.create_task(authenticator.verify(basic("bob", "y"), HERE))
        await asyncio.sleep(0)
        authenticator.replace(clients(ann="new"))
        assert authenticator.known(basic("ann", "x")) is None
        assert (await under_way).client is None
        assert authenticator.known(basic("bob", "y")) is None
        assert (await authenticator.verify(basic("ann", "new"), HERE)).client == "ann"
        authenticator.close()

    run(scenario())


def test_the_same_clients_again_interrupt_nobody() -> None:
    async def scenario() -> None:
        same = clients(ann="x")
        authenticator = Authenticator(same)
        under_way = asyncio.create_task(authenticator.verify(basic("ann", "x"), HERE))
        await asyncio.sleep(0)
        authenticator.replace(Clients(same.names, dict(same.passwords)))
        assert (await under_way).client == "ann"
        authenticator.close()

    run(scenario())


def test_a_client_that_leaves_does_not_cancel_for_the_other() -> None:
    async def scenario() -> None:
        authenticator = Authenticator(clients(ann="x"))
        field = basic("ann", "x")
        leaving = asyncio.create_task(authenticator.verify(field, HERE))
        staying = asyncio.create_task(authenticator.verify(field, HERE))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).client == "ann"
        authenticator.close()

    run(scenario())


def test_certificates() -> None:
    async def scenario() -> None:
        authenticator = Authenticator(clients(ann="x"))
        assert authenticator.certified("cn-1") == "gw1"
        assert authenticator.certified("ann") is None
        assert authenticator.certified(None) is None
        authenticator.close()

    run(scenario())
