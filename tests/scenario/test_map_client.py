"""The MAP client against a server that does as the test says: order, errors of every kind, fail-over, new sessions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ifmap.answers import ReceivedPart
from ifmap.client import ClientState, MapClient
from ifmap.client_channel import open_channel
from ifmap.client_errors import ClientError, MapUnavailable, SessionLost
from ifmap.client_http import basic, request_head
from ifmap.client_publisher import Publisher
from ifmap.client_settings import ClientSettings
from ifmap.endpoint import Endpoint
from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import Identifier, IdentifierKind, MetadataName, NewMetadata, SearchSpec, Update, node
from lab.pki import Authority, Credentials
from tests.scenario.scripted_map import (
    DEADLINE,
    Answer,
    Call,
    Log,
    ScriptedMap,
    always,
    envelope,
    error,
    http,
    item,
    result,
    settings,
    until,
)

ROOT = Identifier(IdentifierKind.DEVICE, "root")
SPEC = SearchSpec(ROOT, max_depth=3)
STATE = MetadataName("urn:example:x", "state")


def state(value: str) -> NewMetadata:
    tail = f' xmlns:x="urn:example:x" ifmap-cardinality="singleValue">{value}</x:state>'
    return NewMetadata(STATE, True, b"<x:state", tail.encode())


UPDATE = Update(node(ROOT), (state("up"),))


@pytest.fixture(scope="module")
def credentials(authority: Authority) -> Credentials:
    return authority.issue("map", "map.example.net", addresses=["127.0.0.1"])


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario; everything of it has ended with it."""

    async def main() -> None:
        async with asyncio.timeout(3 * DEADLINE):
            await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@asynccontextmanager
async def serving(credentials: Credentials, **answers: Answer) -> AsyncIterator[ScriptedMap]:
    server = ScriptedMap()
    server.answer.update(answers)
    await server.start(credentials)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def watching(settings: ClientSettings, *names: str) -> AsyncIterator[tuple[MapClient, Log]]:
    """A client with subscriptions."""
    log = Log()
    client = MapClient(settings, log)
    for name in names:
        client.subscribe(name, SPEC)
    await client.start()
    try:
        yield client, log
    finally:
        await client.stop()


def after(count: int, misbehaviour: Answer, server: ScriptedMap) -> Answer:
    """In good order but for one call: the count-th."""
    seen = 0

    async def answer(call: Call) -> bytes | None:
        nonlocal seen
        seen += 1
        return await (misbehaviour if seen == count else server.ordinary)(call)

    return answer


# -- in good order


def test_a_command_needs_one_connection_and_ends_its_session(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            async with MapClient(settings(server.port, credentials=credentials)) as client:
                await client.publish([UPDATE])
                assert [found.edge for found in await client.search(SPEC)] == [node(ROOT)]
                await client.purge()
                await client.purge("another")
                with pytest.raises(ValueError, match="listener"):
                    client.subscribe("s", SPEC)
            operations = ["newSession", "publish", "search", "purgePublisher", "purgePublisher", "endSession"]
            assert [call.operation for call in server.calls] == operations
            assert server.connections == 1
            assert {call.user for call in server.calls} == {"gw1:pass:word"}
            assert all(b"s1" in call.body for call in server.calls[1:])
            assert b'"p1"' in server.calls[3].body and b'"another"' in server.calls[4].body
            assert client.status().state is ClientState.STOPPED
            with pytest.raises(SessionLost):
                await client.publish([UPDATE])
            with pytest.raises(MapUnavailable):
                await client.ready()

    run(scenario)


def test_results_come_in_order_after_the_session_has_begun(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            server.tell(result("searchResult", "a", item("root")), result("searchResult", "b", item("root", "v")))
            server.tell(result("updateResult", "a", item("x", "v")), result("deleteResult", "a", item("x", "v")))
            server.tell(result("notifyResult", "b", item("y", "v")), result("updateResult", "unknown", item("z", "v")))
            server.tell(result("updateResult", "b", item("last", "v")))
            async with watching(settings(server.port, credentials=credentials), "a", "b") as (client, log):
                await until(lambda: ("updateResult", "b", ["last"]) in log.events, "the last result")
                assert log.events == [
                    ("started", "s1"),
                    ("searchResult", "a", ["root"]),
                    ("searchResult", "b", ["root"]),
                    ("updateResult", "a", ["x"]),
                    ("deleteResult", "a", ["x"]),
                    ("notifyResult", "b", ["y"]),
                    ("updateResult", "b", ["last"]),
                ]
                status = client.status()
                assert (status.state, status.publisher_id, status.sessions, status.results) == ("connected", "p1", 1, 6)
                assert status.subscriptions == {"a": "complete", "b": "complete"}
            # Orderly: nobody is told of a loss, and the server is told of the end.
            assert log.all("lost") == []
            assert len(server.asked("endSession")) == 1
            # Polls have a connection of their own.
            polls = {call.connection for call in server.asked("poll")}
            assert len(polls) == 1 and not polls & {
                call.connection for call in server.calls if call.operation != "poll"
            }

    run(scenario)


def test_the_next_poll_is_there_while_a_result_is_read(credentials: Credentials) -> None:
    """A large answer is read in a thread: the loop goes on, and the order is kept."""

    async def scenario() -> None:
        many = [item(f"device-{number}", "v") for number in range(2000)]
        async with serving(credentials) as server:
            server.tell(result("searchResult", "a", *many))
            server.tell(result("updateResult", "a", item("last", "v")))
            async with watching(settings(server.port, credentials=credentials), "a") as (_, log):
                assert len((await log.wait("searchResult"))[2]) == 2000
                assert (await log.wait("updateResult"))[2] == ["last"]
                await until(lambda: len(server.asked("poll")) == 3, "the third poll")

    run(scenario)


def test_each_of_concurrent_publishes_has_its_own_answer_in_order(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            server.answer["publish"] = after(3, always(http(error("AccessDenied", "not yours"))), server)
            async with MapClient(settings(server.port, credentials=credentials)) as client:
                values = [f"value-{number}" for number in range(5)]
                outcomes = await asyncio.gather(
                    *(client.publish([Update(node(ROOT), (state(value),))]) for value in values), return_exceptions=True
                )
                assert [outcome is None for outcome in outcomes] == [True, True, False, True, True]
                refusal = outcomes[2]
                assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.ACCESS_DENIED
                assert str(refusal) == "not yours"
                assert [
                    value.encode() in call.body for value, call in zip(values, server.asked("publish"), strict=True)
                ]
                assert server.sessions == 1

    run(scenario)


def test_a_caller_that_gives_up_does_not_disturb_the_others(credentials: Credentials) -> None:
    async def scenario() -> None:
        go_on = asyncio.Event()

        async def slow(call: Call) -> bytes | None:
            await go_on.wait()
            return await server.ordinary(call)

        async with (
            serving(credentials, publish=slow) as server,
            MapClient(settings(server.port, credentials=credentials)) as client,
        ):
            tasks = [asyncio.create_task(client.publish([UPDATE])) for _ in range(3)]
            await until(lambda: server.asked("publish"), "the first publish")
            tasks[0].cancel()
            tasks[1].cancel()
            go_on.set()
            await tasks[2]
            assert len(await client.search(SPEC)) == 1
            # The second was still in line.
            assert len(server.asked("publish")) == 2
            assert server.sessions == 1

    run(scenario)


def test_subscriptions_come_and_go_within_a_session(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with (
            serving(credentials) as server,
            watching(settings(server.port, credentials=credentials), "a") as (client, log),
        ):
            server.tell(result("searchResult", "a", item("root")))
            await log.wait("searchResult")
            client.subscribe("b", SPEC)
            await until(lambda: server.names() == ["a", "b"], "the second subscription")
            client.unsubscribe("a")
            server.tell(result("updateResult", "a", item("x", "v")), result("searchResult", "b", item("root")))
            assert (await log.wait("searchResult", 2))[1] == "b"
            assert log.all("updateResult") == []
            await until(lambda: b'<delete name="a"' in server.asked("subscribe")[-1].body, "the end of the first")

    run(scenario)


def test_an_idle_session_is_renewed(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            options = settings(server.port, credentials=credentials, renew_interval=0.01)
            async with watching(options, "a") as (_, log):
                await until(lambda: len(server.asked("renewSession")) >= 3, "renewals")
                assert b"s1" in server.asked("renewSession")[0].body
                assert log.all("lost") == []

    run(scenario)


def test_a_server_that_closes_after_each_answer(credentials: Credentials) -> None:
    """It says so; then a new connection takes the old one's place, and the session goes on."""

    async def scenario() -> None:
        async def closing(call: Call) -> bytes | None:
            answer = await server.ordinary(call)
            assert answer is not None
            call.writer.write(answer.replace(b"Content-Length", b"Connection: close\r\nContent-Length"))
            await call.writer.drain()
            return None

        async with serving(credentials) as server:
            for operation in ("newSession", "subscribe", "publish", "poll", "endSession"):
                server.answer[operation] = closing
            server.tell(result("searchResult", "a", item("root")))
            server.tell(result("updateResult", "a", item("x", "v")))
            async with watching(settings(server.port, credentials=credentials), "a") as (client, log):
                await client.ready()
                await client.publish([UPDATE])
                await client.publish([UPDATE])
                await log.wait("updateResult")
                assert log.all("lost") == []
            assert server.sessions == 1

    run(scenario)


# -- misbehaviour


async def half_an_answer(call: Call) -> bytes | None:
    call.writer.write(http(envelope("<pollResult></pollResult>"))[:-20])
    await call.writer.drain()
    return None


async def silence(call: Call) -> bytes | None:
    await until(call.writer.is_closing, "the client's patience to end")
    return None


MISBEHAVIOUR: dict[str, tuple[Answer, str]] = {
    "closes": (always(None), "closed the connection"),
    "closes amid the answer": (half_an_answer, "in the midst of an answer"),
    "no HTTP": (always(b"SSH-2.0-OpenSSH\r\n"), "no HTTP"),
    "status 500": (always(http(error("Failure"), "500 Internal Server Error")), "500 Internal Server Error"),
    "not allowed any more": (always(http(b"", "401 Unauthorized")), "doesn't accept user 'gw1'"),
    "no XML": (always(http(b"<html><p>")), "can't be read"),
    "an empty answer": (always(http(b"")), "can't be read"),
    "half an envelope": (always(http(envelope("<pollResult>")[:-30])), "can't be read"),
    "another document": (always(http(b'<?xml version="1.0"?><html/>')), "can't be read"),
    "entities": (always(http(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')), "can't be read"),
    "another answer": (always(http(envelope("<renewSessionResult/>") * 2)), "can't be read"),
    "unknown session": (always(http(error("InvalidSessionID"))), "doesn't know the session"),
    "end of the session": (always(http(envelope("<endSessionResult/>"))), "ended the session"),
    "too large": (always(http(b"x" * 2_000_001)), "larger than"),
}


@pytest.mark.parametrize("kind", [*MISBEHAVIOUR, "an error", "something else"])
def test_a_poll_that_goes_wrong_ends_the_session_and_a_new_one_has_all_again(
    credentials: Credentials, kind: str
) -> None:
    async def scenario() -> None:
        others = {
            "an error": (always(http(error("SystemError", "out of order"))), "SystemError: out of order"),
            "something else": (always(http(envelope("<renewSessionResult/>"))), "one to something else"),
        }
        misbehaviour, why = (MISBEHAVIOUR | others)[kind]
        async with serving(credentials) as server:
            server.answer["poll"] = after(2, misbehaviour, server)
            server.tell(result("searchResult", "a", item("root")))
            options = settings(server.port, credentials=credentials, max_answer=2_000_000)
            async with watching(options, "a") as (client, log):
                await log.wait("started", 2)
                server.tell(result("searchResult", "a", item("root", "v")))
                await log.wait("searchResult", 2)
                assert [event[0] for event in log.events] == [
                    *("started", "searchResult", "lost", "started", "searchResult")
                ]
                assert why in log.all("lost")[0][1]
                assert server.names() == ["a", "a"]
                assert client.status().sessions == 2

    run(scenario)


@pytest.mark.parametrize("kind", [*MISBEHAVIOUR, "silence", "something else"])
def test_a_publish_that_goes_wrong_ends_the_session(credentials: Credentials, kind: str) -> None:
    async def scenario() -> None:
        others = {
            "silence": (silence, "hasn't answered within 0.6 s"),
            "something else": (always(http(envelope("<pollResult/>"))), "one to something else"),
        }
        misbehaviour, why = (MISBEHAVIOUR | others)[kind]
        async with serving(credentials) as server:
            server.answer["publish"] = after(1, misbehaviour, server)
            timeout = 0.6 if kind == "silence" else DEADLINE
            options = settings(server.port, credentials=credentials, max_answer=2_000_000, answer_timeout=timeout)
            async with watching(options, "a") as (client, log):
                await client.ready()
                outcomes = await asyncio.gather(
                    client.publish([UPDATE]), client.publish([UPDATE]), return_exceptions=True
                )
                # Nobody knows what became of the first; the second wasn't sent.
                assert all(isinstance(outcome, SessionLost) for outcome in outcomes), outcomes
                assert all(why in str(outcome) for outcome in outcomes)
                assert len(server.asked("publish")) == 1
                await log.wait("started", 2)
                assert why in log.all("lost")[0][1]
                await client.publish([UPDATE])

    run(scenario)


def test_a_renewal_without_answer_ends_the_session(credentials: Credentials) -> None:
    """The server's kernel keeps the connections alive while the server itself hangs."""

    async def scenario() -> None:
        async with serving(credentials) as server:
            server.answer["renewSession"] = after(1, silence, server)
            options = settings(server.port, credentials=credentials, renew_interval=0.05, answer_timeout=0.6)
            async with watching(options, "a") as (_, log):
                await log.wait("started", 2)
                assert "hasn't answered within 0.6 s" in log.all("lost")[0][1]

    run(scenario)


def test_a_channel_that_is_closed_while_idle_ends_the_session(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with (
            serving(credentials) as server,
            watching(settings(server.port, credentials=credentials), "a") as (_, log),
        ):
            await until(lambda: server.asked("subscribe") and server.asked("poll"), "the subscription")
            server.asked("subscribe")[0].writer.transport.abort()
            await log.wait("started", 2)
            assert "connection" in log.all("lost")[0][1]

    run(scenario)


def test_answers_that_nobody_asked_for_end_the_session(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            server.answer["subscribe"] = after(1, always(http(envelope("<subscribeReceived/>")) * 2), server)
            async with watching(settings(server.port, credentials=credentials), "a") as (_, log):
                await log.wait("started", 2)
                assert "what nobody asked" in log.all("lost")[0][1]

    run(scenario)


def test_a_listener_that_fails_gets_a_new_session(credentials: Credentials, caplog: pytest.LogCaptureFixture) -> None:
    """What it knows may be half applied; results of a new session replace it."""

    class Faulty(Log):
        def result(self, part: ReceivedPart) -> None:
            super().result(part)
            if len(self.all("searchResult")) == 1:
                raise KeyError("a defect")

    async def scenario() -> None:
        async with serving(credentials) as server:
            log = Faulty()
            client = MapClient(settings(server.port, credentials=credentials), log)
            client.subscribe("a", SPEC)
            await client.start()
            server.tell(result("searchResult", "a", item("root")))
            await log.wait("started", 2)
            assert "a defect" in log.all("lost")[0][1]
            await client.stop()

    run(scenario)
    assert "Traceback" in caplog.text


# -- subscriptions that the server doesn't take


def test_one_subscription_that_grows_too_large_is_tried_again_and_others_go_on(credentials: Credentials) -> None:
    async def scenario() -> None:
        too_big = '<errorResult errorCode="SearchResultsTooBig" name="a"/>'  # without errorString, as omapd's
        async with serving(credentials) as server:
            server.tell(result("searchResult", "a", item("root")), result("searchResult", "b", item("root")))
            server.tell(too_big, result("updateResult", "b", item("x", "v")))
            async with watching(settings(server.port, credentials=credentials), "a", "b") as (_, log):
                await until(lambda: server.names() == ["a", "b", "a"], "the subscription's return")
                server.tell(result("searchResult", "a", item("root")))
                await log.wait("searchResult", 3)
                assert log.events[3:] == [
                    ("errorResult", "a", []),
                    ("refused", "a", "SearchResultsTooBig"),
                    ("updateResult", "b", ["x"]),
                    ("searchResult", "a", ["root"]),
                ]

    run(scenario)


def test_after_an_overflow_all_are_subscribed_again_in_the_same_session(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            server.answer["poll"] = after(2, always(http(error("PollResultsTooBig", "too much"))), server)
            server.tell(result("searchResult", "a", item("root")), result("searchResult", "b", item("root")))
            async with watching(settings(server.port, credentials=credentials), "a", "b") as (_, log):
                await until(lambda: sorted(server.names()) == ["a", "a", "b", "b"], "the subscriptions' return")
                server.tell(result("searchResult", "a", item("root")))
                await log.wait("searchResult", 3)
                assert [event[:2] for event in log.all("refused")] == [("refused", "a"), ("refused", "b")]
                assert (server.sessions, log.all("lost")) == (1, [])

    run(scenario)


def test_one_bad_subscription_does_not_keep_the_others(credentials: Credentials) -> None:
    async def scenario() -> None:
        async def refuse(call: Call) -> bytes | None:
            return http(error("Failure", "bad filter")) if b'"bad"' in call.body else await server.ordinary(call)

        async with (
            serving(credentials, subscribe=refuse) as server,
            watching(settings(server.port, credentials=credentials), "bad", "good") as (client, log),
        ):
            assert await log.wait("refused") == ("refused", "bad", "Failure")
            await log.wait("refused", 3)
            server.tell(result("searchResult", "good", item("root")))
            await log.wait("searchResult")
            assert client.status().subscriptions == {"bad": "bad filter", "good": "complete"}
            del server.answer["subscribe"]
            server.tell(result("searchResult", "bad", item("root")))
            assert (await log.wait("searchResult", 2))[1] == "bad"
            await until(lambda: server.names()[-1] == "bad", "the subscription's return")
            assert server.sessions == 1

    run(scenario)


# -- servers


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_the_next_server_is_taken_when_one_is_away(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as first, serving(credentials) as second:
            ports = (free_port(), first.port, second.port)
            async with watching(settings(*ports, credentials=credentials), "a") as (client, log):
                await client.ready()
                assert (first.sessions, second.sessions) == (1, 0)
                assert client.status().server == f"https://127.0.0.1:{first.port}/"
                await first.stop()
                await log.wait("started", 2)
                assert second.sessions == 1
                assert second.names() == ["a"] or await subscribed(second)
                await first.start(credentials, first.port)
                # It stays where it is.
                await client.publish([UPDATE])
                assert len(second.asked("publish")) == 1

    async def subscribed(server: ScriptedMap) -> bool:
        await until(lambda: server.names() == ["a"], "the subscription")
        return True

    run(scenario)


def test_no_server_at_all(credentials: Credentials, authority: Authority) -> None:
    """A command is told why, for each of them, when each was tried once."""

    async def scenario() -> None:
        elsewhere = authority.issue("elsewhere", "elsewhere.example.net", addresses=["127.0.0.2"])
        expired = authority.issue("expired", "expired.example.net", addresses=["127.0.0.1"], expired=True)
        away = free_port()
        denied = always(http(error("AccessDenied", "no entry")))
        async with (
            serving(credentials, newSession=always(http(b"", "401 Unauthorized"))) as login,
            serving(credentials, newSession=denied) as access,
            serving(elsewhere) as name,
            serving(expired) as old,
        ):
            servers = (away, login.port, access.port, name.port, old.port)
            options = settings(*servers, credentials=credentials)
            with pytest.raises(MapUnavailable) as failure:
                async with MapClient(options):
                    pytest.fail("there is no session")
            reasons = str(failure.value).split("; ")
            assert [reason.split("/: ")[0] for reason in reasons] == [f"https://127.0.0.1:{port}" for port in servers]
            for reason, why in zip(
                reasons,
                (
                    "Connect",
                    "doesn't accept user 'gw1' (401",
                    "AccessDenied: no entry",
                    "IP address mismatch",
                    "expired",
                ),
                strict=True,
            ):
                assert why in reason
            assert "pass" not in str(failure.value)

    run(scenario)


def test_a_server_of_another_authority_is_not_trusted(credentials: Credentials, tmp_path: Path) -> None:
    async def scenario() -> None:
        other = Authority(tmp_path, "another").issue("map", "map", addresses=["127.0.0.1"])
        async with serving(other) as server:
            with pytest.raises(MapUnavailable, match="certificate isn't accepted"):
                async with MapClient(settings(server.port, credentials=credentials)):
                    pytest.fail("there is no session")
            assert server.calls == []

    run(scenario)


def test_a_server_that_accepts_and_says_nothing(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            with socket.create_server(("127.0.0.1", 0)) as mute:
                ports = (mute.getsockname()[1], server.port)
                options = settings(*ports, credentials=credentials, connect_timeout=0.2)
                async with watching(options, "a") as (_, log):
                    await log.wait("started")
                    assert server.sessions >= 1

    run(scenario)


def test_a_client_certificate_is_an_identity(credentials: Credentials, authority: Authority) -> None:
    async def scenario() -> None:
        own = authority.host("gw7", "example.net", ["127.0.0.1"])
        async with serving(credentials) as server:
            options = settings(server.port, credentials=credentials, user="", password="")
            async with MapClient(replace(options, certificate=own.certificate, key=own.key)) as client:
                await client.publish([UPDATE])
            assert {(call.user, call.certificate) for call in server.calls} == {("", "gw7")}

    run(scenario)


def test_a_password_that_is_replaced_is_used_for_the_next_session(credentials: Credentials, tmp_path: Path) -> None:
    async def scenario() -> None:
        file = tmp_path / "password"
        file.write_text("first\n")
        file.chmod(0o600)
        async with serving(credentials) as server:
            server.answer["publish"] = always(None)
            options = settings(server.port, credentials=credentials, password="", password_file=file)
            async with watching(options) as (client, log):
                await client.ready()
                file.write_text("second\n")
                with pytest.raises(SessionLost):
                    await client.publish([UPDATE])
                await log.wait("started", 2)
                file.unlink()
                with pytest.raises(SessionLost):
                    await client.publish([UPDATE])
                await until(lambda: "No such file" in client.status().last_error, "an error")
            users = [call.user for call in server.asked("newSession")]
            assert users == ["gw1:first", "gw1:second"]

    run(scenario)


@pytest.mark.parametrize("which", ["ca", "certificate", "key"])
def test_a_file_that_cannot_be_used_is_named(credentials: Credentials, tmp_path: Path, which: str) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing\n")
    files: dict[str, Any] = {
        "ca": credentials.ca,
        "certificate": credentials.certificate,
        "key": credentials.key,
        which: bad,
    }
    named = "ca" if which == "ca" else "certificate"
    with pytest.raises(ClientError, match=rf"{named} .*\.pem"):
        ClientSettings((Endpoint("127.0.0.1"),), **files).tls_context()


def test_a_dead_server_is_noticed_by_the_kernel(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            options = settings(server.port, credentials=credentials)
            endpoint = options.endpoints[0]
            head = request_head(endpoint, basic("gw1", "x"))
            channel = await open_channel(endpoint, options.tls_context(), head, 1000, DEADLINE)
            assert channel._transport is not None
            sock = channel._transport.get_extra_info("socket")
            tcp = socket.IPPROTO_TCP
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options_of = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            assert [sock.getsockopt(tcp, option) for option in options_of] == [30, 3, 5, 45_000]
            await channel.close()

    run(scenario)


# -- published state


def test_state_is_published_again_in_every_session(credentials: Credentials) -> None:
    async def scenario() -> None:
        async with serving(credentials) as server:
            publisher: Publisher

            class Owner(Log):
                def session_started(self, session_id: str, publisher_id: str) -> None:
                    super().session_started(session_id, publisher_id)
                    publisher.session_started()

                def session_lost(self, reason: str) -> None:
                    super().session_lost(reason)
                    publisher.session_lost()

            log = Owner()
            client = MapClient(settings(server.port, credentials=credentials), log)
            publisher = Publisher(client.publish)
            publisher.start()
            devices = [node(Identifier(IdentifierKind.DEVICE, f"d{number}")) for number in range(3)]
            for device in devices:
                publisher.set(device, state("up"))
            await client.start()
            await settled(publisher)
            publisher.set(devices[0], state("down"))
            publisher.remove(devices[1], STATE)
            await settled(publisher)
            # The server refuses one of two: the other gets there.
            refusal = http(error("AccessDenied"))

            async def refuse(call: Call) -> bytes | None:
                return refusal if b">bad<" in call.body else await server.ordinary(call)

            server.answer["publish"] = refuse
            publisher.set(devices[1], state("bad"))
            publisher.set(devices[2], state("odd"))
            await settled(publisher)
            assert next(iter(publisher.published.refused_places)).edge == devices[1]
            # A publish is lost with its session.
            server.answer["publish"] = after(1, always(None), server)
            publisher.set(devices[2], state("even"))
            await log.wait("started", 2)
            await settled(publisher)
            contents = [[value for value in values if value in call.body] for call in server.asked("publish")]
            assert contents == [
                *([b">up<"], [b">down<", b"<delete"]),
                *([b">bad<", b">odd<"], [b">bad<"], [b">odd<"]),
                *([b">even<"], [b">down<", b">bad<", b">even<"]),
            ]
            await client.stop()
            await publisher.stop()

    values = [b">up<", b">down<", b">bad<", b">odd<", b">even<", b"<delete"]

    async def settled(publisher: Publisher) -> None:
        await until(lambda: publisher.published.waiting == 0, "the publishes")

    run(scenario)
