"""PostgreSQL in a process of its own, from Debian's package, for the tests of what several map servers share."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from lab.speakers.base import die_with_parent

USERS = ("postgres", "nobody")
"""Who it may run as when the tests are run by root, which it refuses; the first that exists is taken."""
DEADLINE = 30.0
"""Seconds for a start or stop; far more than it takes."""
PASSWORD = "p@ss/w:rd 1"
"""Of the user "map": with everything that a URL has to escape."""
URL_PASSWORD = "p%40ss%2Fw%3Ard%201"
"""The same as a URL writes it."""

_SETTINGS = {
    "shared_buffers": "16MB",
    "max_connections": "40",
    "autovacuum": "off",
    "fsync": "off",
    "log_min_messages": "warning",
}


def binaries() -> Path:
    """The directory of the newest version's programs, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    assert found, "there is no PostgreSQL: apt-get install postgresql"
    return found[-1].parent


class Postgres:
    """A cluster with one database, "map", at a free port of 127.0.0.1 and a unix socket in its directory.

    It has a directory of its own under the system's temporary one, since the user it runs as can't enter those that
    pytest makes for root. It doesn't wait for the disk: processes end in the tests, machines don't.
    """

    def __init__(self) -> None:
        self._owner = _owner()
        self.directory = Path(tempfile.mkdtemp(prefix="vrfwire-postgres-"))
        self._data = self.directory / "data"
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        if self._owner is not None:
            os.chown(self.directory, self._owner.pw_uid, self._owner.pw_gid)
        try:
            self._initialise()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Of its database over TCP, with user and password."""
        return f"postgresql://map:{URL_PASSWORD}@127.0.0.1:{self.port}/map"

    def start(self) -> None:
        """Start it, and wait until it serves. The port stays the same over restarts."""
        settings = {**_SETTINGS, "listen_addresses": "127.0.0.1", "port": str(self.port)}
        settings["unix_socket_directories"] = str(self.directory)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(binaries() / "postgres"), "-D", str(self._data), *options],
                **self._credentials(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        end = time.monotonic() + DEADLINE
        while not self._serves():
            assert self._process.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it as a service manager would, its clients' connections cut."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it without a checkpoint: the next start has to recover from its write-ahead log."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """End it at once, and remove its directory."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory)

    def signal(self, number: int) -> None:
        """Send its first process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of the tests' own, each statement a transaction."""
        return psycopg.connect(self.url, autocommit=True)

    def reset(self) -> None:
        """Empty the database, for the next test."""
        with self.connect() as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def text(self) -> str:
        """Its log."""
        return self._log.read_text()

    def _initialise(self) -> None:
        password = self.directory / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o644)
        arguments = ["-D", str(self._data), "-U", "map", "-A", "scram-sha-256", "--pwfile", str(password)]
        self._run("initdb", *arguments, "-E", "UTF8", "--locale=C", "--no-sync")
        # Between initdb and the first start the database is made without a server: the single-user mode.
        self._run("postgres", "--single", "-D", str(self._data), "postgres", text="CREATE DATABASE map\n")

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        done = subprocess.run(
            [str(binaries() / program), *arguments],
            **self._credentials(),
            cwd=self.directory,
            input=text.encode(),
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()

    def _credentials(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}

    def _serves(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE)
            self._process = None


def _owner() -> pwd.struct_passwd | None:
    """Who it runs as; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError(f"PostgreSQL doesn't run as root, and there is no user {' or '.join(USERS)}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
