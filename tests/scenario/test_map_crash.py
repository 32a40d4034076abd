"""A map server killed in the middle of publishes: what it has acknowledged is there after it has started again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.pki import Authority
from tests.scenario.daemon_process import wait_for
from tests.scenario.map_process import MapProcess, client
from tests.scenario.postgres import Postgres
from tests.scenario.raw_map import Refused, User, context, delete, device, multi, single, update

CLIENTS = ("a", "b", "c", "d")
READER = "reader"
ROUNDS = 3
DEVICES = 4
"""Of each client; a publish writes to all of them."""


class Publisher:
    """A client that counts. In each publish, for ever: state = N on all its devices (replacing N - 1), an event N added
    and event N - 2 deleted on the first, and `own` = N in the session's lifetime. acknowledged: the last N answered."""

    def __init__(self, connect: Callable[[str], User], name: str, acknowledged: int) -> None:
        self._connect = connect
        self.name = name
        self.acknowledged = acknowledged
        self.publisher = ""
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name=f"publisher {name}")

    @property
    def devices(self) -> list[str]:
        return [f"{self.name}{number}" for number in range(DEVICES)]

    def _run(self) -> None:
        try:
            user = self._connect(self.name)
            self.publisher = user.publisher
            while True:
                self._publish(user, self.acknowledged + 1)
                self.acknowledged += 1
        except OSError:
            return  # the server was killed
        except Refused as refusal:
            if "SystemError" not in str(refusal):  # its database was
                self.error = refusal
        except BaseException as error:
            self.error = error

    def _publish(self, user: User, number: int) -> None:
        first = device(self.devices[0])
        text = str(number)
        user.publish(
            "".join(update(device(name), single(text), "forever") for name in self.devices)
            + update(first, multi(text), "forever")
            + delete(first, f"x:event[text()='{number - 2}']")
            + update(first, single(text, "own"))
        )

    def found(self, reader: User) -> int:
        """The number that the map has, after a check that it has all or nothing of each publish."""
        states = {tuple(reader.values(name, "state")) for name in self.devices}
        assert len(states) == 1, f"a publish of {self.name} is there in part: {states}"
        (state,) = states
        number = int(state[0]) if state else 0
        events = reader.values(self.devices[0], "event")
        assert events == [str(kept) for kept in (number - 1, number) if kept > 0]
        assert reader.values(self.devices[0], "own") == [], "metadata of a session outlived it"
        return number


class Site:
    """A server and what it stores in."""

    def __init__(self, directory: Path, authority: Authority, postgres: Postgres | None) -> None:
        self.postgres = postgres
        url = postgres.url if postgres is not None else ""
        self.server = MapProcess(directory, authority, "".join(map(client, (*CLIENTS, READER))), url=url)
        self._tls = context(str(authority.certificate))
        self._users: list[User] = []

    def connect(self, name: str) -> User:
        """A new session of a client."""
        user = User(self.server.port, self._tls, name)
        self._users.append(user)
        return user

    def crash(self) -> None:
        """kill -9 of the server; and PostgreSQL without a checkpoint, so that it has to recover."""
        if self.postgres is not None:
            self.postgres.crash()
        self.server.kill()

    def close(self) -> None:
        """Close the clients' connections, which nobody uses any more."""
        while self._users:
            self._users.pop().close()

    def start(self) -> None:
        """Start all again."""
        if self.postgres is not None:
            self.postgres.start()
        self.server.start()


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Site]:
    postgres = Postgres() if request.param == "postgresql" else None
    made = Site(tmp_path, authority, postgres)
    try:
        yield made
    finally:
        made.server.kill()
        made.close()
        if postgres is not None:
            postgres.close()
    assert "Traceback" not in made.server.text(), made.server.text()


def test_what_was_acknowledged_outlives_a_crash(site: Site) -> None:
    dice = random.Random(4)
    acknowledged = dict.fromkeys(CLIENTS, 0)
    publisher_ids: dict[str, str] = {}
    total = 0
    site.start()
    for _ in range(ROUNDS):
        publishers = [Publisher(site.connect, name, acknowledged[name]) for name in CLIENTS]
        goal = total + dice.randint(1, 250)
        for publisher in publishers:
            publisher.thread.start()
        wait_for(lambda: sum(one.acknowledged for one in publishers) >= goal, "publishes")  # noqa: B023
        site.crash()
        for publisher in publishers:
            publisher.thread.join(20)
            assert publisher.error is None, publisher.error
            assert publisher_ids.setdefault(publisher.name, publisher.publisher) == publisher.publisher
        site.close()
        site.start()
        reader = site.connect(READER)
        for publisher in publishers:
            number = publisher.found(reader)
            assert number in (publisher.acknowledged, publisher.acknowledged + 1), publisher.name
            acknowledged[publisher.name] = number
        # What the types were fixed to be has outlived it, too.
        with pytest.raises(Refused, match="InvalidMetadata"):
            reader.publish(update(device("else"), single("", "event")))
        total = sum(acknowledged.values())
    assert total > 100 and all(acknowledged.values())
