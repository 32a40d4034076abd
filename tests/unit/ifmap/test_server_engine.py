"""The engine between connections and service: answers delivered, the writer woken, the timer set, sessions logged."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ifmap import search
from ifmap.answers import NewSessionResult, SearchResult, read_answer
from ifmap.requests_writer import write_request
from ifmap.server import engine as engine_module
from ifmap.server.engine import Engine
from ifmap.server.http import Response
from ifmap.server.listener import Listener
from ifmap.server.writer import Writer
from ifmap.service import Output, ServiceSettings
from ifmap.values import NewSession, Poll, RenewSession, Search, SearchSpec, link
from tests.unit.ifmap.map_harness import D1, D2, WALL, Bench, MapUser, single
from tests.unit.ifmap.server_harness import run, until


class Outside:
    """Listener and writer of an engine: keeps answers, commits when it is woken."""

    def __init__(self, engine: Engine) -> None:
        self.answers: list[Output] = []
        self.engine = engine

    def deliver(self, output: Output) -> None:
        self.answers.append(output)

    def wake(self) -> None:
        service, now = self.engine.service, asyncio.get_running_loop().time()
        while (batch := service.begin(WALL)) is not None:
            service.committed(batch, now)
        asyncio.get_running_loop().call_soon(self.engine.turn)


def engine(bench: Bench) -> tuple[Engine, Outside]:
    made = Engine(bench.service, lambda: Response(200, b"ok"))
    outside = Outside(made)
    made.listener = cast(Listener, outside)
    made.writer = cast(Writer, outside)
    return made, outside


def test_sessions_are_logged_with_the_reason_of_their_end(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        made, outside = engine(Bench(ServiceSettings(session_timeout=0.02)))
        made.request(1, "a", write_request(NewSession()), "192.0.2.5")
        await until(lambda: len(outside.answers) == 1)
        result = read_answer(outside.answers[0].body)
        assert isinstance(result, NewSessionResult)
        made.request(1, "a", RenewSession(result.session_id), "192.0.2.5")
        assert len(outside.answers) == 2
        made.request(2, "a", Poll(result.session_id), "192.0.2.6")
        made.request(3, "a", NewSession(), "192.0.2.7")
        await until(lambda: len(outside.answers) == 4)
        assert [output.channel for output in outside.answers] == [1, 1, 2, 3]
        made.closed(3)
        await until(lambda: len(caplog.records) == 4)
        made.stop()

    with caplog.at_level("INFO", logger="vrfwire.map"):
        run(scenario())
    assert [record.message for record in caplog.records] == [
        "session of a at 192.0.2.5 began",
        "session of a at 192.0.2.6 ended: another newSession of client a from 192.0.2.7 took over",
        "session of a at 192.0.2.7 began",
        "session of a at 192.0.2.7 ended: no connection for 0.02 s",
    ]


def test_what_takes_long_goes_on_in_turns(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(search, "SLICE", 1)
    monkeypatch.setattr(engine_module, "TURN", 0.0)

    async def scenario() -> None:
        bench = Bench()
        user = MapUser(bench, "a")
        user.update(link(D1, D2), single("state"))
        made, outside = engine(bench)
        looking = Search(user.id, SearchSpec(D1, 2, max_size=1_000_000))
        made.request(user.ssrc, "a", looking, "192.0.2.5")
        assert not outside.answers
        made.request(99, "a", Poll(user.id), "192.0.2.5")
        await until(lambda: outside.answers)
        assert isinstance(read_answer(outside.answers[0].body), SearchResult)
        with monkeypatch.context() as patch:
            made.request(user.ssrc, "a", looking, "192.0.2.5")
            patch.setattr(search, "item_xml", fault)
            await until(lambda: len(outside.answers) == 2)
        assert b"SystemError" in outside.answers[1].body
        made.request(user.ssrc, "a", looking, "192.0.2.5")
        await until(lambda: len(outside.answers) == 3)
        made.request(user.ssrc, "a", looking, "192.0.2.5")
        made.stop()

    run(scenario())
    assert [record.exc_info is not None for record in caplog.records] == [True]


def fault(*_: object) -> bytes:
    raise ZeroDivisionError
