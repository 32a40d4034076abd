"""Several map servers on one PostgreSQL: they have one graph, in one order, and outlive each other."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import make_url

from ifmap.metadata import build
from ifmap.server.postgres import PostgresStore
from ifmap.server.store import LoadAgain, open_store
from ifmap.values import Notify, PublishOperation, PurgePublisher, Update
from runtime.errors import ExitCode, OperatorError
from tests.scenario.map_nodes import (
    CLIENTS,
    EVENT,
    Delete,
    Lifetime,
    Node,
    Refused,
    Servers,
    User,
    in_loop,
    spoke,
    until,
    update,
)
from tests.scenario.postgres import PASSWORD, URL_PASSWORD, Postgres

LEASE = 1.5
"""Seconds, for tests of what happens when one is over."""
SPOKES = range(12)
EDGES = [spoke(number) for number in SPOKES]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.close()


@pytest.fixture
def postgres(cluster: Postgres) -> Postgres:
    cluster.reset()
    return cluster


@pytest.fixture
def servers(postgres: Postgres) -> Servers:
    return Servers(postgres.url)


def operations(dice: random.Random, text: str) -> list[PublishOperation]:
    """What one publish does."""
    found: list[PublishOperation] = []
    for _ in range(dice.randint(1, 4)):
        edge = dice.choice(EDGES)
        if dice.random() < 0.2:
            found.append(Delete(edge))
        else:
            lifetime = dice.choice(list(Lifetime))
            found.append(update(edge, text, lifetime=lifetime, single=dice.random() < 0.5))
    return found


async def converged(*nodes: Node) -> None:
    """Return when all have the same graph."""
    await until(lambda: all(one.contents(*EDGES) == nodes[0].contents(*EDGES) for one in nodes), "equal graphs")


@in_loop
async def test_concurrent_publishes_of_three_servers_are_one_history(servers: Servers, postgres: Postgres) -> None:
    nodes = [await servers.start(name) for name in ("one", "two", "three")]
    watchers = [await User(node, CLIENTS[number]).begin() for number, node in enumerate(nodes)]
    for watcher in watchers:
        await watcher.follow()
    publishers = [await User(node, CLIENTS[3 + number]).begin() for number, node in enumerate(nodes)]

    async def work(user: User, seed: int) -> None:
        dice = random.Random(seed)
        for number in range(40):
            await user.publish(*operations(dice, f"{user.client}{number}"))

    await asyncio.gather(*(work(user, seed) for seed, user in enumerate(publishers)))
    await publishers[0].publish(update(spoke(99), "last"))
    await until(lambda: all(one.results and b">last<" in one.results[-1][2] for one in watchers), "the last result")
    await converged(*nodes)
    assert len(watchers[0].results) > 60
    assert watchers[1].history() == watchers[0].history()
    assert watchers[2].history() == watchers[0].history()
    with postgres.connect() as connection:
        keys = connection.execute("SELECT key, xml FROM map_metadata").fetchall()
    held = sorted(pair for pairs in nodes[1].contents(*EDGES, spoke(99)).values() for pair in pairs)
    assert sorted(keys) == held
    assert sum(node.writer.counters.foreign for node in nodes) > 150


@in_loop
async def test_a_change_at_one_server_is_at_the_others_within_milliseconds(servers: Servers) -> None:
    one, two = await servers.start("one"), await servers.start("two")
    publisher, watcher = await User(one, "a").begin(), await User(two, "b").begin()
    await watcher.follow()
    took = []
    for number in range(30):
        began = time.perf_counter()
        await publisher.publish(update(spoke(1), str(number)))
        await until(lambda count=number: len(watcher.results) > count, "the result")  # type: ignore[misc]
        took.append(time.perf_counter() - began)
    assert sorted(took)[15] < 0.25, took  # far below the 2 s of looking without a notice


@in_loop
async def test_a_single_value_is_replaced_across_servers(servers: Servers) -> None:
    one, two = await servers.start("one"), await servers.start("two")
    first, second = await User(one, "a").begin(), await User(two, "b").begin()
    await first.publish(update(spoke(1), "of a"))
    await second.publish(update(spoke(1), "of b"))
    await until(lambda: one.texts(spoke(1)) == ["of b"], "the replacement")
    assert two.texts(spoke(1)) == ["of b"]
    # The other way a contradiction: the type is singleValue at both from now on.
    await second.publish(update(spoke(2), "x", single=False))
    contrary = Update(spoke(2), (build(EVENT, True, "x"),), Lifetime.FOREVER)
    with pytest.raises(Refused, match="InvalidMetadata"):
        await first.publish(contrary)


@in_loop
async def test_a_session_at_one_server_ends_when_its_client_begins_one_at_another(servers: Servers) -> None:
    one, two = await servers.start("one"), await servers.start("two")
    former = await User(one, "a").begin()
    await former.follow()
    await former.publish(update(spoke(1), "of the session", lifetime=Lifetime.SESSION), update(spoke(2), "for ever"))
    latter = await User(two, "a").begin()
    assert latter.publisher == former.publisher
    assert two.texts(spoke(1)) == [] and two.texts(spoke(2)) == ["for ever"]
    await until(lambda: former.ended, "endSessionResult")
    assert one.texts(spoke(1)) == []
    with pytest.raises(Refused, match=r"InvalidSessionID.*at another server"):
        await former.publish(update(spoke(3), "x"))


@in_loop
async def test_notifications_and_purges_reach_subscribers_of_other_servers(servers: Servers) -> None:
    one, two = await servers.start("one"), await servers.start("two")
    publisher, watcher = await User(one, "a").begin(), await User(two, "b").begin()
    await publisher.publish(update(spoke(1), "kept"))
    await until(lambda: two.texts(spoke(1)), "the metadata")
    await watcher.follow()
    await publisher.publish(Notify(spoke(1), update(spoke(1), "told once").metadata))
    await one.ask(publisher.ssrc, "a", PurgePublisher(publisher.id, publisher.publisher))
    await until(lambda: len(watcher.results) == 2, "both")
    (first, _, told), (second, _, deleted) = watcher.results
    assert (first, second) == (b"notify", b"delete")
    assert b">told once<" in told and b">kept<" in deleted
    assert two.texts(spoke(1)) == []


@pytest.mark.parametrize("how", ["stop", "crash"])
@in_loop
async def test_a_server_that_goes_takes_its_session_metadata_along(
    servers: Servers, postgres: Postgres, how: str
) -> None:
    servers.lease = LEASE
    one = await servers.start("one")
    two = await servers.start("two")
    gone, watcher = await User(one, "a").begin(), await User(two, "b").begin()
    await gone.publish(update(spoke(1), "of the session", lifetime=Lifetime.SESSION), update(spoke(2), "for ever"))
    await until(lambda: two.texts(spoke(1)), "the metadata")
    await watcher.follow()
    leave: Callable[[], Awaitable[None]] = getattr(one, how)
    await leave()
    await until(lambda: watcher.results, "the deletion")
    ((kind, _, deleted),) = watcher.results
    assert kind == b"delete" and b">of the session<" in deleted
    assert two.texts(spoke(1)) == [] and two.texts(spoke(2)) == ["for ever"]
    with postgres.connect() as connection:
        assert connection.execute("SELECT name FROM map_server").fetchall() == [("two",)]
        assert connection.execute("SELECT client FROM map_session").fetchall() == [("b",)]


@in_loop
async def test_a_server_that_comes_back_ends_what_it_left_before_it_serves(
    servers: Servers, postgres: Postgres
) -> None:
    one = await servers.start("one")
    user = await User(one, "a").begin()
    await user.publish(update(spoke(1), "of the session", lifetime=Lifetime.SESSION), update(spoke(2), "for ever"))
    await one.crash()
    again = servers.load("one")
    assert again.texts(spoke(1)) == ["of the session"]
    await again.start()
    assert again.texts(spoke(1)) == [] and again.texts(spoke(2)) == ["for ever"]
    latter = await User(again, "a").begin()
    assert latter.publisher == user.publisher


@in_loop
async def test_a_server_taken_for_dead_cannot_commit_and_begins_anew(servers: Servers, postgres: Postgres) -> None:
    """The database says so first: it was away for longer than its lease."""
    one, two = await servers.start("one"), await servers.start("two")
    fenced, other = await User(one, "a").begin(), await User(two, "b").begin()
    await fenced.follow()
    await fenced.publish(update(spoke(1), "of the session", lifetime=Lifetime.SESSION))
    with postgres.connect() as connection:
        connection.execute("DELETE FROM map_server WHERE name = 'one'")
    with pytest.raises(Refused, match=r"SystemError|InvalidSessionID"):
        await fenced.publish(update(spoke(2), "too late"))
    await until(lambda: fenced.ended, "the end of its session")
    await until(lambda: one.writer.counters.reloads == 1 and one.writer.problem is None, "the reload")
    again = await User(one, "a").begin()
    assert one.texts(spoke(1)) == [] and one.texts(spoke(2)) == []
    await again.publish(update(spoke(3), "after"))
    await other.publish(update(spoke(4), "there"))
    await converged(one, two)
    assert two.texts(spoke(1)) == [] and two.texts(spoke(3)) == ["after"]


@in_loop
async def test_a_server_that_does_not_renew_its_lease_is_removed(servers: Servers) -> None:
    servers.lease = LEASE
    one = await servers.start("one")
    two = await servers.start("two")
    user = await User(one, "a").begin()
    await user.publish(update(spoke(1), "of the session", lifetime=Lifetime.SESSION))
    await until(lambda: two.texts(spoke(1)), "the metadata")
    release = asyncio.Event()
    original = one.writer._renew  # type: ignore[attr-defined]

    async def hang() -> None:
        await release.wait()
        await original()

    one.writer._renew = hang  # type: ignore[attr-defined]
    await until(lambda: not two.texts(spoke(1)), "the removal")
    release.set()
    await until(lambda: one.writer.counters.reloads == 1, "the reload")
    with pytest.raises(Refused, match=r"InvalidSessionID.*out of touch"):
        await user.publish(update(spoke(2), "x"))


@in_loop
async def test_the_log_is_pruned_to_what_everybody_has_read(servers: Servers, postgres: Postgres) -> None:
    servers.lease = LEASE
    one = await servers.start("one")
    two = await servers.start("two")
    user = await User(one, "a").begin()
    for number in range(30):
        await user.publish(update(spoke(number % 3), str(number)))

    def lines() -> int:
        with postgres.connect() as connection:
            return connection.execute("SELECT count(*) FROM map_log").fetchall()[0][0]  # type: ignore[no-any-return]

    assert lines() > 1
    await until(lambda: lines() == 1, "one line")
    await user.publish(update(spoke(1), "after"))
    await until(lambda: two.texts(spoke(1)) == ["after"], "what comes after")
    assert two.writer.counters.reloads == 0


@in_loop
async def test_a_server_behind_the_log_loads_the_map_again(servers: Servers, postgres: Postgres) -> None:
    """As after a restored backup: the log isn't the one that it has followed."""
    one, two = await servers.start("one"), await servers.start("two")
    user, watcher = await User(one, "a").begin(), await User(two, "b").begin()
    await watcher.follow()
    with postgres.connect() as connection:
        connection.execute("UPDATE map_log SET token = 'another'")
        connection.execute("UPDATE map_metadata SET key = key")
    with pytest.raises(Refused):
        await user.publish(update(spoke(1), "x"))
    await until(lambda: watcher.ended and two.writer.counters.reloads == 1, "the reload of the other")
    await until(lambda: one.writer.counters.reloads == 1, "its own")
    again = await User(one, "a").begin()
    await again.publish(update(spoke(1), "y"))
    await until(lambda: two.texts(spoke(1)) == ["y"], "what comes after")


@in_loop
async def test_a_record_that_cannot_be_replayed_is_no_obstacle(
    servers: Servers, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await servers.start("one"), await servers.start("two")
    writer, reader = await User(one, "a").begin(), await User(two, "b").begin()
    await reader.follow()
    # What `one` commits is in the tables; in the log it is as if a newer version had written it.
    with postgres.connect() as connection:
        connection.execute(
            "CREATE FUNCTION newer() RETURNS trigger LANGUAGE plpgsql AS "
            """'BEGIN NEW.record := ''{"format": 99}''; RETURN NEW; END'"""
        )
        connection.execute(
            "CREATE TRIGGER newer BEFORE INSERT ON map_log FOR EACH ROW WHEN (NEW.record LIKE '%>x<%') "
            "EXECUTE FUNCTION newer()"
        )
    await writer.publish(update(spoke(1), "x"))
    await until(lambda: two.writer.counters.reloads == 1, "another load")
    assert two.texts(spoke(1)) == ["x"]
    assert "can't be replayed: a server of a newer version wrote it" in caplog.text
    await until(lambda: reader.ended and not two.writer.problem, "the end of its sessions")
    assert reader.results == []
    # It follows again, from behind that record.
    again = await User(two, "b").begin()
    await again.follow()
    await writer.publish(update(spoke(2), "y"))
    await until(lambda: again.results, "what comes after")
    assert two.texts(spoke(2)) == ["y"] and b">y<" in again.results[0][2]
    assert (one.writer.counters.reloads, two.writer.counters.reloads) == (0, 1)


@in_loop
async def test_postgresql_is_stopped_and_started_again(
    servers: Servers, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    one = await servers.start("one")
    two = await servers.start("two")
    first, second = await User(one, "a").begin(), await User(two, "b").begin()
    await second.follow()
    await first.publish(update(spoke(1), "before", lifetime=Lifetime.SESSION))
    await until(lambda: two.texts(spoke(1)), "the metadata")
    # It will be away for longer than all leases: nobody is taken for dead for what is everybody's trouble.
    with postgres.connect() as connection:
        connection.execute("UPDATE map_server SET lease_until = 0")
    postgres.stop()
    with pytest.raises(Refused, match="SystemError"):
        await first.publish(update(spoke(2), "meanwhile"))
    await until(lambda: one.writer.problem and two.writer.problem, "both to notice")
    assert b">before<" in await first.search() and b">before<" in await second.search()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Refused, match="SystemError"):
        await first.publish(update(spoke(2), "meanwhile"))
    assert asyncio.get_running_loop().time() - began < 2
    postgres.start()
    await until(lambda: not one.writer.problem and not two.writer.problem, "both to recover")
    await first.publish(update(spoke(3), "after"))
    await until(lambda: two.texts(spoke(3)) == ["after"], "what comes after")
    assert two.texts(spoke(1)) == ["before"] and two.texts(spoke(2)) == []
    assert one.writer.counters.reloads == two.writer.counters.reloads == 0 and not second.ended
    assert PASSWORD not in caplog.text and URL_PASSWORD not in caplog.text


@in_loop
async def test_a_postgresql_that_does_not_answer_is_given_up(servers: Servers, postgres: Postgres) -> None:
    servers.lease = 0.5
    one = await servers.start("one")
    user = await User(one, "a").begin()
    with postgres.connect() as connection:
        workers = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'vrfwire%'"
        ).fetchall()
    for (pid,) in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Refused, match="SystemError"):
            await user.publish(update(spoke(1), "x"))
    finally:
        for (pid,) in workers:
            os.kill(pid, signal.SIGCONT)
    await until(lambda: one.writer.problem is None, "its recovery")
    again = await User(one, "a").begin()
    await again.publish(update(spoke(1), "y"))
    assert one.texts(spoke(1)) == ["y"]


@in_loop
async def test_two_servers_of_one_name(servers: Servers, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifmap.server.postgres.NAME_PATIENCE", 0.1)
    one = await servers.start("one")
    with pytest.raises(OperatorError, match="another server named one uses it") as caught:
        servers.load("one")
    assert caught.value.code == ExitCode.CONFLICT
    user = await User(one, "a").begin()
    await user.publish(update(spoke(1), "x"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda url: url.replace(URL_PASSWORD, "hunter2"), "password authentication failed"),
        (lambda url: url.removesuffix("map") + "nowhere", "does not exist"),
        (lambda url: url.replace("127.0.0.1:", "127.0.0.1:1"), ""),
        (lambda url: url + "?nonsense=1", "nonsense"),
    ],
)
def test_what_cannot_be_reached_is_refused_without_the_password(
    postgres: Postgres, spoil: Callable[[str], str], why: str
) -> None:
    async def attempt() -> None:
        Node(spoil(postgres.url), "one")

    with pytest.raises(OperatorError) as caught:
        asyncio.run(attempt())
    text = f"{caught.value} {caught.value.hint}"
    assert why in text and caught.value.hint
    assert not any(secret in text for secret in (PASSWORD, URL_PASSWORD, "hunter2"))
    assert caught.value.__cause__ is None  # which a traceback would print


def test_who_comes_back_first_gives_the_others_a_leases_time(postgres: Postgres) -> None:
    """After the database was away everybody's lease is over."""

    def end_leases() -> None:
        with postgres.connect() as connection:
            connection.execute("UPDATE map_server SET lease_until = 0")

    one, two = (PostgresStore(make_url(postgres.url), name, LEASE) for name in ("one", "two"))
    one.load()
    two.load()
    end_leases()
    one.reconnect()
    one.renew()
    two.renew()
    end_leases()
    one._in_touch_since -= 2 * LEASE
    one.renew()
    with pytest.raises(LoadAgain, match="taken this one for dead"):
        two.renew()
    with pytest.raises(LoadAgain, match="taken this one for dead"):
        two.begin()
    with pytest.raises(LoadAgain, match="taken this one for dead"):
        two.read()
    one.close()
    two.close()


def test_a_database_that_cannot_hold_any_text_is_refused(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    store = open_store(postgres.url.removesuffix("map") + "ascii", name="one")
    with pytest.raises(OperatorError, match="its encoding is SQL_ASCII") as caught:
        store.load()
    store.close()
    assert "UTF8" in caught.value.hint
