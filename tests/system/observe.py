"""What a host's kernel holds, as text to compare; and what it told about changes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from lab.errors import LabError
from lab.namespace import Namespace

OURS = 108
"""Protocol number of what is vrfwire's."""

_GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19, 27, 32)
"""RTNLGRP_LINK, NEIGH, TC, IPV4_IFADDR, _ROUTE, _RULE, IPV6_IFADDR, _ROUTE, _RULE, MPLS_ROUTE, NEXTHOP."""
_SOL_NETLINK, _ADD_MEMBERSHIP, _SO_RCVBUFFORCE = 270, 1, 33
_HEADER = struct.Struct("=IHHII")
_RTM_NEWNEIGH, _RTM_DELNEIGH = 28, 29
_NDA_PROTOCOL = 12
_LOOK = 0.05
"""Seconds between two looks at whether to end."""
_NAMES = {
    16: "RTM_NEWLINK",
    17: "RTM_DELLINK",
    20: "RTM_NEWADDR",
    21: "RTM_DELADDR",
    24: "RTM_NEWROUTE",
    25: "RTM_DELROUTE",
    _RTM_NEWNEIGH: "RTM_NEWNEIGH",
    _RTM_DELNEIGH: "RTM_DELNEIGH",
    32: "RTM_NEWRULE",
    33: "RTM_DELRULE",
    36: "RTM_NEWQDISC",
    37: "RTM_DELQDISC",
    44: "RTM_NEWTFILTER",
    45: "RTM_DELTFILTER",
    104: "RTM_NEWNEXTHOP",
    105: "RTM_DELNEXTHOP",
}

_NUMBERS = re.compile(
    r"^\d+: |(?<=@if)\d+|\b(nhid|link-netnsid|id) \d+ ?|\bgroup \d[\d/]*"
    r"|(?<=link/ether )[0-9a-f:]{17}(?=.* vrf table )"
    r'|"(index|ref|bind|id)": \d+,? ?'
)
_SPACE = re.compile(r"\s+")


def batch(namespace: Namespace, argv: list[str], commands: Iterable[str]) -> list[str]:
    """Commands of ip(8) or tc(8) in one process; the lines they print. Raises LabError on the first failure."""
    with namespace.entered():
        done = subprocess.run(
            [*argv, "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def kernel_state(namespace: Namespace) -> set[str]:
    """Devices, addresses, routes of every table and family, next hops, permanent neighbours, rules, qdiscs and filters,
    a line each."""
    found: list[str] = []
    found += batch(namespace, ["ip", "-o", "-d"], ["link show"])
    found += batch(namespace, ["ip", "-4", "-d", "-o"], ["address show", "rule show", "route show table all"])
    found += batch(namespace, ["ip", "-6", "-d", "-o"], ["address show", "rule show", "route show table all"])
    found += batch(namespace, ["ip", "-d", "-o"], ["nexthop show", "neigh show nud permanent"])
    found += batch(namespace, ["ip", "-d", "-o", "-f", "mpls"], ["route show"])
    found += _filters(namespace)
    return {text for line in found if (text := _SPACE.sub(" ", line).strip())}


def without_numbers(state: set[str]) -> set[str]:
    """A state without what the kernel gives out (indices, ids, MACs of VRF devices): equal for what was made anew."""
    return {_NUMBERS.sub("", line) for line in state}


def _filters(namespace: Namespace) -> list[str]:
    """Qdiscs, and filters on ingress, each in one line with its device."""
    qdiscs = batch(namespace, ["tc"], ["qdisc show"])
    devices = [match[1] for line in qdiscs if (match := re.match(r"qdisc clsact \S+ dev (\S+)", line))]
    text = "\n".join(batch(namespace, ["tc", "-j"], [f"filter show dev {name} ingress" for name in devices]))
    found = list(qdiscs)
    for name in devices:
        filters, end = json.JSONDecoder().raw_decode(text)
        text = text[end:].lstrip()
        found += [f"filter dev {name} {json.dumps(one)}" for one in filters]
    return found


class Notifications:
    """What rtnetlink tells in a namespace while the block lasts; of neighbours only what is ours."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.settimeout(_LOOK)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._told: list[tuple[float, str]] = []
        self._stop = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:  # ENOBUFS: some are lost
                self._error = error
                return
            now = time.monotonic()
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
                body = data[offset + _HEADER.size : offset + length]
                if kind not in (_RTM_NEWNEIGH, _RTM_DELNEIGH) or _protocol(body) == OURS:
                    self._told.append((now, _NAMES.get(kind, str(kind))))
                offset += length + 3 & ~3

    def told(self) -> list[str]:
        """Names of the messages so far. Raises OSError when some were lost."""
        if self._error is not None:
            raise self._error
        return [name for _, name in self._told]

    def last(self) -> float:
        """Time of the last one (time.monotonic); 0 when there was none."""
        return self._told[-1][0] if self._told else 0.0

    def close(self) -> None:
        """End."""
        self._stop = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _protocol(body: bytes) -> int:
    """NDA_PROTOCOL of a neighbour."""
    offset = 12
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        if kind == _NDA_PROTOCOL:
            return body[offset + 4]
        offset += length + 3 & ~3
    return 0


def settings(namespace: Namespace) -> dict[str, str]:
    """Every readable setting below /proc/sys/net."""
    found = {}
    root = Path("/proc/sys/net")
    with namespace.entered():
        for path in root.rglob("*"):
            if path.is_file():
                with contextlib.suppress(OSError):
                    found[str(path.relative_to(root))] = path.read_text(encoding="ascii").strip()
    return found
