"""What the map server measures, for Prometheus. docs/metrics.md lists every metric.

A snapshot costs what there are sessions and metadata types. No metric has a label for a client, an identifier or a
metadata type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from ifmap.server.auth import Authenticator
from ifmap.server.health import Finding
from ifmap.server.listener import Listener
from ifmap.server.writer import Writer
from ifmap.service import MapService
from runtime.metrics import Description, Measured, Metric, grouped

HEALTHY = Description(
    "vrfwire_map_healthy", "gauge", ("check",), "1 when this part of `GET /health` is well, else 0: `store`, `content`"
)
SESSIONS = Description("vrfwire_map_sessions", "gauge", (), "sessions of clients on this server")
ELSEWHERE = Description("vrfwire_map_sessions_elsewhere", "gauge", (), "sessions on other servers of the store")
SUBSCRIPTIONS = Description("vrfwire_map_subscriptions", "gauge", (), "subscriptions")
POLLS = Description("vrfwire_map_polls", "gauge", (), "polls that wait for results")
METADATA = Description("vrfwire_map_metadata", "gauge", (), "metadata in the map")
LASTING = Description("vrfwire_map_lasting_metadata", "gauge", (), "those of them of lifetime forever")
IDENTIFIERS = Description("vrfwire_map_identifiers", "gauge", (), "identifiers that have metadata, links or watchers")
LINKS = Description("vrfwire_map_links", "gauge", (), "links that have metadata")
TYPES = Description("vrfwire_map_metadata_types", "gauge", (), "metadata types whose cardinality is known")
PUBLISHERS = Description("vrfwire_map_publishers", "gauge", (), "clients that have a publisher id")
WAITING = Description("vrfwire_map_waiting_proposals", "gauge", (), "changes that wait to be committed")
RESULTS = Description("vrfwire_map_undelivered_bytes", "gauge", (), "results that wait for a poll, of all sessions")
LARGEST = Description("vrfwire_map_undelivered_max_bytes", "gauge", (), "the same, of the session that has most")
REQUESTS = Description(
    "vrfwire_map_requests_total",
    "counter",
    ("operation", "result"),
    "answered requests: `publish`, `poll`, ... (`unreadable`: none of them), by `ok`, `ended` or error code",
)
ADDED = Description("vrfwire_map_metadata_added_total", "counter", (), "metadata stored")
REMOVED = Description("vrfwire_map_metadata_removed_total", "counter", (), "metadata deleted or superseded")
NOTIFIED = Description("vrfwire_map_metadata_notified_total", "counter", (), "metadata of `notify`")
BEGUN = Description("vrfwire_map_sessions_begun_total", "counter", (), "sessions that began")
ENDED = Description("vrfwire_map_sessions_ended_total", "counter", (), "sessions that ended, for whatever reason")
POLLED = Description("vrfwire_map_poll_results_total", "counter", (), "polls answered with results")
COMMITS = Description("vrfwire_map_commits_total", "counter", (), "transactions of the store")
FAILURES = Description("vrfwire_map_commit_failures_total", "counter", (), "transactions that failed")
RECORDS = Description("vrfwire_map_records_total", "counter", (), "changes committed, several in a transaction")
COMMIT_TIME = Description("vrfwire_map_commit_seconds_total", "counter", (), "time that transactions took")
FOREIGN = Description("vrfwire_map_foreign_records_total", "counter", (), "changes that other servers committed")
RELOADS = Description(
    "vrfwire_map_reloads_total", "counter", (), "times that the map was loaded again and all sessions ended"
)
CONNECTIONS = Description("vrfwire_map_connections", "gauge", (), "connections of clients")
ACCEPTED = Description("vrfwire_map_connections_total", "counter", (), "connections accepted")
REFUSED = Description(
    "vrfwire_map_connections_refused_total",
    "counter",
    ("reason",),
    "connections ended before their time: `limit` (too many), `tls` (no handshake), `slow` (request or login took too"
    " long), `stalled` (answers aren't read)",
)
RESPONSES = Description("vrfwire_map_http_responses_total", "counter", ("status",), "answers by HTTP status")
WRONG = Description("vrfwire_map_wrong_passwords_total", "counter", (), "wrong users or passwords")
RECEIVED = Description("vrfwire_map_received_bytes_total", "counter", (), "bytes of HTTP from clients")
SENT = Description("vrfwire_map_sent_bytes_total", "counter", (), "bytes of HTTP to clients")

MAP_METRICS = (
    *(HEALTHY, SESSIONS, ELSEWHERE, SUBSCRIPTIONS, POLLS, METADATA, LASTING, IDENTIFIERS, LINKS, TYPES, PUBLISHERS),
    *(WAITING, RESULTS, LARGEST, REQUESTS, ADDED, REMOVED, NOTIFIED, BEGUN, ENDED, POLLED),
    *(COMMITS, FAILURES, RECORDS, COMMIT_TIME, FOREIGN, RELOADS),
    *(CONNECTIONS, ACCEPTED, REFUSED, RESPONSES, WRONG, RECEIVED, SENT),
)
"""All of them, in the order of docs/metrics.md."""

_REASONS = {"limit": "refused", "tls": "tls_failures", "slow": "slow", "stalled": "stalled"}
"""Counters of the listener by reason."""


class MapMetrics:
    """Takes snapshots of a server. findings: of its health check."""

    def __init__(
        self,
        service: MapService,
        writer: Writer,
        listener: Listener,
        authenticator: Authenticator,
        findings: Callable[[], list[Finding]],
        certificates: Callable[[], list[Metric]] = list,
    ) -> None:
        self._service = service
        self._writer = writer
        self._listener = listener
        self._authenticator = authenticator
        self._findings = findings
        self._certificates = certificates

    def snapshot(self) -> list[Metric]:
        """Everything, now."""
        return grouped(MAP_METRICS, chain(self._now(), self._counted(), self._connections())) + self._certificates()

    def _now(self) -> Iterator[Measured]:
        figures, graph = self._service.figures(), self._service.graph
        failed = {finding.check for finding in self._findings()}
        for check in ("store", "content"):
            yield HEALTHY, (check,), check not in failed
        yield SESSIONS, (), figures.sessions
        yield ELSEWHERE, (), figures.elsewhere
        yield SUBSCRIPTIONS, (), figures.subscriptions
        yield POLLS, (), figures.polls
        yield METADATA, (), figures.metadata
        yield LASTING, (), sum(graph.lasting.values())
        yield IDENTIFIERS, (), graph.identifier_count
        yield LINKS, (), figures.links
        yield TYPES, (), figures.types
        yield PUBLISHERS, (), figures.publishers
        yield WAITING, (), figures.waiting
        yield RESULTS, (), figures.results
        yield LARGEST, (), figures.longest_results

    def _counted(self) -> Iterator[Measured]:
        counters, written = self._service.counters, self._writer.counters
        for (operation, result), count in sorted(counters.requests.items()):
            yield REQUESTS, (operation, str(result)), count
        yield ADDED, (), counters.metadata_added
        yield REMOVED, (), counters.metadata_removed
        yield NOTIFIED, (), counters.metadata_notified
        yield BEGUN, (), counters.sessions_begun
        yield ENDED, (), counters.sessions_ended
        yield POLLED, (), counters.poll_results
        yield COMMITS, (), written.batches
        yield FAILURES, (), written.failures
        yield RECORDS, (), written.records
        yield COMMIT_TIME, (), written.seconds
        yield FOREIGN, (), written.foreign
        yield RELOADS, (), written.reloads

    def _connections(self) -> Iterator[Measured]:
        counters = self._listener.counters
        yield CONNECTIONS, (), len(self._listener.connections)
        yield ACCEPTED, (), counters["connections"]
        for reason, name in _REASONS.items():
            yield REFUSED, (reason,), counters[name]
        for name, count in sorted(counters.items()):
            kind, slash, status = name.partition("/")
            if slash and kind == "responses":
                yield RESPONSES, (status,), count
        yield WRONG, (), self._authenticator.refused
        yield RECEIVED, (), counters["bytes_received"]
        yield SENT, (), counters["bytes_sent"]
