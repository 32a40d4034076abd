"""`vrfwire-map serve` in a process of its own, and a client that speaks HTTP and XML by hand."""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ifmap.server.passwords import hash_password
from lab.pki import Authority
from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError
from tests.scenario.gateway_process import wait_for

PASSWORD = "of all clients"
_HASH = hash_password(PASSWORD, 4).text
_ENVELOPE = (
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2" xmlns:x="urn:example:m">'
    "<s:Body>{}</s:Body></s:Envelope>"
)
TIMEOUT = 20.0


class Refused(Exception):
    """An errorResult."""


class ServerProcess:
    """The daemon, at a port that the kernel chose. url: of its store."""

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        url: str,
        clients: Sequence[str],
        *,
        name: str = "one",
        lease: float = 15.0,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "map.log"
        self._socket = directory / "map.sock"
        self._config = directory / "map.toml"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._clients: list[SimpleClient] = []
        secret = directory / "url"
        secret.write_text(url)
        secret.chmod(0o600)
        tls = authority.issue(f"map-{name}", "map", dns=["localhost"], addresses=["127.0.0.1"])
        self.context = ssl.create_default_context(cafile=str(tls.ca))
        tables = "".join(f'[[client]]\nname = "{client}"\npassword_hash = "{_HASH}"\n' for client in clients)
        self._config.write_text(
            f'[map]\nname = "{name}"\nlisten = ["127.0.0.1:0"]\nmax_search_size = 100000000\n'
            f'[tls]\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
            f'[store]\nurl_file = "{secret}"\nlease = {lease}\n[control]\nsocket = "{self._socket}"\n{tables}'
        )

    def connect(self, client: str) -> SimpleClient:
        """A new session of a client, closed with the server."""
        one = SimpleClient(self, client)
        self._clients.append(one)
        return one

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "ifmap.server.main", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        return self._process

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.launch()
        status = wait_for(self._ready, "the map server")
        self.port = int(status["listen"][0].rpartition(":")[2])

    def refuse(self) -> tuple[int, str]:
        """Start one that can't: its exit status and what it says."""
        status = self.launch().wait(TIMEOUT)
        self._process = None
        return status, self.text()

    def status(self) -> Any:
        """The document of `vrfwire-map status`."""
        with ControlClient(str(self._socket), "vrfwire-map") as client:
            return client.call("status")

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self._process is not None
        self._close()
        self._process.terminate()
        status = self._process.wait(TIMEOUT)
        self._process = None
        return status

    def kill(self) -> None:
        """End it by SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._close()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def text(self) -> str:
        """Its log."""
        return self._log.read_text()

    def _close(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def _ready(self) -> Any:
        assert self._process is not None and self._process.poll() is None, self.text()
        try:
            return self.status()
        except OperatorError:
            return None


class SimpleClient:
    """A client with a session; each call waits for its answer. Raises Refused, OSError, HTTPException."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.name = name
        token = b64encode(f"{name}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/soap+xml"}
        self._ssrc = self._connection(server)
        self._arc = self._connection(server)
        begun = self.ask("<m:newSession/>")
        self.session, self.publisher = (
            found[1] for key in ("session-id", "publisher-id") if (found := re.search(f'{key}="(.*?)"', begun))
        )

    def close(self) -> None:
        """Close the connections."""
        self._ssrc.close()
        self._arc.close()

    def ask(self, operation: str, *, poll: bool = False) -> str:
        """The body of the answer. poll: on the second connection."""
        connection = self._arc if poll else self._ssrc
        connection.request("POST", "/", _ENVELOPE.format(operation).encode(), self._headers)
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != 200 or "<errorResult" in body:
            raise Refused(f"{response.status} {body}")
        return body

    def publish(self, *operations: str) -> None:
        """Operations: what `update` and `delete` make."""
        self.ask(f'<m:publish session-id="{self.session}">{"".join(operations)}</m:publish>')

    def search(self, name: str) -> str:
        """What is on a device and on its links, in XML."""
        return self.ask(
            f'<m:search session-id="{self.session}" max-depth="1" max-size="50000000">{device(name)}</m:search>'
        )

    def values(self, name: str, local: str) -> list[str]:
        """The texts of metadata of one type there."""
        return re.findall(rf"<x:{local} [^>]*>(.*?)</x:{local}>", self.search(name))

    def subscribe(self, name: str) -> None:
        """To a device and its links; takes the first result."""
        spec = f'<update name="it" max-depth="1" max-size="50000000">{device(name)}</update>'
        self.ask(f'<m:subscribe session-id="{self.session}">{spec}</m:subscribe>')
        assert "<searchResult" in self.poll()

    def poll(self) -> str:
        """The next results."""
        return self.ask(f'<m:poll session-id="{self.session}"/>', poll=True)

    def _connection(self, server: ServerProcess) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=TIMEOUT, context=server.context)


def device(name: str) -> str:
    """The identifier in XML."""
    return f"<device><name>{name}</name></device>"


def update(*names: str, local: str = "state", text: str = "", lifetime: str = "forever", single: bool = True) -> str:
    """An <update> of one metadatum on a device, or on the link of two."""
    cardinality = "singleValue" if single else "multiValue"
    metadata = f'<x:{local} ifmap-cardinality="{cardinality}">{text}</x:{local}>'
    places = "".join(map(device, names))
    return f'<update lifetime="{lifetime}">{places}<metadata>{metadata}</metadata></update>'


def delete(*names: str, filter: str = "") -> str:
    """A <delete>. filter: names; everything without."""
    attribute = f' filter="{filter}"' if filter else ""
    return f"<delete{attribute}>{''.join(map(device, names))}</delete>"
