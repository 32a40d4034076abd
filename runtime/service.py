"""Notices to the service manager (sd_notify) and signals of a daemon's life."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping

log = logging.getLogger("vrfwire.service")


class Notifier:
    """Tells systemd how the service is. Does nothing without NOTIFY_SOCKET."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with @ for its first byte, zero.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._status = ""
        pid = environ.get("WATCHDOG_PID", "")
        timeout = environ.get("WATCHDOG_USEC", "0") if pid in ("", str(os.getpid())) else "0"
        self.watchdog_interval = int(timeout) / 2e6 if timeout.isdigit() else 0.0
        """Seconds between calls of watchdog(): half of WatchdogSec=; 0.0 when systemd doesn't watch."""

    @property
    def listening(self) -> bool:
        """Whether there is a service manager."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """The service is up: state loaded, kernel dumped, socket open."""
        self._send(f"READY=1\nSTATUS={status}" if status else "READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same again is not sent."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}", socket.MSG_DONTWAIT)

    def watchdog(self) -> None:
        """The work loop is alive."""
        self._send("WATCHDOG=1", socket.MSG_DONTWAIT)

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str, flags: int = 0) -> None:
        if self._socket is None:
            return
        try:
            # A manager that doesn't read mustn't keep the loop; what comes every few seconds may be lost.
            self._socket.sendto(text.replace("\r", " ").encode(), flags, self._address)
        except OSError as error:
            log.debug("sd_notify: %s", error)


def stop_event() -> asyncio.Event:
    """An event set by SIGTERM and SIGINT; a second signal ends the process the usual way. Call it in the loop."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        log.info("%s: stopping", number.name)
        event.set()
        for other in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(other)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return event
