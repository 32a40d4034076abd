"""Events for those who watch: filters, bounded queues, and nothing made while nobody hears it."""

from __future__ import annotations

import re

import pytest

from agent.events import MOST, QUEUE, Hub, Subscription, Wanted, moment
from runtime.errors import ExitCode, OperatorError


class Watcher:
    """A subscription and how often it was woken."""

    def __init__(self, hub: Hub, wanted: Wanted | None = None) -> None:
        self.woken = 0
        self.subscription: Subscription = hub.subscribe(wanted or Wanted(), self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def texts(self, most: int = 10_000) -> list[object]:
        return [event.get("text", event.get("lost")) for event in self.subscription.take(most)]


def publish(hub: Hub, text: str, kind: str = "port", **about: str) -> None:
    hub.publish(kind, "happened", lambda: text, **about)  # type: ignore[arg-type]


def test_nothing_is_made_while_nobody_hears_it() -> None:
    hub = Hub()

    def never() -> str:
        raise AssertionError("made for nobody")

    assert not hub
    hub.publish("route", "selected", never)
    watcher = Watcher(hub, Wanted(frozenset({"port"})))
    assert hub
    hub.publish("route", "selected", never)
    assert watcher.woken == 0
    hub.leave(watcher.subscription)
    assert not hub


def test_an_event_says_when_what_and_about_whom() -> None:
    hub = Hub()
    watcher = Watcher(hub)
    hub.publish("port", "attached", lambda: "port web-1 attached", vpn="blue", port="web-1", more=lambda: {"label": 7})
    (event,) = watcher.subscription.take(5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(event.pop("at")))
    assert event == {
        "kind": "port", "event": "attached", "text": "port web-1 attached", "vpn": "blue", "port": "web-1", "label": 7,
    }  # fmt: skip
    assert watcher.woken == 1


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        (Wanted(), ["a", "b", "c"]),
        (Wanted(vpn="blue"), ["a", "b"]),
        (Wanted(port="web-1"), ["a"]),
        (Wanted(frozenset({"route", "repair"})), ["b"]),
        (Wanted(frozenset({"route"}), vpn="red"), []),
    ],
)
def test_filters(wanted: Wanted, heard: list[str]) -> None:
    hub = Hub()
    watcher = Watcher(hub, wanted)
    publish(hub, "a", vpn="blue", port="web-1")
    publish(hub, "b", "route", vpn="blue")
    publish(hub, "c", "gateway")
    assert watcher.texts() == heard


def test_who_does_not_read_loses_events_and_hurts_nobody() -> None:
    hub = Hub()
    slow, quick = Watcher(hub), Watcher(hub)
    heard: list[object] = []
    for number in range(QUEUE + 5):
        publish(hub, str(number))
        heard += quick.texts()
    assert heard == [str(number) for number in range(QUEUE + 5)]
    assert slow.texts(3) == ["0", "1", "2"]
    publish(hub, "later")
    rest = slow.texts()
    assert rest[: QUEUE - 3] == [str(number) for number in range(3, QUEUE)]
    assert rest[QUEUE - 3 :] == [5, "later"], "the loss is told where it was"


def test_losses_are_told_when_nothing_follows() -> None:
    hub = Hub()
    slow = Watcher(hub)
    for number in range(QUEUE + 2):
        publish(hub, str(number))
    assert len(slow.texts(QUEUE)) == QUEUE
    assert slow.texts() == [2]
    assert slow.texts() == []


def test_watchers_are_bounded() -> None:
    hub = Hub()
    watchers = [Watcher(hub) for _ in range(MOST)]
    with pytest.raises(OperatorError) as caught:
        Watcher(hub)
    assert caught.value.code is ExitCode.CONFLICT
    hub.leave(watchers[0].subscription)
    Watcher(hub)


def test_all_are_woken_when_it_ends() -> None:
    hub = Hub()
    watchers = [Watcher(hub), Watcher(hub)]
    hub.close()
    assert hub.closed
    assert [watcher.woken for watcher in watchers] == [1, 1]


def test_moments_have_milliseconds() -> None:
    assert moment(0.25) == "1970-01-01T00:00:00.250Z"
