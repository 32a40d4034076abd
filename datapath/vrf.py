"""Driver of VRF devices: device, table, and the defaults that end a look-up in the table."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence

from datapath.attributes import NLM_F_CREATE, NLM_F_REPLACE, message, number, parse, text, u32
from datapath.devices import (
    AF_INET,
    AF_INET6,
    IFLA_IFALIAS,
    INET_FORWARDING,
    INET_RP_FILTER,
    Device,
    Devices,
    alias_of,
    delete_device,
    half_made,
    inet_settings,
    new_device,
    not_ours,
    read_alias,
    set_device,
)
from datapath.driver import Failure, Operation, Outcome, Verb
from datapath.values import PROTOCOL, Key, Kind, Value, Vrf

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTN_UNREACHABLE = 7
RTM_F_CLONED = 0x200
RTA_PRIORITY = 6
RTA_TABLE = 15
IFLA_VRF_TABLE = 1

UNREACHABLE_METRIC = 4278198272
"""Metric of the defaults: worse than any route, the value the kernel's VRF documentation uses. Without them a look-up
that finds nothing would go on in the main table, out of the VPN."""

_SETTINGS = {INET_FORWARDING: 1, INET_RP_FILTER: 0}
"""IPv4 looks at the settings of the VRF device, not at those of its members. Reverse path filtering needs a route back
to the VM, which the VRF has only once the gateway announced it; the filters of the port do that job."""

_RTMSG = struct.Struct("=BBBBBBBBI")


class VrfDriver:
    """VRF devices with their unreachable defaults. The kernel makes the l3mdev rule itself, with the first of them."""

    kind = Kind.VRF
    batch_size = 32

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._netlink = devices.netlink

    def dump(self) -> dict[Key, Value]:
        """VRF devices of ours; one that is down or lacks a default is shown with table 0."""
        complete = self._tables_with_defaults()
        found: dict[Key, Value] = {}
        for device in self._devices.dump():
            owned = vpn_of(device)
            if owned is not None:
                table = table_of(device)
                found[device.name] = Vrf(device.name, table if is_healthy(device) and table in complete else 0, owned)
        return found

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Make, mend and remove."""
        present = self._devices.get(_value(operation).name for operation in operations)
        outcomes: list[Outcome] = [None] * len(operations)
        batch: list[bytes] = []
        owners: list[tuple[int, str]] = []
        for i, operation in enumerate(operations):
            value = _value(operation)
            device = present.get(value.name)
            if device is not None and vpn_of(device) is None:
                outcomes[i] = not_ours(device) if operation.verb is Verb.PUT else None
                continue
            self._devices.forget(value.name)
            if operation.verb is Verb.REMOVE:
                requests = _remove(device) if device is not None else []
            else:
                try:
                    requests = _put(value, device)
                except ValueError as error:
                    outcomes[i] = Failure(errno.EINVAL, f"VRF {value.name}: {error}")
                    continue
            for what, raw in requests:
                batch.append(raw)
                owners.append((i, what))
        for (i, what), failure in zip(owners, self._netlink.request(batch), strict=True):
            if failure is None or outcomes[i] is not None:
                continue
            if what.startswith("delete") and failure.errno in (errno.ENODEV, errno.ESRCH):
                continue
            outcomes[i] = Failure(failure.errno, f"VRF {_value(operations[i]).name}: {what}: {failure.text}")
        return outcomes

    def _tables_with_defaults(self) -> set[int]:
        tables = []
        for family in (AF_INET, AF_INET6):
            header = _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, RTN_UNREACHABLE, 0)
            tables.append(set(_default_tables(self._netlink.dump(RTM_GETROUTE, header))))
        return tables[0] & tables[1]


def _default_tables(bodies: Iterator[bytes]) -> Iterator[int]:
    """Tables that hold our default, among routes. The kernel filters, but says itself that it may not."""
    for body in bodies:
        _, length, _, _, _, protocol, _, kind, flags = _RTMSG.unpack_from(body)
        if length or protocol != PROTOCOL or kind != RTN_UNREACHABLE or flags & RTM_F_CLONED:
            continue
        found = parse(body, _RTMSG.size)
        if number(found.get(RTA_PRIORITY)) == UNREACHABLE_METRIC:
            yield number(found.get(RTA_TABLE))


def unreachable_default(family: int, table: int) -> bytes:
    """Request for the default of one family."""
    header = _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, RTN_UNREACHABLE, 0)
    attributes = u32(RTA_TABLE, table), u32(RTA_PRIORITY, UNREACHABLE_METRIC)
    return message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, header, *attributes)


def delete_default(family: int, table: int) -> bytes:
    """Request to delete it."""
    header = _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, RTN_UNREACHABLE, 0)
    return message(RTM_DELROUTE, 0, header, u32(RTA_TABLE, table), u32(RTA_PRIORITY, UNREACHABLE_METRIC))


def _put(value: Vrf, device: Device | None) -> list[tuple[str, bytes]]:
    requests: list[tuple[str, bytes]] = []
    if device is not None and table_of(device) != value.table:
        # The table of a VRF device is fixed when it is made.
        requests += _remove(device)
        device = None
    if device is None:
        requests.append(("make the device", new_device(value.name, "vrf", u32(IFLA_VRF_TABLE, value.table))))
    alias = text(IFLA_IFALIAS, alias_of("vrf", value.vpn))
    return [
        *requests,
        ("name its VPN", set_device(value.name, alias, inet_settings(_SETTINGS))),
        ("set it up", set_device(value.name, up=True)),
        ("IPv4 default", unreachable_default(AF_INET, value.table)),
        ("IPv6 default", unreachable_default(AF_INET6, value.table)),
    ]


def _remove(device: Device) -> list[tuple[str, bytes]]:
    """The defaults go by no device, so they don't go with it."""
    table = table_of(device)
    return [
        ("delete the IPv4 default", delete_default(AF_INET, table)),
        ("delete the IPv6 default", delete_default(AF_INET6, table)),
        ("delete", delete_device(device.name)),
    ]


def table_of(device: Device) -> int:
    """Routing table of a VRF device."""
    return number(device.data.get(IFLA_VRF_TABLE))


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
    """Whether a VRF device of ours is as it was made; its table aside."""
    return device.up and all(device.inet_setting(which) == value for which, value in _SETTINGS.items())


def _value(operation: Operation) -> Vrf:
    assert isinstance(operation.value, Vrf)
    return operation.value
