"""Which route a kernel would take, out of its answers; with as few questions as that takes."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace
from typing import cast

import pytest

from datapath.attributes import attr, u32
from datapath.driver import Outcome
from datapath.kernel import Kernel
from datapath.kernel_observer import KernelObserver
from datapath.values import NextHop
from vpn.prefix import Prefix, parse_address

GROUP, TABLE = 7, 10_000
_NHA_ID, _NHA_GROUP, _NHA_OIF, _NHA_GATEWAY = 1, 2, 5, 6
_RTA_DST, _RTA_TABLE, _RTA_NH_ID = 1, 15, 30


def next_hop(identity: int, *attributes: bytes) -> bytes:
    return struct.pack("=BBBBI", 2, 0, 108, 0, 0) + u32(_NHA_ID, identity) + b"".join(attributes)


class Netlink:
    """Answers in order."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def exchange(self, requests: list[bytes]) -> tuple[list[Outcome], list[bytes | None]]:
        assert len(requests) == 1
        return [None], [self.answers.pop(0)]


class Devices:
    def __init__(self, netlink: Netlink) -> None:
        self.netlink = netlink

    def get(self, names: list[str]) -> dict[str, object]:
        return {name: SimpleNamespace(ifindex=5) for name in names}

    def dump(self) -> list[object]:
        raise AssertionError("all devices of a host, for the name of one")


def test_members_of_a_group_have_names_without_a_dump_of_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {3: "vw-gre"}

    def name(index: int) -> str:
        if index not in names:
            raise OSError(19, "No such device")
        return names[index]

    monkeypatch.setattr(socket, "if_indextoname", name)
    destination, gateway = parse_address("10.1.1.2"), parse_address("192.0.2.12")
    netlink = Netlink(
        struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 0, 108, 0, 1, 0)
        + attr(_RTA_DST, destination)
        + u32(_RTA_TABLE, TABLE)
        + u32(_RTA_NH_ID, GROUP),
        next_hop(GROUP, attr(_NHA_GROUP, b"".join(struct.pack("=IBBH", one, 0, 0, 0) for one in (1, 2)))),
        next_hop(1, u32(_NHA_OIF, 3), attr(_NHA_GATEWAY, gateway)),
        next_hop(2, u32(_NHA_OIF, 4), attr(_NHA_GATEWAY, gateway)),
    )
    kernel = cast(Kernel, SimpleNamespace(anti_spoofing=None, devices=Devices(netlink)))
    found = KernelObserver(kernel).route(destination, "vw-blue")
    assert found is not None
    assert (found.prefix, found.table, found.protocol) == (Prefix.parse("10.1.1.2/32"), TABLE, 108)
    assert found.next_hops == (NextHop("if4", gateway), NextHop("vw-gre", gateway))
    assert netlink.answers == []
