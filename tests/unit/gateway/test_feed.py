"""What is made once for all subscribers of a VPN: who shares a message, and that it does nobody harm that it is old."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest

from gateway.item_cache import ItemCache
from gateway.rib import Source
from gateway.session import Feed, Subscription
from vpn.path import NextHop, Path
from vpn.prefix import Prefix
from vpn.table import VrfTable, multipath
from xmpp.jid import Jid
from xmpp.notification import parse_event

DOMAIN = Jid.of("", "vpn.example.net")
READER = Jid.parse("hv1@vpn.example.net/vrfwire")
SOURCE: Source = ("hv9", "a")  # type: ignore[assignment]


class Site:
    """A table with its feed, and readers that take messages as sessions do."""

    def __init__(self) -> None:
        self.table: VrfTable[Source] = VrfTable(multipath)
        self.changed: dict[Feed, None] = {}
        self.warm: dict[Feed, None] = {}
        self.feed = Feed(DOMAIN, "blue", self.table, ItemCache(), self.changed, self.warm)
        self.feed.announce()

    def set(self, number: int, label: int) -> None:
        """A prefix has this label; 0: it is gone."""
        prefix = Prefix.parse(f"10.0.{number // 256}.{number % 256}/32")
        if label:
            self.table.update(SOURCE, prefix, Path((NextHop(bytes([192, 0, 2, 1]), label),)))
        else:
            self.table.withdraw(SOURCE, prefix)

    def labels(self) -> dict[str, int]:
        """What the table has."""
        return {str(prefix): path.next_hops[0].label for prefix, path in self.table.routes()}


class Reader:
    """A subscriber that keeps a table of its own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.subscription = Subscription(site.feed, READER)
        self.routes: dict[str, int] = {}
        self.messages: list[bytes] = []

    def read(self) -> None:
        """Take the next messages."""
        for batch in self.site.feed.read(self.subscription.cursor):
            self.messages.append(batch.tail)
            event = parse_event(ElementTree.fromstring(batch.to(b"x")))
            assert event is not None and event.node == "blue" and not event.bad
            for item_id, entry in event.changes:
                if entry is None:
                    self.routes.pop(item_id, None)
                else:
                    self.routes[item_id] = entry.path.next_hops[0].label

    def catch_up(self) -> None:
        """Take all."""
        while self.subscription.cursor.pending:
            self.read()


def test_who_is_at_the_same_place_shares_a_message_although_more_has_changed() -> None:
    site = Site()
    readers = [Reader(site) for _ in range(3)]
    site.set(1, 100)
    site.feed.announce()
    for number, reader in enumerate(readers):
        reader.read()
        site.set(2, 200 + number)
    assert readers[0].messages == readers[1].messages == readers[2].messages
    assert readers[0].messages[0] is readers[2].messages[0], "serialised once"
    for reader in readers:
        reader.catch_up()
        assert reader.routes == site.labels()


def test_it_says_once_that_its_table_has_changed() -> None:
    site = Site()
    assert site.changed == {}
    site.set(1, 100)
    site.set(2, 100)
    assert list(site.changed) == [site.feed]
    site.changed.clear()
    site.set(3, 100)
    assert site.changed == {}, "nobody has looked since"
    assert site.feed.announce() and not site.feed.announce()
    site.set(3, 100)
    assert site.changed == {}, "nothing has changed by that"
    site.set(3, 101)
    assert list(site.changed) == [site.feed]


def test_nothing_is_left_of_it_when_nobody_listens() -> None:
    site = Site()
    reader = Reader(site)
    site.set(1, 100)
    reader.read()
    assert list(site.warm) == [site.feed]
    reader.subscription.cursor.close()
    site.feed.close()
    site.set(1, 101)
    assert site.changed == {} and site.warm == {} and not site.table._stream.cursors


def test_a_withdrawal_is_kept_for_those_who_get_an_old_message() -> None:
    """The one danger of it: who reads of a prefix now that is gone since must be told of that next."""
    site = Site()
    first, second = Reader(site), Reader(site)
    site.set(1, 100)
    first.catch_up()
    site.set(1, 0)
    assert len(first.subscription.cursor.read(100)) == 1
    # Nobody needs the tombstone now but the one who will be given the old message.
    for number in range(1000, 1600):
        site.set(number, 100)
        site.set(number, 0)
    second.read()
    assert "10.0.0.1/32" in second.routes, "the old message"
    second.catch_up()
    assert second.routes == {} == site.labels()


@pytest.mark.parametrize("seed", range(5))
def test_whoever_reads_when_ends_with_the_table(seed: int) -> None:
    """Readers of any speed, some of which come late, while prefixes come and go and messages are kept or dropped."""
    chance = random.Random(seed)
    site = Site()
    readers = [Reader(site) for _ in range(3)]
    for _ in range(150):
        match chance.randrange(8):
            case 0:
                site.feed.forget()
            case 1:
                readers.append(Reader(site))
            case 2 | 3:
                chance.choice(readers).read()
            case 4 | 5:
                for _ in range(chance.choice([1, 60])):
                    site.set(chance.randrange(500), chance.choice([0, chance.randrange(16, 999)]))
            case _:
                site.set(chance.randrange(500), chance.choice([0, chance.randrange(16, 999)]))
    for reader in readers:
        reader.catch_up()
        assert reader.routes == site.labels()
