"""The guest's end of a veth: made in its namespace with addresses and default routes, as a VM's own boot would do."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final

from datapath.attributes import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attr, message, text, u32
from datapath.devices import (
    AF_INET,
    AF_INET6,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    RTM_NEWLINK,
    decode_device,
    get_device,
    ifinfo,
    set_device,
)
from datapath.driver import Failure
from datapath.namespaces import inside
from datapath.rtnetlink import Rtnetlink

FIRST_HOP4: Final = bytes((169, 254, 1, 1))
FIRST_HOP6: Final = bytes.fromhex("fe80" + "00" * 13 + "01")
"""The first hop offered to a guest; any other works as well, since every question is answered."""

RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_NEWROUTE: Final = 24
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_F_NODAD: Final = 0x02
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTNH_F_ONLINK: Final = 4
_RT_TABLE_MAIN: Final = 254
_RTPROT_STATIC: Final = 4
_RTN_UNICAST: Final = 1
_LOOPBACK: Final = 1

_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")


def peer(name: str, mac: bytes) -> tuple[bytes, ...]:
    """Attributes and header of the guest's end in the request that makes a veth."""
    return ifinfo(), text(IFLA_IFNAME, name), *([attr(IFLA_ADDRESS, mac)] if mac else [])


def configure(
    namespace: int, name: str, mac: bytes, addresses: Sequence[bytes], unwanted: Sequence[bytes] = ()
) -> Failure | None:
    """Set the interface `name` in the namespace (file descriptor) up, with these addresses and default routes.

    unwanted: addresses to take away. What is right already stays as it is. Raises OSError.
    """
    with inside(namespace):
        netlink = Rtnetlink()
    try:
        (_, answers) = netlink.exchange([get_device(name)])
        if answers[0] is None:
            return Failure(errno.ENODEV, f"there is no interface {name} in the namespace")
        index = decode_device(answers[0]).ifindex
        requests = [
            message(RTM_NEWLINK, 0, ifinfo(_LOOPBACK, IFF_UP, IFF_UP)),
            set_device(name, *([attr(IFLA_ADDRESS, mac)] if mac else []), up=True),
            *(_address(RTM_DELADDR, 0, index, address) for address in unwanted),
            *(_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, address) for address in addresses),
        ]
        if any(len(address) == 4 for address in addresses):
            requests.append(_default_route(AF_INET, index, FIRST_HOP4))
        if any(len(address) == 16 for address in addresses):
            requests.append(_default_route(AF_INET6, index, FIRST_HOP6))
        for failure in netlink.request(requests):
            # A default route that the guest has by another interface is the guest's choice.
            if failure is not None and failure.errno not in (errno.EEXIST, errno.EADDRNOTAVAIL):
                return Failure(failure.errno, f"interface {name} in the namespace: {failure.text}")
        return None
    finally:
        netlink.close()


def _address(kind: int, flags: int, index: int, packed: bytes) -> bytes:
    family, length = (AF_INET, 32) if len(packed) == 4 else (AF_INET6, 128)
    header = _IFADDRMSG.pack(family, length, _IFA_F_NODAD, 0, index)
    return message(kind, flags, header, attr(_IFA_LOCAL, packed), attr(_IFA_ADDRESS, packed))


def _default_route(family: int, index: int, gateway: bytes) -> bytes:
    header = _RTMSG.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, _RTNH_F_ONLINK)
    return message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, header, attr(_RTA_GATEWAY, gateway), u32(_RTA_OIF, index))
