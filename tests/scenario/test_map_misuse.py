"""What becomes of sessions and connections that are used in other ways than the book says (the table of misuse)."""

from __future__ import annotations

from tests.scenario.conftest import MakeClient, MakeMap
from tests.scenario.map_process import MapProcess, client
from tests.scenario.raw_map import RawClient, device, envelope, multi, single, update

RENEWED = "<renewSessionResult/>"


def waiting(server: MapProcess, map_client: MakeClient) -> RawClient:
    """A client whose poll waits."""
    raw = map_client(server)
    raw.begin_poll()
    server.wait_polling(raw.user)
    return raw


def test_a_second_poll_ends_the_session(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = waiting(shared_map, map_client)
    second = raw.connect()
    assert second.ask(raw.user, raw.operation("poll")).error == "InvalidSessionID"
    assert "<endSessionResult/>" in raw.arc.answer().text
    assert raw.ask("renewSession").error == "InvalidSessionID"


def test_a_second_poll_behind_the_first_one_too(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = waiting(shared_map, map_client)
    raw.begin_poll()
    assert "<endSessionResult/>" in raw.arc.answer().text
    assert raw.arc.answer().error == "InvalidSessionID"


def test_a_poll_on_the_ssrc(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    assert raw.ask("poll").error == "Failure"
    assert RENEWED in raw.ask("renewSession").text


def test_a_request_on_the_arc(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    raw.subscribe("s", device("arc"))
    raw.poll()
    assert raw.arc.ask(raw.user, raw.operation("renewSession")).error == "Failure"
    assert RENEWED in raw.ask("renewSession").text


def test_a_new_session_ends_the_old_one_first(shared_map: MapProcess, map_client: MakeClient) -> None:
    watcher = map_client(shared_map)
    here = device("taken over")
    watcher.subscribe("s", here)
    watcher.poll()
    old = waiting(shared_map, map_client)
    old.publish(update(here, single("of the session")) + update(here, multi("for ever"), "forever"))
    watcher.poll()
    new = map_client(shared_map, old.user)
    assert "<endSessionResult/>" in old.arc.answer().text
    assert "of the session" not in new.search(here).text, "gone before the new session begins"
    assert "for ever" in new.search(here).text
    told = watcher.poll()
    assert "<deleteResult" in told.text and "of the session" in told.text and "for ever" not in told.text
    error = old.ask("renewSession")
    assert error.error == "InvalidSessionID"
    assert "127.0.0.1" in error.text, "it says who took over"


def test_session_ids_of_nobody_and_of_others(shared_map: MapProcess, map_client: MakeClient) -> None:
    ann, bob = map_client(shared_map), map_client(shared_map)
    own = ann.session
    for session in ("", "0" * 32, bob.session, "x" * 200):
        ann.session = session
        assert ann.ask("renewSession").error == "InvalidSessionID"
        assert ann.ask("publish", update(device("a"), single("1"))).error == "InvalidSessionID"
    ann.session = own
    assert RENEWED in ann.ask("renewSession").text
    assert RENEWED in bob.ask("renewSession").text


def test_a_new_connection_takes_over(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    second = raw.connect()
    assert RENEWED in second.ask(raw.user, raw.operation("renewSession")).text
    assert raw.ask("renewSession").error == "AccessDenied", "the former one is stale"
    assert RENEWED in second.ask(raw.user, raw.operation("renewSession")).text


def test_an_arc_that_closes(shared_map: MapProcess, map_client: MakeClient) -> None:
    """The session goes on, and what the lost poll would have brought comes with the next."""
    raw = map_client(shared_map)
    raw.subscribe("s", device("lost arc"))
    raw.poll()
    raw.begin_poll()
    shared_map.wait_polling(raw.user)
    raw.arc.close()
    shared_map.wait_polling(raw.user, False)
    raw.publish(update(device("lost arc"), single("later")))
    assert RENEWED in raw.ask("renewSession").text
    again = raw.connect()
    assert "later" in again.ask(raw.user, raw.operation("poll")).text


def test_times(make_map: MakeMap, map_client: MakeClient) -> None:
    """With a connection a session lives as long as that; without, as long as session_timeout."""
    server = make_map(client("c0") + client("c1") + client("c2"), "session_timeout = 0.3")
    idle = map_client(server, "c0")
    polling = map_client(server, "c1")
    polling.begin_poll()
    server.wait_polling("c1")
    polling.ssrc.close()
    gone = map_client(server, "c2")
    gone.publish(update(device("gone"), single("1")))
    gone.ssrc.close()
    server.wait_log("c2", "no connection")
    assert RENEWED in idle.ask("renewSession").text
    assert "<metadata" not in idle.search(device("gone")).text
    back = polling.connect()
    assert RENEWED in back.ask("c1", polling.operation("renewSession")).text


def test_requests_in_a_row_are_answered_in_their_order(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    here = device("pipelined")
    for number in range(5):
        raw.ssrc.post(raw.user, envelope(raw.operation("publish", update(here, single(str(number))))))
        raw.ssrc.post(raw.user, envelope(raw.operation("search", here)))
    for number in range(5):
        assert "<publishReceived/>" in raw.ssrc.answer().text
        assert f">{number}</x:state>" in raw.ssrc.answer().text
