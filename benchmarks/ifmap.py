"""The MAP server: the real daemon over TLS on the loopback, its store a SQLite file on disk, every publish committed.

The graph is a root with spokes: each has a property on its identifier and a link with the root, 2 metadata of lifetime
forever. That is the shape with which the reference servers were measured (docs/design/map-performance.md).

    batch_*             publishes of 200 metadata, one after the other, when the map holds 4,000, 40,000 and 400,000:
                        4,000 are added and deleted again, the median of the rounds counts. batch_metadata_per_s is at
                        4,000; rate_400k_over_4k says how flat it is
    single_*            publishes of one operation: a client alone; eight at a time, who share commits
    first_poll_40k_s    a subscription to a graph of 40,001 items (20,000 spokes), from the first byte of the subscribe
                        to the last byte of the first poll
    publish_to_poll_*   with that subscription: from the first byte of a publish to the last byte of the poll's answer
    unpolled_ratio      cost of a publish with 20 subscriptions to the whole graph of sessions that never poll, through
                        that with none of them; elsewhere_ratio: with 1,000 subscriptions to other parts of the graph
    purge_*             all of a publisher's metadata; purge_linearity: seconds a metadatum of 400,000, through those of
                        4,000
    restart_400k_s      from the start of the process until it serves, with 400,000 metadata in its store

"_s" are seconds, "_ms" milliseconds, "_mb" MiB of resident memory.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from benchmarks.ifmap_raw import METADATA, Channel, Client, Node, Server, nodes
from benchmarks.processes import resident
from benchmarks.report import Figures, Progress
from lab.errors import LabError
from runtime.errors import OperatorError

BATCH = 200
"""Metadata of one publish."""
SIZES = {"4k": 4_000, "40k": 40_000, "400k": 400_000}
ADDED = 4_000
"""Metadata that are added and deleted in a round."""
ROUNDS = 5
SINGLES = 400
PARALLEL = 8
LATENCIES = 300
ITEMS = 40_000
UNPOLLED = 20
ELSEWHERE = 1_000


def run(progress: Progress) -> Figures:
    """Measure. Raises OperatorError when the server fails."""
    try:
        return _run(progress)
    except LabError as error:
        raise OperatorError("ifmap benchmark", f"{error}\n{error.log}") from error


def _run(progress: Progress) -> Figures:
    figures: dict[str, float | int | str] = {}
    with tempfile.TemporaryDirectory(prefix="vrfwire-bench-") as name:
        directory = Path(name)
        for part in (_sizes, _singles, _subscriptions, _purge):
            folder = directory / part.__name__.strip("_")
            folder.mkdir()
            with Server(folder, UNPOLLED + PARALLEL + 2) as server:
                part(server, figures, progress)
    figures["rate_400k_over_4k"] = figures["batch_400k_per_s"] / figures["batch_4k_per_s"]  # type: ignore[operator]
    return figures


def _batches(found: Sequence[Node]) -> list[list[Node]]:
    rest = iter(found)
    batches = []
    while batch := list(islice(rest, BATCH // METADATA)):
        batches.append(batch)
    return batches


def _timed(channel: Channel, requests: Sequence[bytes]) -> float:
    """Seconds for requests, one after the other."""
    began = time.perf_counter()
    for request in requests:
        channel.ask(request)
    return time.perf_counter() - began


def _fill(client: Client, prefix: str, metadata: int) -> float:
    """Publish so many metadata in batches; seconds."""
    batches = _batches(list(nodes(prefix, metadata // METADATA)))
    return _timed(client.requests, [client.publish(batch) for batch in batches])


def _sizes(server: Server, figures: dict[str, float | int | str], progress: Progress) -> None:
    """Rates at growing sizes of the map, its memory, and how long it takes to load it."""
    client = Client(server, "c0")
    held = 0
    empty = resident(server.pid)
    fresh = _batches(list(nodes("fresh", ADDED // METADATA)))
    for label, size in SIZES.items():
        filled = _fill(client, f"at-{label}", size - held)
        progress(f"ifmap: {size} metadata in the map, the last {size - held} in {filled:.1f} s")
        held = size
        publish, delete = [client.publish(batch) for batch in fresh], [client.delete(batch) for batch in fresh]
        added, deleted = [], []
        for _ in range(ROUNDS):
            added.append(ADDED / _timed(client.requests, publish))
            deleted.append(ADDED / _timed(client.requests, delete))
        figures[f"batch_{label}_per_s"] = statistics.median(added)
        figures[f"delete_{label}_per_s"] = statistics.median(deleted)
    figures["batch_metadata_per_s"] = figures["batch_4k_per_s"]
    figures["memory_400k_mb"] = resident(server.pid)
    figures["bytes_per_metadatum"] = (resident(server.pid) - empty) * (1 << 20) / held
    client.close()
    server.stop()
    figures["restart_400k_s"] = server.start()


def _singles(server: Server, figures: dict[str, float | int | str], progress: Progress) -> None:
    """Publishes of one operation each."""
    progress("ifmap: publishes of one operation")
    client = Client(server, "c0")
    _fill(client, "held", SIZES["4k"])
    requests = [_one(client, number) for number in range(SINGLES)]
    seconds = []
    for request in requests:
        began = time.perf_counter()
        client.requests.ask(request)
        seconds.append(time.perf_counter() - began)
    figures["single_ms_p50"] = statistics.median(seconds) * 1000
    figures["single_per_s"] = SINGLES / sum(seconds)
    others = [Client(server, f"c{number + 1}") for number in range(PARALLEL)]
    work = [[_one(other, number) for number in range(SINGLES)] for other in others]
    threads = [
        threading.Thread(target=_timed, args=(other.requests, share)) for other, share in zip(others, work, strict=True)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures[f"single_{PARALLEL}_clients_per_s"] = PARALLEL * SINGLES / (time.perf_counter() - began)
    for other in (client, *others):
        other.close()


def _one(client: Client, number: int, lifetime: str = "forever") -> bytes:
    """A publish of one metadatum: the property of a node that is there is replaced."""
    node = Node(f"held-{number % 1000}", number)
    return client.request("publish", node.update(lifetime).partition("</update>")[0] + "</update>")


def _subscriptions(server: Server, figures: dict[str, float | int | str], progress: Progress) -> None:
    """First poll, latency, and what subscriptions of others cost a publish."""
    publisher, watcher = Client(server, "c0"), Client(server, "c1")
    _fill(publisher, "held", ITEMS)
    progress(f"ifmap: subscriptions to a graph of {ITEMS + 1} items")
    polls = watcher.polls
    poll, subscribe = watcher.poll(), watcher.subscribe()
    totals, subscribing = [], []
    for _ in range(3):
        began = time.perf_counter()
        watcher.requests.ask(subscribe)
        subscribing.append(time.perf_counter() - began)
        answer = polls.ask(poll)
        totals.append(time.perf_counter() - began)
    figures["first_poll_40k_s"] = statistics.median(totals)
    figures["first_poll_40k_subscribe_s"] = statistics.median(subscribing)
    figures["first_poll_40k_items"] = answer.count(b"<resultItem>")
    figures["first_poll_40k_mb"] = len(answer) / (1 << 20)
    for lifetime in ("forever", "session"):
        seconds = sorted(_latencies(publisher, watcher, lifetime))
        figures[f"publish_to_poll_{lifetime}_ms_p50"] = statistics.median(seconds) * 1000
        figures[f"publish_to_poll_{lifetime}_ms_p99"] = seconds[int(len(seconds) * 0.99)] * 1000
    figures["publish_to_poll_ms_p50"] = figures["publish_to_poll_forever_ms_p50"]
    watcher.close()

    progress("ifmap: subscriptions of those who never poll")
    alone = _median(publisher)
    silent = [Client(server, f"c{number + 2}") for number in range(UNPOLLED)]
    for client in silent:
        client.requests.ask(client.subscribe())
    among = _median(publisher)
    figures["publish_ms_alone"] = alone * 1000
    figures["publish_ms_20_unpolled"] = among * 1000
    figures["unpolled_ratio"] = among / alone
    # What waits for them grows; the publish doesn't get dearer by that.
    for _ in range(3):
        _median(publisher)
    figures["unpolled_growth_ratio"] = _median(publisher) / among
    for client in silent:
        client.requests.ask(client.request("endSession"))
        client.close()
    elsewhere = Client(server, "c2")
    for number in range(ELSEWHERE // 100):
        updates = "".join(
            f'<update name="e{each}" max-depth="0" max-size="1000000">'
            f'<identity name="held-{1000 + each}" type="other" other-type-definition="32473:bench"/></update>'
            for each in range(number * 100, number * 100 + 100)
        )
        elsewhere.requests.ask(elsewhere.request("subscribe", updates))
    figures["elsewhere_ratio"] = _median(publisher) / alone
    for client in (publisher, elsewhere):
        client.close()


def _latencies(publisher: Client, watcher: Client, lifetime: str) -> list[float]:
    poll, found = watcher.poll(), []
    for number in range(LATENCIES):
        request = _one(publisher, number, lifetime)
        watcher.polls.send(poll)
        # The poll has to wait at the server by then, or it would be measured as well.
        watcher.requests.ask(watcher.request("renewSession"))
        began = time.perf_counter()
        publisher.requests.send(request)
        watcher.polls.receive()
        found.append(time.perf_counter() - began)
        publisher.requests.receive()
    return found


def _median(client: Client) -> float:
    """Median seconds of publishes of one operation."""
    seconds = []
    for number in range(SINGLES):
        request = _one(client, number)
        began = time.perf_counter()
        client.requests.ask(request)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _purge(server: Server, figures: dict[str, float | int | str], progress: Progress) -> None:
    """All of a publisher's metadata at once, with a subscription of another client to all of it."""
    publisher, watcher = Client(server, "c0"), Client(server, "c1")
    cost: dict[str, float] = {}
    watcher.requests.ask(watcher.subscribe())
    for label, size in SIZES.items():
        _fill(publisher, "held", size)
        watcher.polls.ask(watcher.poll())
        purge = publisher.purge()
        began = time.perf_counter()
        publisher.requests.ask(purge)
        cost[label] = time.perf_counter() - began
        figures[f"purge_{label}_s"] = cost[label]
        watcher.polls.ask(watcher.poll())
        progress(f"ifmap: {size} metadata purged in {cost[label]:.2f} s")
    figures["purge_linearity"] = (cost["400k"] / SIZES["400k"]) / (cost["4k"] / SIZES["4k"])
    for client in (publisher, watcher):
        client.close()
