"""Driver of the tunnel device: one multipoint GRE device a host, which carries MPLS to every other host (RFC 4023)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from datapath.attributes import attr, text, u8
from datapath.devices import (
    IFLA_IFALIAS,
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
from datapath.sysctls import Sysctls, host_settings, tunnel_settings
from datapath.values import Key, Kind, Tunnel, Value

IFLA_GRE_LOCAL = 6
IFLA_GRE_REMOTE = 7
IFLA_GRE_TTL = 8
IFLA_GRE_PMTUDISC = 10
TTL = 64
"""Of the outer header. Inheriting it would let a VM's traceroute end in the underlay."""


class TunnelDriver:
    """The device and the settings of the host without which it carries nothing."""

    kind = Kind.TUNNEL
    batch_size = 4

    def __init__(self, devices: Devices, sysctls: Sysctls, labels: int) -> None:
        self._devices = devices
        self._netlink = devices.netlink
        self._sysctls = sysctls
        self._host = host_settings(labels)

    def dump(self) -> dict[Key, Value]:
        """Tunnels of ours; one that is down, has a remote address or lacks a setting is shown without local address."""
        found: dict[Key, Value] = {}
        for device in self._devices.dump():
            if is_owned(device):
                healthy = (
                    device.up
                    and not any(device.data.get(IFLA_GRE_REMOTE, b""))
                    and self._sysctls.satisfied(tunnel_settings(device.name))
                    and self._sysctls.satisfied(self._host)
                )
                found[device.name] = Tunnel(device.name, device.data.get(IFLA_GRE_LOCAL, b"") if healthy else b"")
        return found

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Make, mend and remove."""
        present = self._devices.get(_value(operation).name for operation in operations)
        return [self._one(operation, present.get(_value(operation).name)) for operation in operations]

    def _one(self, operation: Operation, device: Device | None) -> Outcome:
        value = _value(operation)
        self._devices.forget(value.name)
        if device is not None and not is_owned(device):
            return not_ours(device) if operation.verb is Verb.PUT else None
        if operation.verb is Verb.REMOVE:
            failure = self._netlink.request([delete_device(value.name)])[0] if device is not None else None
            return None if failure is None or failure.errno == errno.ENODEV else failure
        try:
            self._sysctls.ensure(self._host)
        except OSError as error:
            return _setting_failure(error)
        if device is not None and _settled(device, value):
            device = None if (failure := self._mend(value)) is not None else device
            return failure if device is None else self._settings(value)
        batch = [delete_device(value.name)] if device is not None else []
        for failure in self._netlink.request([*batch, *_make(value)]):
            if failure is not None:
                return _explain(value, failure)
        return self._settings(value)

    def _mend(self, value: Tunnel) -> Outcome:
        return next((f for f in self._netlink.request(_make(value)[1:]) if f is not None), None)

    def _settings(self, value: Tunnel) -> Outcome:
        try:
            self._sysctls.ensure(tunnel_settings(value.name))
        except OSError as error:
            return _setting_failure(error)
        return None


def _make(value: Tunnel) -> list[bytes]:
    data = attr(IFLA_GRE_LOCAL, value.local) + u8(IFLA_GRE_TTL, TTL) + u8(IFLA_GRE_PMTUDISC, 1)
    alias = text(IFLA_IFALIAS, alias_of("tunnel", value.name))
    return [
        new_device(value.name, "gre", data),
        set_device(value.name, alias, inet_settings({})),
        set_device(value.name, up=True),
    ]


def _settled(device: Device, value: Tunnel) -> bool:
    """Whether the device is right but for what can be put right in place."""
    return device.data.get(IFLA_GRE_LOCAL) == value.local and not any(device.data.get(IFLA_GRE_REMOTE, b""))


def is_owned(device: Device) -> bool:
    """Whether the device is a tunnel of ours."""
    return (device.kind == "gre" and read_alias(device, "tunnel") is not None) or half_made(device, "gre")


def _explain(value: Tunnel, failure: Failure) -> Failure:
    if failure.errno == errno.EEXIST:
        return Failure(
            failure.errno, f"another GRE device has the same local address as {value.name} and no remote one"
        )
    if failure.errno == errno.EOPNOTSUPP:
        return Failure(failure.errno, "the kernel can make no GRE device (module ip_gre)")
    return Failure(failure.errno, f"tunnel {value.name}: {failure.text}")


def _setting_failure(error: OSError) -> Failure:
    name = str(error.filename).removeprefix("/proc/sys/").replace("/", ".")
    hint = " (module mpls_router)" if name.startswith("net.mpls") and error.errno == errno.ENOENT else ""
    return Failure(error.errno or errno.EIO, f"sysctl {name}: {error.strerror}{hint}")


def _value(operation: Operation) -> Tunnel:
    assert isinstance(operation.value, Tunnel)
    return operation.value
