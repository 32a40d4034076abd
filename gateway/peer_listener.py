"""The sockets at which BGP peers connect, with the keys of those that have a password."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable

from gateway.peer_config import Address, BgpSettings
from gateway.peer_socket import listener, set_password
from runtime.errors import OperatorError
from runtime.listen import Listen

log = logging.getLogger("vrfwire.gateway.bgp")

ACCEPTS_A_TURN = 16
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RETRY = 1.0
"""Seconds without accepting when there are no files left."""

Keys = dict[Address, bytes]


class _Listener:
    """One socket. keys: those that it has."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.keys: Keys = {}

    def set_keys(self, wanted: Keys) -> None:
        """Have these keys and no others. Raises OSError."""
        version = 6 if self.sock.family == socket.AF_INET6 else 4
        wanted = {address: key for address, key in wanted.items() if address.version == version}
        for address in self.keys.keys() - wanted.keys():
            set_password(self.sock, address, b"")
            del self.keys[address]
        for address, key in wanted.items():
            if self.keys.get(address) != key:
                set_password(self.sock, address, key)
                self.keys[address] = key


class Listeners:
    """accept: given the address of whoever has connected, and the socket, which is then its own to close."""

    def __init__(self, accept: Callable[[Address, socket.socket], None]) -> None:
        self._accept = accept
        self._listeners: dict[Listen, _Listener] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def addresses(self) -> list[Listen]:
        """Where it is listened, with the ports that were chosen for port 0."""
        return [Listen(one.address, entry.sock.getsockname()[1]) for one, entry in self._listeners.items()]

    def apply(self, settings: BgpSettings) -> None:
        """Listen as configured: at no address without peers. Raises OperatorError; what was there before then stays."""
        wanted = settings.listen if settings.peers else ()
        keys = {peer.link.address: peer.link.password for peer in settings.peers if peer.link.password}
        removed = [address for address in self._listeners if address not in wanted]
        for address in removed:
            self._close(address)
        added = [address for address in wanted if address not in self._listeners]
        try:
            for address in added:
                self._open(address, keys)
        except OSError as error:
            for each in added:
                self._close(each)
            for each in removed:
                with contextlib.suppress(OSError):
                    self._open(each, keys)
            hint = "another program listens there, or the address is not of this machine"
            if error.errno in (errno.EACCES, errno.EPERM):
                hint = "ports below 1024 need CAP_NET_BIND_SERVICE"
            raise OperatorError(f"bgp.listen {address}", error.strerror or str(error), hint) from error
        try:
            for entry in self._listeners.values():
                entry.set_keys(keys)
        except OSError as error:
            hint = "more peers with passwords need a larger net.core.optmem_max"
            raise OperatorError("TCP-MD5", error.strerror or str(error), hint) from error

    def close(self) -> None:
        """Listen no more."""
        for address in list(self._listeners):
            self._close(address)

    def _open(self, address: Listen, keys: Keys) -> None:
        entry = _Listener(listener(address))
        self._listeners[address] = entry
        entry.set_keys(keys)
        self._loop.add_reader(entry.sock, self._readable, entry)

    def _close(self, address: Listen) -> None:
        entry = self._listeners.pop(address, None)
        if entry is not None:
            self._loop.remove_reader(entry.sock)
            entry.sock.close()

    def _readable(self, entry: _Listener) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = entry.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                log.error("cannot accept BGP connections: %s; trying again soon", error.strerror)
                self._loop.remove_reader(entry.sock)
                self._loop.call_later(_RETRY, self._resume, entry)
                return
            self._accept(ipaddress.ip_address(address[0]), sock)

    def _resume(self, entry: _Listener) -> None:
        if entry in self._listeners.values():
            self._loop.add_reader(entry.sock, self._readable, entry)
