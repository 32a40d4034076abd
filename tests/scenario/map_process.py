"""A map server on the loopback interface, as tests run it."""

from __future__ import annotations

import signal
from pathlib import Path

from ifmap.server.passwords import hash_password
from lab.pki import Authority, Credentials
from tests.scenario.daemon_process import DaemonProcess, wait_for

NAME = "map.example.net"
PASSWORD = "pass:wörd"
"""Of every client: with a colon and something that isn't ASCII."""
_RELOADED = "configuration reloaded"
_HASH = hash_password(PASSWORD, log_n=4).text


def client(name: str, rules: str = "") -> str:
    """A [[client]] with the password of all. rules: further lines."""
    return f'[[client]]\nname = "{name}"\npassword_hash = "{_HASH}"\n{rules}\n'


class MapProcess(DaemonProcess):
    """The daemon in a process of its own, at a port that the kernel chose and that it keeps. clients: [[client]]
    tables; settings: lines of [map]; tables: others; name: its own among servers; url: of its store, by default a
    SQLite file in its directory; lease: seconds."""

    name = "map"
    module = "ifmap.server.main"

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        clients: str,
        settings: str = "",
        tables: str = "",
        *,
        name: str = "one",
        url: str = "",
        lease: float = 15.0,
    ) -> None:
        super().__init__(directory)
        self.authority = authority
        self.database = directory / "map.db"
        self.credentials = self.certify(name)
        self.settings = settings
        self.tables = tables
        self._names = f'name = "{name}"'
        self._url = url
        self._url_file = directory / "url"
        self._url_file.touch(0o600)
        self._lease = lease
        self.write_config(clients)

    def certify(self, name: str = "one") -> Credentials:
        """Write a new certificate over the one it has."""
        names = [NAME, "localhost"]
        return self.authority.issue(f"map-{name}", NAME, dns=names, addresses=["127.0.0.1"])

    def write_config(self, clients: str) -> None:
        """Write the configuration."""
        self._clients = clients
        self._url_file.write_text(self._url or f"sqlite:///{self.database}")
        tls = self.credentials
        self.config.write_text(
            f'[map]\nlisten = ["127.0.0.1:{self.port}"]\n{self._names}\n{self.settings}\n'
            f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
            f'[store]\nurl_file = "{self._url_file}"\nlease = {self._lease}\n[control]\nsocket = "{self.socket}"\n'
            f'[log]\nlevel = "debug"\n{self.tables}\n{clients}'
        )

    def start(self) -> None:
        """Start it, and wait until it serves; it comes back at the same port then."""
        super().start()
        self.write_config(self._clients)

    def reload(self, clients: str, tables: str = "") -> None:
        """Give it another configuration, and wait until it has it."""
        before = self.text().count(_RELOADED)
        self.tables = tables
        self.write_config(clients)
        self.signal(signal.SIGHUP)
        wait_for(lambda: self.text().count(_RELOADED) > before, f"the configuration:\n{self.text()}")

    def wait_polling(self, user: str, polling: bool = True) -> None:
        """Wait until a client's poll waits here, or none does."""

        def look() -> bool:
            sessions = self.ask("session.list")["items"]
            return any(session["client"] == user and session["polling"] for session in sessions) == polling

        wait_for(look, f"a poll of {user}" if polling else f"the end of the poll of {user}")
