"""Driver of VRF devices: device, table, and what else a VPN needs on the host.

unreachable defaults   a look-up that finds nothing ends here, instead of going on in the main table
l3mdev rule            sends look-ups of members to their table; the kernel makes it with the first VRF, once
rule by mark (IPv6)    the kernel looks up the way back of a "packet too big" without the VRF, since it takes the
                       tunnel for the device the packet came by; ports mark what they let in with the table's number,
                       and fwmark_reflect gives the error the same mark
ICMP_SOURCE6           ICMPv6 errors need a source address; IPv4 has 192.0.0.8 for that by itself (RFC 7600)
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from datapath.attributes import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attr, message, number, parse, text, u8, u32
from datapath.devices import (
    AF_INET,
    AF_INET6,
    IFLA_IFALIAS,
    INET_FORWARDING,
    INET_RP_FILTER,
    Device,
    Devices,
    alias_of,
    decode_device,
    delete_device,
    get_device,
    half_made,
    inet_settings,
    new_device,
    not_ours,
    read_alias,
    set_device,
)
from datapath.driver import Failure, Operation, Outcome, Verb
from datapath.values import ICMP_SOURCE6, PROTOCOL, Key, Kind, Value, Vrf

RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33
RTM_GETRULE: Final = 34

UNREACHABLE_METRIC: Final = 4278198272
"""Metric of the defaults: worse than any route; the value in the kernel's VRF documentation."""
L3MDEV_PREFERENCE: Final = 1000
MARK_PREFERENCE: Final = 1001

_RTN_UNREACHABLE = 7
_RTM_F_CLONED = 0x200
_RTA_PRIORITY, _RTA_TABLE = 6, 15
_IFLA_VRF_TABLE = 1
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_L3MDEV, _FRA_PROTOCOL = 6, 10, 15, 19, 21
_FR_ACT_TO_TBL = 1
_RTPROT_KERNEL = 2
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02

_SETTINGS = {INET_FORWARDING: 1, INET_RP_FILTER: 0}
"""IPv4 looks at the settings of the VRF device, not at those of its members. Reverse path filtering needs a route back
to the VM, which the VRF has only once the gateway announced it; the filters of the port do that job."""

_RTMSG = struct.Struct("=BBBBBBBBI")
_IFADDRMSG = struct.Struct("=BBBBI")

# What may fail because it is as wanted already.
_THERE = (errno.EEXIST,)
_GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT)


class _Request(NamedTuple):
    what: str
    raw: bytes
    harmless: tuple[int, ...] = ()


class VrfDriver:
    """VRF devices with their defaults, rules and address."""

    kind = Kind.VRF
    batch_size = 32

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._netlink = devices.netlink

    def dump(self) -> dict[Key, Value]:
        """VRF devices of ours; one that is down or lacks something is shown with table 0."""
        complete = self._tables_with_defaults() & self._tables_with_rules()
        addressed = self._devices_with_address()
        found: dict[Key, Value] = {}
        for device in self._devices.dump():
            vpn = vpn_of(device)
            if vpn is not None:
                table = table_of(device)
                right = is_healthy(device) and table in complete and device.ifindex in addressed
                found[device.name] = Vrf(device.name, table if right else 0, vpn)
        return found

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Make, mend and remove."""
        present = self._devices.get(_value(operation).name for operation in operations)
        return [self._one(operation, present.get(_value(operation).name)) for operation in operations]

    def _one(self, operation: Operation, device: Device | None) -> Outcome:
        value = _value(operation)
        if device is not None and not is_owned(device):
            return not_ours(device) if operation.verb is Verb.PUT else None
        if operation.verb is Verb.REMOVE:
            return None if device is None else self._carry_out(value, _remove(device))[0]
        try:
            alias = alias_of("vrf", value.vpn)
        except ValueError as error:
            return Failure(errno.EINVAL, f"VRF {value.name}: {error}")
        failure, answer = self._carry_out(value, _make(value, device, alias))
        if failure is not None:
            return failure
        if answer is None:
            return Failure(errno.ENODEV, f"VRF {value.name} was deleted while it was being made")
        device = decode_device(answer)
        self._devices.remember(device)
        return self._carry_out(value, _furnish(value, device.ifindex))[0]

    def _carry_out(self, value: Vrf, requests: list[_Request]) -> tuple[Outcome, bytes | None]:
        """The first failure that matters, and the answer to the last request."""
        self._devices.forget(value.name)
        outcomes, answers = self._netlink.exchange([request.raw for request in requests])
        for request, failure in zip(requests, outcomes, strict=True):
            if failure is not None and failure.errno not in request.harmless:
                return Failure(failure.errno, f"VRF {value.name}: {request.what}: {failure.text}"), None
        return None, answers[-1]

    def _tables_with_defaults(self) -> set[int]:
        tables = []
        for family in (AF_INET, AF_INET6):
            header = _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, _RTN_UNREACHABLE, 0)
            tables.append(set(_default_tables(self._netlink.dump(RTM_GETROUTE, header))))
        return tables[0] & tables[1]

    def _tables_with_rules(self) -> set[int]:
        """Tables that have a rule by mark; none if an l3mdev rule is missing."""
        marked: set[int] = set()
        for family in (AF_INET, AF_INET6):
            l3mdev = False
            for body in self._netlink.dump(RTM_GETRULE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                found = parse(body, _RTMSG.size)
                l3mdev = l3mdev or number(found.get(_FRA_L3MDEV)) == 1
                if family == AF_INET6 and number(found.get(_FRA_PROTOCOL)) == PROTOCOL:
                    table = number(found.get(_FRA_TABLE))
                    if number(found.get(_FRA_FWMARK)) == table:
                        marked.add(table)
            if not l3mdev:
                return set()
        return marked

    def _devices_with_address(self) -> set[int]:
        found = set()
        for body in self._netlink.dump(RTM_GETADDR, _IFADDRMSG.pack(AF_INET6, 0, 0, 0, 0)):
            if parse(body, _IFADDRMSG.size).get(_IFA_ADDRESS) == ICMP_SOURCE6:
                found.add(_IFADDRMSG.unpack_from(body)[4])
        return found


def table_of(device: Device) -> int:
    """Routing table of a VRF device."""
    return number(device.data.get(_IFLA_VRF_TABLE))


def is_owned(device: Device) -> bool:
    """Whether the device is a VRF of ours."""
    return vpn_of(device) is not None


def vpn_of(device: Device) -> str | None:
    """The VPN of a VRF device of ours ("" if it was being made); None for any other device."""
    alias = read_alias(device, "vrf")
    if device.kind == "vrf" and alias is not None:
        return alias[0]
    return "" if half_made(device, "vrf") else None


def is_healthy(device: Device) -> bool:
    """Whether a VRF device of ours is as it was made, as far as the device itself shows."""
    return device.up and has_settings(device)


def has_settings(device: Device) -> bool:
    """Whether the IPv4 settings of a VRF device are as they were made."""
    return all(device.inet_setting(which) == value for which, value in _SETTINGS.items())


def _default_tables(bodies: Iterator[bytes]) -> Iterator[int]:
    """Tables that hold our default, among routes. The kernel filters, but says itself that it may not."""
    for body in bodies:
        _, length, _, _, _, protocol, _, kind, flags = _RTMSG.unpack_from(body)
        if length or protocol != PROTOCOL or kind != _RTN_UNREACHABLE or flags & _RTM_F_CLONED:
            continue
        found = parse(body, _RTMSG.size)
        if number(found.get(_RTA_PRIORITY)) == UNREACHABLE_METRIC:
            yield number(found.get(_RTA_TABLE))


def _make(value: Vrf, device: Device | None, alias: str) -> list[_Request]:
    requests = []
    if device is not None and table_of(device) != value.table:
        # The table of a VRF device is fixed when it is made.
        requests += _remove(device)
        device = None
    if device is None:
        requests.append(_Request("make it", new_device(value.name, "vrf", u32(_IFLA_VRF_TABLE, value.table))))
    return [
        *requests,
        _Request("name its VPN", set_device(value.name, text(IFLA_IFALIAS, alias), inet_settings(_SETTINGS))),
        _Request("set it up", set_device(value.name, up=True)),
        _Request("look at it", get_device(value.name)),
    ]


def _furnish(value: Vrf, ifindex: int) -> list[_Request]:
    address = _IFADDRMSG.pack(AF_INET6, 128, _IFA_F_NODAD, 0, ifindex)
    return [
        *(_Request(f"{_NAMES[family]} default", _default(RTM_NEWROUTE, family, value.table)) for family in _NAMES),
        *(_Request(f"{_NAMES[family]} rule", _l3mdev_rule(family), _THERE) for family in _NAMES),
        _Request("rule by mark", _mark_rule(RTM_NEWRULE, value.table), _THERE),
        _Request(
            "address of ICMPv6 errors",
            # Not replaced: that makes the kernel drop the address's own local route.
            message(
                RTM_NEWADDR,
                NLM_F_CREATE | NLM_F_EXCL,
                address,
                attr(_IFA_LOCAL, ICMP_SOURCE6),
                attr(_IFA_ADDRESS, ICMP_SOURCE6),
            ),
            _THERE,
        ),
    ]


def _remove(device: Device) -> list[_Request]:
    """Defaults and rules go by no device, so they don't go with it. The l3mdev rules are for other VRFs too."""
    table = table_of(device)
    return [
        *(
            _Request(f"delete the {_NAMES[family]} default", _default(RTM_DELROUTE, family, table), _GONE)
            for family in _NAMES
        ),
        _Request("delete the rule by mark", _mark_rule(RTM_DELRULE, table), _GONE),
        _Request("delete it", delete_device(device.name), _GONE),
    ]


_NAMES = {AF_INET: "IPv4", AF_INET6: "IPv6"}


def _default(kind: int, family: int, table: int) -> bytes:
    flags = NLM_F_CREATE | NLM_F_REPLACE if kind == RTM_NEWROUTE else 0
    header = _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, _RTN_UNREACHABLE, 0)
    return message(kind, flags, header, u32(_RTA_TABLE, table), u32(_RTA_PRIORITY, UNREACHABLE_METRIC))


def _l3mdev_rule(family: int) -> bytes:
    header = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0)
    attributes = u32(_FRA_PRIORITY, L3MDEV_PREFERENCE), u8(_FRA_L3MDEV, 1)
    # With the protocol number of the kernel's own, or the kernel would take it for another rule and have it twice.
    return message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, header, *attributes, u8(_FRA_PROTOCOL, _RTPROT_KERNEL))


def _mark_rule(kind: int, table: int) -> bytes:
    flags = NLM_F_CREATE | NLM_F_EXCL if kind == RTM_NEWRULE else 0
    header = _RTMSG.pack(AF_INET6, 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0)
    attributes = u32(_FRA_PRIORITY, MARK_PREFERENCE), u32(_FRA_FWMARK, table), u32(_FRA_TABLE, table)
    return message(kind, flags, header, *attributes, u8(_FRA_PROTOCOL, PROTOCOL))


def _value(operation: Operation) -> Vrf:
    assert isinstance(operation.value, Vrf)
    return operation.value
