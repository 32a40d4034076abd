"""Control server and client over real unix sockets."""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.control import MAX_CALLS, MAX_LINE, Call, ControlClient, ControlServer, Handler, Peer
from runtime.errors import ExitCode, OperatorError
from runtime.socket_file import SocketFile

Work = Callable[[ControlServer, Path], Awaitable[None]]
DEADLINE = 10.0


async def echo(params: dict[str, object], call: Call) -> object:
    return {"params": params, "method": call.method, "uid": call.peer.uid, "pid": call.peer.pid}


async def count(params: dict[str, object], call: Call) -> object:
    for number in range(3):
        call.progress({"number": number})
    return {}


async def refuse(params: dict[str, object], call: Call) -> object:
    raise OperatorError("port web-1", "is there already", "detach it first", ExitCode.CONFLICT)


async def fail(params: dict[str, object], call: Call) -> object:
    raise RuntimeError("secret detail")


async def unwritable(params: dict[str, object], call: Call) -> object:
    return {"x": object()}


async def nothing(params: dict[str, object], call: Call) -> object:
    return None


METHODS: dict[str, Handler] = {
    "echo": echo,
    "count": count,
    "refuse": refuse,
    "fail": fail,
    "unwritable": unwritable,
    "nothing": nothing,
}


def serve(tmp_path: Path, work: Work, **settings: object) -> None:
    """Run work while a server with METHODS listens."""

    async def main() -> None:
        path = tmp_path / "s"
        server = ControlServer(path, METHODS, **settings)  # type: ignore[arg-type]
        await server.start()
        try:
            await asyncio.wait_for(work(server, path), DEADLINE)
        finally:
            await server.stop()

    asyncio.run(main())


async def ask(path: Path, method: str, params: dict[str, object] | None = None) -> dict[str, object]:
    def call() -> dict[str, object]:
        with ControlClient(str(path)) as client:
            return client.call(method, params, timeout=DEADLINE)

    return await asyncio.to_thread(call)


async def raw(path: Path, data: bytes) -> list[dict[str, object]]:
    """Everything the server answers to data until it or we close."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 26)
    writer.write(data)
    writer.write_eof()
    replies = [json.loads(line) async for line in reader]
    writer.close()
    await writer.wait_closed()
    return replies


def error_of(replies: list[dict[str, object]]) -> dict[str, object]:
    error = replies[-1]["error"]
    assert isinstance(error, dict)
    return error


def test_call_and_peer(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        reply = await ask(path, "echo", {"a": ["ü", 1, None]})
        assert reply == {
            "params": {"a": ["ü", 1, None]},
            "method": "echo",
            "uid": os.geteuid(),
            "pid": os.getpid(),
        }
        assert await ask(path, "nothing") == {}

    serve(tmp_path, work)


def test_one_connection_takes_many_calls_and_progress(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        def calls() -> None:
            with ControlClient(str(path)) as client:
                seen: list[object] = []
                client.call("count", on_progress=lambda report: seen.append(report["number"]))
                assert seen == [0, 1, 2]
                client.call("count")  # nobody listens: dropped
                with pytest.raises(OperatorError):
                    client.call("refuse")
                assert client.call("echo", {"x": 1})["params"] == {"x": 1}

        await asyncio.to_thread(calls)

    serve(tmp_path, work)


def test_operator_error_is_carried_over(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        with pytest.raises(OperatorError) as caught:
            await ask(path, "refuse")
        error = caught.value
        assert (error.what, error.why, error.hint, error.code) == (
            "port web-1",
            "is there already",
            "detach it first",
            ExitCode.CONFLICT,
        )

    serve(tmp_path, work)


@pytest.mark.parametrize("method", ["fail", "unwritable"])
def test_an_internal_error_is_logged_and_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        with pytest.raises(OperatorError, match="internal error") as caught:
            await ask(path, method)
        assert caught.value.code is ExitCode.FAILURE
        assert "secret" not in str(caught.value)
        assert await ask(path, "nothing") == {}

    with caplog.at_level(logging.ERROR):
        serve(tmp_path, work)
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff\xfe\x00", "not a JSON document"),
        (b"GET / HTTP/1.1", "not a JSON document"),
        (b"[" * 30000, "not a JSON document"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"{}", 'no "id"'),
        (b'{"id":null,"method":"echo"}', 'no "id"'),
        (b'{"id":[1],"method":"echo"}', 'no "id"'),
        (b'{"id":1}', 'no "method"'),
        (b'{"id":1,"method":5}', 'no "method"'),
        (b'{"id":1,"method":"echo","params":[]}', '"params" is not an object'),
        (b'{"id":1,"method":"no.such"}', "this daemon has no such method"),
    ],
)
def test_garbage_is_answered_and_the_connection_lives(tmp_path: Path, line: bytes, why: str) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        replies = await raw(path, line + b'\n\n{"id":"x","method":"nothing"}\n')
        assert sorted(reply.get("id") == "x" and "result" in reply for reply in replies) == [False, True]
        errors = [reply["error"] for reply in replies if "error" in reply]
        assert len(errors) == 1
        assert isinstance(errors[0], dict)
        assert errors[0]["why"] == why

    serve(tmp_path, work)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_endless_line_ends_its_own_connection_alone(tmp_path: Path, end: bytes) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        other_reader, other = await asyncio.open_unix_connection(str(path))
        replies = await raw(path, b"x" * (MAX_LINE + 1) + end)
        assert "longer than" in str(error_of(replies)["why"])
        other.write(b'{"id":7,"method":"nothing"}\n')
        assert json.loads(await other_reader.readline()) == {"id": 7, "result": {}}
        other.close()
        await other.wait_closed()

    serve(tmp_path, work)


def test_calls_of_one_connection_run_concurrently(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        gate = asyncio.Event()

        async def wait(params: dict[str, object], call: Call) -> object:
            await gate.wait()
            return {}

        async def release(params: dict[str, object], call: Call) -> object:
            gate.set()
            return {}

        server.methods.update(wait=wait, release=release)
        replies = await raw(path, b'{"id":1,"method":"wait"}\n{"id":2,"method":"release"}\n')
        assert {reply["id"] for reply in replies} == {1, 2}

    serve(tmp_path, work)


def test_more_calls_than_allowed_wait_their_turn(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        running = most = 0

        async def slow(params: dict[str, object], call: Call) -> object:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(3):  # let the others in
                await asyncio.sleep(0)
            running -= 1
            return {}

        server.methods["slow"] = slow
        total = MAX_CALLS * 5
        requests = b"".join(b'{"id":%d,"method":"slow"}\n' % number for number in range(total))
        assert len(await raw(path, requests)) == total
        assert most == MAX_CALLS

    serve(tmp_path, work)


def test_a_call_goes_on_when_its_client_leaves(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        started, left, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def attach(params: dict[str, object], call: Call) -> object:
            started.set()
            await left.wait()
            call.progress({"dropped": True})
            assert not call.connected
            done.set()
            return {}

        server.methods["attach"] = attach
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"id":1,"method":"attach"}\n')
        await started.wait()
        writer.close()
        await writer.wait_closed()
        left.set()
        await done.wait()

    serve(tmp_path, work)


def test_a_call_that_ended_is_told_nothing_more(tmp_path: Path) -> None:
    """A client that calls again and again by one connection leaves nothing behind in the daemon."""

    async def work(server: ControlServer, path: Path) -> None:
        told: list[object] = []
        left = asyncio.Event()

        async def watch(params: dict[str, object], call: Call) -> object:
            call.on_change(lambda: told.append(params.get("number")))
            if params["number"] == 2:
                call.on_change(left.set)
                await left.wait()
            return {}

        server.methods["watch"] = watch
        reader, writer = await asyncio.open_unix_connection(str(path))
        for number in range(2):
            writer.write(b'{"id":1,"method":"watch","params":{"number":%d}}\n' % number)
            await reader.readline()
        writer.write(b'{"id":2,"method":"watch","params":{"number":2}}\n')
        writer.write_eof()
        await reader.readline()
        assert told == []
        writer.close()

    serve(tmp_path, work)


def test_a_large_reply(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        rows = [{"prefix": f"10.0.{number >> 8}.{number & 255}/32"} for number in range(50_000)]

        async def routes(params: dict[str, object], call: Call) -> object:
            return {"items": rows}

        server.methods["routes"] = routes
        assert (await ask(path, "routes"))["items"] == rows

    serve(tmp_path, work)


def test_a_client_that_never_reads_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.control.MAX_UNSENT", 1 << 20)

    async def work(server: ControlServer, path: Path) -> None:
        async def big(params: dict[str, object], call: Call) -> object:
            return {"text": "x" * (1 << 22)}

        server.methods["big"] = big
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1)
        writer.write(b'{"id":1,"method":"big"}\n{"id":2,"method":"big"}\n')
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1 << 22)
        writer.close()

    serve(tmp_path, work)


def test_a_client_that_reads_slowly_gets_everything(tmp_path: Path) -> None:
    async def work(server: ControlServer, path: Path) -> None:
        ran = 0

        async def big(params: dict[str, object], call: Call) -> object:
            nonlocal ran
            ran += 1
            return {"text": "x" * (1 << 20)}

        server.methods["big"] = big
        total = MAX_CALLS + 20
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 22)
        writer.write(b"".join(b'{"id":%d,"method":"big"}\n' % number for number in range(total)))
        seen = {json.loads(await reader.readline())["id"]}
        assert ran <= MAX_CALLS  # the rest waits until the answers are read
        for _ in range(total - 1):
            seen.add(json.loads(await reader.readline())["id"])
        assert seen == set(range(total))
        writer.close()
        await writer.wait_closed()

    serve(tmp_path, work)


def mode_and_group(path: Path) -> tuple[int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_gid


class TestPermission:
    def test_socket_mode_and_group(self, tmp_path: Path) -> None:
        async def work(server: ControlServer, path: Path) -> None:
            assert mode_and_group(path) == (0o660, os.getegid())

        serve(tmp_path, work, group=os.getegid())

    def test_refused_peer(self, tmp_path: Path) -> None:
        async def work(server: ControlServer, path: Path) -> None:
            with pytest.raises(OperatorError) as caught:
                await ask(path, "echo")
            assert caught.value.code is ExitCode.NOT_PERMITTED
            assert "not permitted" in caught.value.why

        serve(tmp_path, work, authorise=lambda peer: False)

    @pytest.mark.parametrize(
        ("peer", "group", "permitted"),
        [
            (Peer(0, 0, 1), None, True),
            (Peer(os.geteuid(), 99, 1), None, True),
            (Peer(54321, 99, 1), None, False),
            (Peer(54321, 99, 1), 99, True),
            (Peer(54321, 100, 1, frozenset({5, 99})), 99, True),
            (Peer(54321, 100, 1, frozenset({5})), 99, False),
        ],
    )
    def test_who_may(self, tmp_path: Path, peer: Peer, group: int | None, permitted: bool) -> None:
        assert ControlServer(tmp_path / "s", {}, group=group).permits(peer) is permitted

    def test_group_by_name(self, tmp_path: Path) -> None:
        name = grp.getgrgid(os.getegid()).gr_name
        assert ControlServer(tmp_path / "s", {}, group=name).permits(Peer(54321, os.getegid(), 1))
        with pytest.raises(OperatorError, match="there is no group") as caught:
            ControlServer(tmp_path / "s", {}, group="no-such-group")
        assert caught.value.code is ExitCode.NOT_FOUND


class TestSocketFile:
    def test_a_stale_socket_is_replaced_and_removed_at_the_end(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "s"))

        async def work(server: ControlServer, path: Path) -> None:
            assert await ask(path, "nothing") == {}

        serve(tmp_path, work)
        assert not (tmp_path / "s").exists()
        serve(tmp_path, work)  # and again: the lock was given back

    def test_a_live_daemon_keeps_its_socket(self, tmp_path: Path) -> None:
        async def work(server: ControlServer, path: Path) -> None:
            second = ControlServer(path, METHODS)
            with pytest.raises(OperatorError, match="another daemon is using it") as caught:
                await second.start()
            assert caught.value.code is ExitCode.CONFLICT
            await second.stop()
            assert await ask(path, "nothing") == {}

        serve(tmp_path, work)

    def test_a_foreign_live_socket_is_left_alone(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as foreign:
            foreign.bind(str(tmp_path / "s"))
            foreign.listen()
            with pytest.raises(OperatorError, match="another daemon"):
                asyncio.run(ControlServer(tmp_path / "s", {}).start())
        assert (tmp_path / "s").exists()

    def test_a_file_of_that_name_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("precious")
        with pytest.raises(OperatorError, match="something else") as caught:
            asyncio.run(ControlServer(tmp_path / "s", {}).start())
        assert caught.value.code is ExitCode.CONFLICT
        assert (tmp_path / "s").read_text() == "precious"

    def test_a_link_in_place_of_the_lock_leads_nowhere(self, tmp_path: Path) -> None:
        """Daemons of several users have their sockets in one directory."""
        (tmp_path / "s.lock").symlink_to(tmp_path / "made by whoever follows")
        with pytest.raises(OperatorError, match="control socket"):
            asyncio.run(ControlServer(tmp_path / "s", {}).start())
        assert not (tmp_path / "made by whoever follows").exists()

    def test_a_lock_of_another_user_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_arguments: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("runtime.socket_file.os.open", refused)
        with pytest.raises(OperatorError, match="Permission denied") as caught:
            SocketFile(tmp_path / "s").listen()
        assert f"remove {tmp_path}/s.lock" in caught.value.hint

    @pytest.mark.parametrize("name", ["absent/s", "x" * 120])
    def test_it_can_not_be_made(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(OperatorError, match=r"No such file|longer than"):
            asyncio.run(ControlServer(tmp_path / name, {}).start())

    def test_stop_gives_running_calls_their_grace_and_then_an_answer(self, tmp_path: Path) -> None:
        async def main() -> None:
            started = asyncio.Event()

            async def endless(params: dict[str, object], call: Call) -> object:
                started.set()
                await asyncio.Event().wait()
                return {}

            server = ControlServer(tmp_path / "s", {"endless": endless})
            await server.start()
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(b'{"id":1,"method":"endless"}\n')
            await started.wait()
            await server.stop(grace=0.01)
            assert "the daemon is stopping" in (await reader.read()).decode()
            writer.close()
            await writer.wait_closed()

        asyncio.run(asyncio.wait_for(main(), DEADLINE))


class TestClient:
    def test_no_daemon(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "dead"))
        for name in ("absent", "dead"):
            with pytest.raises(OperatorError, match="not running") as caught:
                ControlClient(str(tmp_path / name)).call("echo")
            assert caught.value.code is ExitCode.UNREACHABLE
            assert "journalctl -u" in caught.value.hint, "a start that fails says why there"

    def test_a_path_that_is_too_long(self) -> None:
        with pytest.raises(OperatorError) as caught:
            ControlClient("/" + "x" * 200).call("echo")
        assert caught.value.code is ExitCode.UNREACHABLE

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (b"", "closed the connection"),
            (b'{"id":1', "closed the connection"),
            (b"garbage\n", "not the control protocol"),
            (b"[]\n", "not the control protocol"),
            (b'{"id":1,"result":[]}\n', "not the control protocol"),
            (None, "no answer within"),
        ],
    )
    def test_a_daemon_that_answers_badly(self, tmp_path: Path, answer: bytes | None, why: str) -> None:
        path = str(tmp_path / "s")
        asked = threading.Event()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def daemon() -> None:
                with listener.accept()[0] as connection:
                    connection.recv(4096)
                    if answer is None:
                        asked.wait(DEADLINE)
                    else:
                        connection.sendall(answer)

            thread = threading.Thread(target=daemon)
            thread.start()
            with ControlClient(path) as client, pytest.raises(OperatorError, match=why) as caught:
                client.call("echo", timeout=0.2 if answer is None else DEADLINE)
            asked.set()
            thread.join(DEADLINE)
        assert caught.value.code is ExitCode.UNREACHABLE

    def test_the_answer_of_an_abandoned_call_is_not_taken_for_the_next_one(self, tmp_path: Path) -> None:
        async def work(server: ControlServer, path: Path) -> None:
            def calls() -> None:
                with ControlClient(str(path)) as client:

                    def stop(report: dict[str, object]) -> None:
                        raise KeyboardInterrupt

                    with pytest.raises(KeyboardInterrupt):
                        client.call("count", on_progress=stop)
                    assert client.call("echo", {"second": True})["params"] == {"second": True}

            await asyncio.to_thread(calls)

        serve(tmp_path, work)
