"""Network devices as rtnetlink shows them: one value per device, look-ups by name, requests about devices."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from datapath.attributes import (
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    attr,
    message,
    nest,
    number,
    parse,
    string,
    text,
    u8,
    u32,
)
from datapath.driver import Failure
from datapath.rtnetlink import Rtnetlink
from datapath.values import ALIAS_PREFIX, DEVICE_PREFIX

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18

IFF_UP: Final = 0x1
IFF_LOWER_UP: Final = 0x10000

IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_MASTER: Final = 10
IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
IFLA_AF_SPEC: Final = 26
IFLA_NET_NS_FD: Final = 28
IFLA_EXT_MASK: Final = 29
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
IFLA_INET_CONF: Final = 1
IFLA_INET6_ADDR_GEN_MODE: Final = 8
ADDR_GEN_MODE_NONE: Final = 1
RTEXT_FILTER_SKIP_STATS: Final = 8

INET_FORWARDING: Final = 1
INET_PROXY_ARP: Final = 3
INET_SEND_REDIRECTS: Final = 6
INET_RP_FILTER: Final = 8
"""Numbers of the per-device IPv4 settings (IPV4_DEVCONF_*)."""

AF_INET: Final = 2
AF_INET6: Final = 10

_IFINFOMSG = struct.Struct("=BxHiII")
_ALIAS_MAX = 255
_ALIAS_SAFE = "!#$&'()*+,-./;<=>?@[]^_`{|}~ "


class Device(NamedTuple):
    """A network device. kind: of its link type ("vrf", "tun", ...), "" for hardware; master: index of the device it is
    enslaved to, 0 for none; data: attributes of its link type; inet: its IPv4 settings by number."""

    ifindex: int
    name: str
    kind: str
    flags: int
    master: int
    mac: bytes
    mtu: int
    alias: str
    data: dict[int, bytes]
    inet: tuple[int, ...]
    addr_gen_mode: int

    @property
    def up(self) -> bool:
        """Administratively up."""
        return bool(self.flags & IFF_UP)

    @property
    def carries(self) -> bool:
        """Up and with carrier: without either, the kernel drops the nexthop objects of the device."""
        return self.flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP

    def inet_setting(self, which: int) -> int:
        """One IPv4 setting (INET_*); 0 when the kernel didn't tell."""
        return self.inet[which - 1] if len(self.inet) >= which else 0


def decode_device(body: bytes) -> Device:
    """A device from the body of an RTM_NEWLINK or RTM_DELLINK. Raises WireError."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = parse(body, _IFINFOMSG.size)
    info = parse(found.get(IFLA_LINKINFO, b""))
    families = parse(found.get(IFLA_AF_SPEC, b""))
    inet = parse(families.get(AF_INET, b"")).get(IFLA_INET_CONF, b"")
    inet6 = parse(families.get(AF_INET6, b""))
    return Device(
        index,
        string(found.get(IFLA_IFNAME)),
        string(info.get(IFLA_INFO_KIND)),
        flags,
        number(found.get(IFLA_MASTER)),
        found.get(IFLA_ADDRESS, b""),
        number(found.get(IFLA_MTU)),
        string(found.get(IFLA_IFALIAS)),
        parse(info.get(IFLA_INFO_DATA, b"")),
        struct.unpack(f"={len(inet) // 4}I", inet),
        number(inet6.get(IFLA_INET6_ADDR_GEN_MODE)),
    )


def alias_of(kind: str, name: str, *fields: str) -> str:
    """An ifalias "vrfwire:KIND:NAME[:FIELD...]"; colons and what isn't printable ASCII are percent-encoded.

    Raises ValueError when it is longer than the kernel's 255 octets.
    """
    alias = ALIAS_PREFIX + ":".join((kind, quote(name, _ALIAS_SAFE), *fields))
    if len(alias) > _ALIAS_MAX:
        raise ValueError(f"ifalias would have {len(alias)} octets, the kernel allows {_ALIAS_MAX}")
    return alias


def read_alias(device: Device, kind: str) -> tuple[str, list[str]] | None:
    """Name and further fields of an alias of ours of this kind, else None."""
    prefix = f"{ALIAS_PREFIX}{kind}:"
    if not device.alias.startswith(prefix):
        return None
    name, *fields = device.alias.removeprefix(prefix).split(":")
    return unquote(name), fields


def half_made(device: Device, kind: str) -> bool:
    """Whether the device is one of ours whose making was cut short: our prefix, the right type, no alias yet."""
    return not device.alias and device.kind == kind and device.name.startswith(DEVICE_PREFIX)


def ifinfo(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg."""
    return _IFINFOMSG.pack(0, 0, index, flags, change)


def new_device(name: str, kind: str, data: bytes = b"", *attributes: bytes) -> bytes:
    """Request to make a device; fails with EEXIST if the name is in use."""
    parts = [attr(IFLA_INFO_DATA | NLA_F_NESTED, data)] if data else []
    info = nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, kind), *parts)
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfo(), text(IFLA_IFNAME, name), info, *attributes)


def set_device(name: str, *attributes: bytes, up: bool | None = None) -> bytes:
    """Request to change a device, found by name."""
    flags, change = (0, 0) if up is None else (IFF_UP if up else 0, IFF_UP)
    return message(RTM_NEWLINK, 0, ifinfo(0, flags, change), text(IFLA_IFNAME, name), *attributes)


def delete_device(name: str) -> bytes:
    """Request to delete a device, found by name."""
    return message(RTM_DELLINK, 0, ifinfo(), text(IFLA_IFNAME, name))


def get_device(name: str) -> bytes:
    """Request for one device."""
    return message(RTM_GETLINK, 0, ifinfo(), text(IFLA_IFNAME, name), u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))


def inet_settings(settings: dict[int, int]) -> bytes:
    """IFLA_AF_SPEC with per-device IPv4 settings, and no IPv6 link-local address made by the kernel.

    By netlink: a write to /proc/sys costs three system calls and the look-up of a path for each setting.
    """
    inet = nest(AF_INET, nest(IFLA_INET_CONF, *(u32(which, value) for which, value in settings.items())))
    inet6 = nest(AF_INET6, u8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE))
    return nest(IFLA_AF_SPEC, *([inet] if settings else []), inet6)


class Devices:
    """Look-ups of devices, shared by the drivers of one kernel.

    Indices are remembered: one attach needs the port's several times. One that has become wrong makes the kernel answer
    ENODEV (indices aren't reused before they wrap), after which `forget` and a second try put it right.
    """

    def __init__(self, netlink: Rtnetlink) -> None:
        self.netlink = netlink
        self._index: dict[str, int] = {}

    def dump(self) -> list[Device]:
        """Every device. Raises DumpInterrupted, OSError."""
        devices = [
            decode_device(body)
            for body in self.netlink.dump(RTM_GETLINK, ifinfo(), u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))
        ]
        self._index = {device.name: device.ifindex for device in devices}
        return devices

    def get(self, names: Iterable[str]) -> dict[str, Device]:
        """The devices of these names, as far as they exist, in one round trip. Raises OSError."""
        wanted = list(dict.fromkeys(names))
        _, answers = self.netlink.exchange([get_device(name) for name in wanted])
        found = {}
        for name, body in zip(wanted, answers, strict=True):
            if body is None:
                self.forget(name)
            else:
                found[name] = decode_device(body)
                self._index[name] = found[name].ifindex
        return found

    def indices(self, names: Iterable[str]) -> dict[str, int]:
        """Indices of the devices of these names, as far as they exist. Raises OSError."""
        wanted = set(names)
        missing = [name for name in wanted if name not in self._index]
        if missing:
            self.get(missing)
        return {name: self._index[name] for name in wanted if name in self._index}

    def remember(self, device: Device) -> None:
        """A device that was just looked at."""
        self._index[device.name] = device.ifindex

    def forget(self, name: str) -> None:
        """The index of this device has turned out to be wrong, or soon will be."""
        self._index.pop(name, None)


def not_ours(device: Device) -> Failure:
    """Refusal to touch a device of somebody else."""
    what = f"with the alias {device.alias!r}" if device.alias else "made by somebody else"
    return Failure(errno.EEXIST, f"device {device.name} exists already, {what}; it is left alone")
