"""A control server in a thread, answering what a test says, and the commands run against it in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent import cli as agent_cli
from gateway import cli as gateway_cli
from runtime.control import Call, ControlServer
from runtime.errors import OperatorError

DEADLINE = 10.0


@dataclass
class FakeDaemon:
    """answers: method -> reply, or a function of the parameters that makes it, or an OperatorError to raise.

    asked: (method, params) so far.
    """

    path: str
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    before_answer: Callable[[Call], None] = lambda call: None
    hold: bool = False
    """Answer nothing before the client leaves; `left` is set then."""
    left: threading.Event = field(default_factory=threading.Event)

    async def answer(self, params: dict[str, object], call: Call) -> object:
        self.asked.append((call.method, params))
        self.before_answer(call)
        if self.hold:
            gone = asyncio.Event()
            call.on_change(gone.set)
            await gone.wait()
            self.left.set()
            return {}
        answer = self.answers[call.method]
        if isinstance(answer, OperatorError):
            raise answer
        return answer(params) if callable(answer) else answer


METHODS = (
    *("port.attach", "port.detach", "port.list", "port.show", "vpn.list", "vpn.show", "route.list", "route.explain"),
    *("gateway.list", "host.list", "status", "doctor", "config.show", "version"),
    *("peer.list", "peer.show", "peer.refresh", "peer.reset", "bgp.routes", "map.show", "map.accept"),
    *("attachment.list", "drain", "undrain", "tls.reload", "drops", "monitor", "object.list", "object.show"),
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A running fake; its socket is at daemon.path."""
    fake = FakeDaemon(str(tmp_path / "control.sock"))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        server = ControlServer(fake.path, dict.fromkeys(METHODS, fake.answer))
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(grace=0.1)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert started.wait(DEADLINE)
    yield fake
    loop.call_soon_threadsafe(stop.set)
    thread.join(DEADLINE)
    loop.close()


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """Runs the commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def vrfwire(self, *arguments: str) -> Outcome:
        return self._run(agent_cli.main, arguments)

    def gateway_ctl(self, *arguments: str) -> Outcome:
        return self._run(gateway_cli.main, arguments)

    def _run(self, main: Callable[[Sequence[str]], int], arguments: tuple[str, ...]) -> Outcome:
        code = main(arguments)
        captured = self._capsys.readouterr()
        return Outcome(int(code), captured.out, captured.err)


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    """The commands, with VRFWIRE_SOCKET at the fake's socket."""
    monkeypatch.setenv("VRFWIRE_SOCKET", str(tmp_path / "control.sock"))
    monkeypatch.setenv("NO_COLOR", "1")
    return Commands(capsys)
