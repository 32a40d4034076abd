"""The map server's daemon: logins by certificate, SIGHUP, health, metrics, control socket, service manager, stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ifmap.server.config import MapConfig
from ifmap.server.daemon import Daemon
from ifmap.server.storage import StoredMap, open_map
from ifmap.server.store import StoreError
from lab.pki import Authority
from runtime.config import load
from runtime.daemon import Source
from runtime.errors import OperatorError
from tests.scenario.conftest import MakeClient, MakeMap
from tests.scenario.daemon_process import wait_for
from tests.scenario.map_process import NAME, MapProcess, client
from tests.scenario.raw_map import RawConnection, basic, context, device, envelope, multi, single, update

SESSION = envelope("<m:newSession/>")
BY_CERTIFICATE = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(SESSION) + SESSION


def health(server: MapProcess, tls: ssl.SSLContext) -> tuple[int, Any]:
    """GET /health, by anybody."""
    with RawConnection(server.port, tls) as connection:
        connection.send(b"GET /health HTTP/1.1\r\nHost: map\r\n\r\n")
        answer = connection.answer()
        assert b"Content-Type: application/json" in answer.head
        return answer.status, json.loads(answer.body)


@pytest.fixture(scope="module")
def own_map(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[MapProcess]:
    """A server of this module, which its tests configure anew."""
    process = MapProcess(tmp_path_factory.mktemp("own map"), authority, client("c0"))
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.text(), process.text()


# -- who it is


def test_certificates(own_map: MapProcess, authority: Authority, tmp_path: Path) -> None:
    server = own_map
    certified = '[[client]]\nname = "gw1"\n[[client]]\nname = "gw2"\ncertificate = "other.example.net"\n'
    server.reload(certified + client("c0"))
    ca = str(authority.certificate)

    def login(name: str, issuer: Authority = authority) -> tuple[int, str]:
        credentials = issuer.issue(f"map-{name}", name)
        with RawConnection(server.port, context(ca, credentials)) as connection:
            connection.send(BY_CERTIFICATE)
            answer = connection.answer()
            return answer.status, answer.text

    assert login("gw1")[0] == 200
    assert 'ifmap-publisher-id="gw1-' in login("gw1")[1]
    assert 'ifmap-publisher-id="gw2-' in login("other.example.net")[1]
    assert login("gw2")[0] == 401, "its certificate has another name"
    assert login("c0")[0] == 401, "it has a password and no certificate"
    assert login("stranger")[0] == 401
    # A certificate of another authority doesn't even get through TLS.
    with pytest.raises((ssl.SSLError, OSError)):
        login("gw1", Authority(tmp_path / "false authority", "vrfwire lab"))
    # Without one, but with a password, on the same port.
    with RawConnection(server.port, context(ca)) as connection:
        assert connection.ask("c0", "<m:newSession/>").error == ""
        assert connection.ask("gw1", "<m:newSession/>").status == 401


def test_old_tls_is_refused(shared_map: MapProcess, authority: Authority) -> None:
    old = context(str(authority.certificate))
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        RawConnection(shared_map.port, old)


# -- what a client may do


def test_access_rules(own_map: MapProcess, map_client: MakeClient) -> None:
    looks = client("looks", 'read = ["{urn:example:x}state"]\nwrite = []')
    events = client("events", 'write = ["{urn:example:x}event"]')
    own_map.reload(client("all", "purge_others = true") + looks + events)
    everything, looking, writing = (map_client(own_map, name) for name in ("all", "looks", "events"))
    here = device("ruled")
    everything.publish(update(here, single("seen") + multi("hidden")))
    assert "hidden" in everything.search(here).text
    found = looking.search(here).text
    assert "seen" in found and "hidden" not in found
    assert looking.publish(update(here, single("x"))).error == "AccessDenied"
    assert looking.publish(f"<delete>{here}</delete>").error == "AccessDenied"
    assert writing.publish(update(here, multi("added"))).error == ""
    assert writing.publish(update(here, multi("a") + single("x"))).error == "AccessDenied"
    assert "added" in everything.search(here).text

    purge = f' ifmap-publisher-id="{everything.publisher}"'
    assert writing.ask("purgePublisher", attributes=purge).error == "AccessDenied"
    other = f' ifmap-publisher-id="{writing.publisher}"'
    assert everything.ask("purgePublisher", attributes=other).error == ""
    assert "added" not in everything.search(here).text


# -- SIGHUP


def test_reload_of_clients(own_map: MapProcess, map_client: MakeClient) -> None:
    server = own_map
    server.reload(client("stays") + client("goes") + client("changes"))
    stays, goes, changes = (map_client(server, name) for name in ("stays", "goes", "changes"))
    for raw in (goes, changes):
        raw.begin_poll()
        server.wait_polling(raw.user)
    server.reload(client("stays") + client("comes") + client("changes", "write = []"))
    for raw in (goes, changes):
        assert "<endSessionResult/>" in raw.arc.answer().text
    assert stays.ask("renewSession").error == ""
    assert map_client(server, "comes").session
    assert goes.ask("newSession").status == 401
    assert changes.begin().error == ""
    assert changes.publish(update(device("a"), single("1"))).error == "AccessDenied"
    assert {row["name"] for row in server.ask("client.list")["items"]} == {"stays", "comes", "changes"}


def test_a_bad_configuration_changes_nothing(own_map: MapProcess, map_client: MakeClient) -> None:
    server = own_map
    server.reload(client("c0"))
    raw = map_client(server, "c0")
    good = server.config.read_text()
    server.config.write_text(good + "[nonsense]\n")
    server.signal(signal.SIGHUP)
    server.wait_log("configuration not reloaded", "nonsense")
    status = server.ask("status")
    assert status["state"] == "degraded"
    assert "nonsense; the former configuration is in use" in status["problems"][0]["why"]
    assert raw.ask("renewSession").error == ""
    assert health(server, raw.tls)[0] == 200, "it serves as before"
    server.config.write_text(good)
    server.signal(signal.SIGHUP)
    wait_for(lambda: server.ask("status")["state"] == "ok", "the good configuration")
    server.reload("")
    server.wait_log("warning", "nobody can log in")


def test_reload_of_certificates(own_map: MapProcess, map_client: MakeClient) -> None:
    server = own_map
    server.reload(client("c0"))
    raw = map_client(server, "c0")

    def serial() -> bytes:
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with raw.tls.wrap_socket(plain, server_hostname=NAME) as tls:
            return tls.getpeercert(binary_form=True) or b""

    before = serial()
    server.certify()
    assert serial() == before
    server.reload(client("c0"))
    assert serial() != before
    assert raw.ask("renewSession").error == "", "connections go on"


# -- health


def test_health_looks_at_content(own_map: MapProcess, map_client: MakeClient) -> None:
    server = own_map
    server.reload(client("c0"), '[health]\nmin_metadata = 2\nrequire = ["{urn:example:x}state"]\n')
    raw = map_client(server, "c0")
    status, document = health(server, raw.tls)
    assert (status, document["state"], document["checks"]) == (503, "degraded", {"store": True, "content": False})
    problems = server.ask("status")["problems"]
    assert [problem["what"] for problem in problems] == ["content", "content"]
    raw.publish(update(device("a"), single("tenant's secret") + multi("1"), "forever"))
    status, document = health(server, raw.tls)
    assert (status, document) == (
        200,
        {"state": "ok", "checks": {"store": True, "content": True}, "metadata": 2, "lasting": 2},
    )
    assert server.ask("status")["state"] == "ok"
    raw.publish(f'<delete filter="x:state">{device("a")}</delete>')
    assert health(server, raw.tls)[0] == 503


class FailingStore:
    """A store whose disk fails when it is told to."""

    shared = False

    def __init__(self, store: Any) -> None:
        self._store = store
        self.fails = False

    def commit(self, records: Any) -> None:
        self._fail()
        self._store.commit(records)

    def check(self) -> None:
        self._fail()
        self._store.check()

    def _fail(self) -> None:
        if self.fails:
            raise StoreError("no space left on the disk of tenant db7")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def in_daemon(path: Path, use: Callable[[Daemon, FailingStore, int], None]) -> None:
    """Run a daemon here, and use it in a thread."""

    async def serve() -> None:
        loaded = load(MapConfig, program="map", path=path)
        stored = open_map(loaded.value.store.address())
        failing = FailingStore(stored.store)
        daemon = Daemon(loaded, Source(path, {}), StoredMap(cast(Any, failing), stored.graph, stored.loaded))
        running = asyncio.create_task(daemon.run())
        async with asyncio.timeout(20):
            while not daemon.listener.bound:  # noqa: ASYNC110 (no event tells)
                await asyncio.sleep(0.01)
        try:
            await asyncio.to_thread(use, daemon, failing, daemon.listener.bound[0].port)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await running

    asyncio.run(serve())


def test_a_store_that_fails(tmp_path: Path, authority: Authority, map_client: MakeClient) -> None:
    server = MapProcess(tmp_path / "map", authority, client("c0") + client("c1"))

    def use(daemon: Daemon, store: FailingStore, port: int) -> None:
        server.port = port
        raw = map_client(server, "c0")
        here = device("stored")
        assert raw.publish(update(here, single("before"), "forever")).error == ""
        store.fails = True
        assert raw.publish(update(here, single("lost"), "forever")).error == "SystemError"
        status, document = health(server, raw.tls)
        assert (status, document["checks"]["store"]) == (503, False)
        assert "db7" not in json.dumps(document)
        assert server.ask("status")["problems"][0]["what"] == "store"
        assert "before" in raw.search(here).text, "reading goes on"
        store.fails = False
        wait_for(lambda: health(server, raw.tls)[0] == 200, "the store's recovery")
        assert raw.publish(update(here, single("after"), "forever")).error == ""
        assert server.ask("status")["problems"] == []
        raw.close()

    in_daemon(server.config, use)


# -- what it shows


def test_metrics_and_status(make_map: MakeMap, map_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = make_map(tables=f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
    raw = map_client(server, "c0")
    raw.publish(update(device("a"), single("1"), "forever") + update(device("a"), multi("2")))
    raw.subscribe("s", device("a"))
    raw.poll()
    raw.ssrc.ask("nobody", "<m:newSession/>")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    for line in (
        'vrfwire_map_healthy{check="store"} 1.0',
        "vrfwire_map_sessions 1.0",
        "vrfwire_map_subscriptions 1.0",
        "vrfwire_map_metadata 2.0",
        "vrfwire_map_lasting_metadata 1.0",
        "vrfwire_map_metadata_added_total 2.0",
        'vrfwire_map_requests_total{operation="publish",result="ok"} 1.0',
        'vrfwire_map_http_responses_total{status="401"} 1.0',
        "vrfwire_map_wrong_passwords_total 1.0",
        "vrfwire_map_connections 2.0",
    ):
        assert f"\n{line}\n" in text

    status = server.ask("status")
    assert (status["state"], status["name"], status["problems"]) == ("ok", "one", [])
    assert (status["sessions"], status["metadata"], status["lasting_metadata"]) == (1, 2, 1)
    (session,) = server.ask("session.list")["items"]
    assert (session["client"], session["address"], session["subscriptions"]) == ("c0", "127.0.0.1", ["s"])
    assert session["channels"] == ["ssrc", "arc"]
    (row,) = server.ask("client.list")["items"]
    assert (row["name"], row["connected"], row["password"], row["certificate"]) == ("c0", True, True, None)
    shown = json.dumps([server.ask("config.show"), server.ask("session.list"), server.ask("client.list")])
    assert "$scrypt$" not in shown and raw.session not in shown
    assert server.ask("version")["program"] == "vrfwire-map"


def test_log_has_no_secrets(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    raw.search(device("x"))
    field = basic(raw.user).rpartition(" ")[2]
    log = shared_map.text()
    assert raw.user in log
    for secret in (field, "pass:w", raw.session, "$scrypt$"):
        assert secret not in log


# -- life


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ifmap.server.main", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)


def test_check(tmp_path: Path, authority: Authority) -> None:
    server = MapProcess(tmp_path, authority, client("c0"))
    good = command("--config", server.config, "--check")
    assert (good.returncode, good.stdout) == (0, "configuration ok\n")
    assert not server.database.exists()
    server.credentials.key.unlink()
    bad = command("--config", server.config, "--check")
    assert bad.returncode == 1
    assert bad.stderr.startswith("vrfwire-map: tls.key ") and "Traceback" not in bad.stderr


def test_what_another_has(make_map: MakeMap, tmp_path: Path, authority: Authority) -> None:
    """The same address, the same file: an error that says so, and the first server goes on."""
    first = make_map()
    second = MapProcess(tmp_path / "second", authority, client("c0"))
    second.port = first.port
    second.write_config(client("c0"))
    taken = command("--config", second.config)
    assert taken.returncode == 1 and f"listen 127.0.0.1:{first.port}" in taken.stderr
    second.port, second.database = 0, first.database
    second.write_config(client("c0"))
    held = command("--config", second.config)
    assert held.returncode == 3 and "Traceback" not in held.stderr
    assert first.ask("status")["state"] == "ok"


def test_service_manager(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        server = MapProcess(tmp_path / "map", authority, client("c0"))
        try:
            server.start()
            told: list[str] = []
            while told.count("WATCHDOG=1") < 3:
                told.append(manager.recv(4096).decode())
            assert told[0] == "READY=1"
            assert "STATUS=ok: 0 sessions, 0 metadata" in told
            assert server.stop() == 0
            while told[-1] != "STOPPING=1":
                told.append(manager.recv(4096).decode())
        finally:
            server.kill()
        with pytest.raises(OperatorError):
            server.ask("status")
        assert "stopped" in server.text() and "Traceback" not in server.text()
