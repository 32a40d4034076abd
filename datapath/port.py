"""Driver of ports: the host's side of a VM interface (a tap or one end of a veth) as a member of a VRF.

A port that is made is closed first (nothing gets in, see filters.closed), then enslaved, then set up; the anti-spoofing
filters open it for the VM's own addresses.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

from datapath import filters, port_alias, tap
from datapath.attributes import attr, message, nest, text, u32, u64
from datapath.devices import (
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_MASTER,
    IFLA_NET_NS_FD,
    INET_FORWARDING,
    INET_PROXY_ARP,
    INET_RP_FILTER,
    Device,
    Devices,
    decode_device,
    delete_device,
    get_device,
    half_made,
    inet_settings,
    new_device,
    not_ours,
    set_device,
)
from datapath.driver import Failure, Operation, Outcome, Verb
from datapath.guest import configure, peer
from datapath.namespaces import open_namespace
from datapath.port_alias import Claim, details_of
from datapath.values import VRRP_MAC, Key, Kind, Port, PortKind, Value
from datapath.vrf import table_of

RTM_SETNEIGHTBL = 67
_NDTA_NAME = 1
_NDTA_PARMS = 6
_NDTPA_IFINDEX = 1
_NDTPA_PROXY_DELAY = 13
_VETH_INFO_PEER = 1
_NAME_MAX = 15
_NDTMSG = struct.Struct("=Bxxx")

SETTINGS = {INET_FORWARDING: 1, INET_PROXY_ARP: 1, INET_RP_FILTER: 0}
"""Proxy ARP is the second line behind the responder, for what a filter without one lets through."""


_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)


class PortDriver:
    """Ports. A device of somebody else is never taken: only a tap that no one has put to use may be adopted, and that
    one is given back as it came, not deleted."""

    kind = Kind.PORT
    batch_size = 16

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._netlink = devices.netlink
        self._by_digest: dict[str, Port] = {}

    def dump(self) -> dict[Key, Value]:
        """Ports of ours; one that is down, or whose MAC or settings differ, is shown without a VRF."""
        devices = self._devices.dump()
        names = {device.ifindex: device.name for device in devices}
        found: dict[Key, Value] = {}
        for device in devices:
            claim = port_alias.read(device)
            if claim is not None and device.kind in ("tun", "veth"):
                found[device.name] = self._value(device, claim, names.get(device.master, ""))
        return found

    def _value(self, device: Device, claim: Claim, vrf: str) -> Port:
        kind = PortKind.VETH if device.kind == "veth" else PortKind.TAP
        details = claim.details
        if details is None:
            known = self._by_digest.get(claim.digest)
            details = port_alias.Details(b"", None, "", ()) if known is None else details_of(known)
        return Port(
            device.name,
            kind,
            vrf if is_healthy(device) else "",
            claim.attachment,
            details.netns,
            details.interface,
            details.mac,
            details.addresses,
        )

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Make, change and remove."""
        return [self._remove(_port(one)) if one.verb is Verb.REMOVE else self._put(_port(one)) for one in operations]

    def _put(self, port: Port) -> Outcome:
        if not port.name or len(port.name.encode()) > _NAME_MAX or "/" in port.name or any(map(str.isspace, port.name)):
            return Failure(errno.EINVAL, f"{port.name!r} can't be the name of an interface")
        present = self._devices.get([port.vrf, port.name])
        vrf = present.get(port.vrf)
        if vrf is None:
            return Failure(errno.ENODEV, f"there is no VRF device {port.vrf}")
        device = present.get(port.name)
        claim = None if device is None else port_alias.read(device)
        namespace = -1
        try:
            if port.port_kind is PortKind.VETH:
                if port.netns is None:
                    return Failure(errno.EINVAL, "a veth port needs a namespace")
                namespace = open_namespace(port.netns)
            if device is not None:
                refusal = _refusal(port, device, claim, vrf.ifindex)
                if refusal is not None:
                    return refusal
                if _must_be_made_anew(port, device, claim):
                    self._netlink.request([delete_device(device.name)])
                    device = claim = None
            adopted = claim.adopted if claim is not None else device is not None
            if device is None:
                made = self._make(port, namespace)
                if isinstance(made, Failure):
                    return made
                device = made
            if namespace >= 0 and (claim is None or claim.details != details_of(port)):
                held = claim.details.addresses if claim is not None and claim.details is not None else ()
                unwanted = [address for address in held if address not in port.guest_addresses]
                failure = configure(namespace, port.guest_name, port.guest_mac, port.guest_addresses, unwanted)
                if failure is not None:
                    return failure
            return self._set(port, device, vrf, adopted)
        except OSError as error:
            return _explain(port, error)
        finally:
            if namespace >= 0:
                os.close(namespace)

    def _make(self, port: Port, namespace: int) -> Device | Failure:
        """Make the device, closed and down."""
        requests = [get_device(port.name)]
        if port.port_kind is PortKind.TAP:
            tap.make_tap(port.name)
        else:
            other_end = b"".join((*peer(port.guest_name, port.guest_mac), u32(IFLA_NET_NS_FD, namespace)))
            requests.insert(0, new_device(port.name, "veth", attr(_VETH_INFO_PEER, other_end)))
        outcomes, answers = self._netlink.exchange(requests)
        if outcomes[0] is not None:
            if outcomes[0].errno == errno.EEXIST and port.port_kind is PortKind.VETH:
                return Failure(errno.EEXIST, f"namespace {port.netns} has an interface {port.guest_name} already")
            return outcomes[0]
        answer = answers[-1]
        if answer is None:
            return Failure(errno.ENODEV, f"device {port.name} was deleted while it was being made")
        device = decode_device(answer)
        self._devices.remember(device)
        return device

    def _set(self, port: Port, device: Device, vrf: Device, adopted: bool) -> Outcome:
        """Everything on the host's side, in one system call."""
        index = device.ifindex
        alias = port_alias.write(port, adopted)
        attributes = [attr(IFLA_IFALIAS, alias.encode()), inet_settings(SETTINGS)]
        if device.mac != VRRP_MAC:
            attributes.append(attr(IFLA_ADDRESS, VRRP_MAC))
        if device.master != vrf.ifindex:
            attributes.append(u32(IFLA_MASTER, vrf.ifindex))
        shut = filters.closed(index, table_of(vrf))
        requests = [
            *shut,
            set_device(port.name, *attributes),
            set_device(port.name, up=True),
            _no_proxy_delay("arp_cache", index),
            _no_proxy_delay("ndisc_cache", index),
        ]
        outcomes = self._netlink.request(requests)
        if "d=" in alias:
            self._by_digest[port_alias.digest(port)] = port
        for position, failure in enumerate(outcomes):
            if failure is not None and not (position < len(shut) and failure.errno == errno.EEXIST):
                return Failure(failure.errno, f"port {port.name}: {failure.text}")
        return None

    def _remove(self, port: Port) -> Outcome:
        device = self._devices.get([port.name]).get(port.name)
        claim = None if device is None else port_alias.read(device)
        if device is None or claim is None:
            return None
        self._devices.forget(port.name)
        requests: list[bytes]
        ignored: tuple[int, ...]
        if claim.adopted:
            requests = [
                set_device(port.name, u32(IFLA_MASTER, 0)),
                *(filters.encode_delete_priority(one, device.ifindex) for one in filters.EVERY_PRIORITY),
                set_device(port.name, attr(IFLA_IFALIAS, b""), inet_settings({INET_PROXY_ARP: 0})),
            ]
            ignored = _GONE
        else:
            requests = [delete_device(port.name)]
            ignored = (errno.ENODEV,)
        failures = [one for one in self._netlink.request(requests) if one is not None and one.errno not in ignored]
        return failures[0] if failures else None


def _refusal(port: Port, device: Device, claim: Claim | None, vrf: int) -> Failure | None:
    """Why an existing device can't become this port; None if it can."""
    if claim is not None:
        if claim.attachment != port.attachment:
            return Failure(errno.EEXIST, f"device {port.name} belongs to attachment {claim.attachment}")
        return None
    if port.port_kind is PortKind.VETH:
        return None if half_made(device, "veth") else not_ours(device)
    if not tap.is_tap(device):
        return Failure(errno.EEXIST, f"device {port.name} exists and is no tap ({device.kind or 'hardware'})")
    if device.alias:
        return not_ours(device)
    if device.master not in (0, vrf):
        return Failure(errno.EBUSY, f"tap {port.name} is a member of a bridge or of another VRF; it is left alone")
    return None


def _must_be_made_anew(port: Port, device: Device, claim: Claim | None) -> bool:
    """Whether a device of ours is of no use for the wanted port: another kind, or its other end is elsewhere."""
    if port.port_kind is PortKind.TAP:
        return claim is not None and device.kind != "tun" and not claim.adopted
    if claim is None or device.kind != "veth":
        return True
    details = claim.details
    return details is None or (details.netns, details.interface) != (port.netns, port.guest_name)


def is_owned(device: Device) -> bool:
    """Whether the device is a port of ours, made or adopted."""
    return device.kind in ("tun", "veth") and port_alias.read(device) is not None


def is_healthy(device: Device) -> bool:
    """Whether a port is as it was made; its VRF aside."""
    return device.up and device.mac == VRRP_MAC and has_settings(device)


def has_settings(device: Device) -> bool:
    """Whether the IPv4 settings of a port are as they were made."""
    return all(device.inet_setting(which) == value for which, value in SETTINGS.items())


def _no_proxy_delay(table: str, index: int) -> bytes:
    """Request to answer by proxy at once instead of after up to 0.8 s."""
    parameters = nest(_NDTA_PARMS, u32(_NDTPA_IFINDEX, index), u64(_NDTPA_PROXY_DELAY, 0))
    return message(RTM_SETNEIGHTBL, 0, _NDTMSG.pack(0), text(_NDTA_NAME, table), parameters)


def _explain(port: Port, error: OSError) -> Failure:
    code = error.errno or errno.EIO
    if error.filename == tap.TUN_DEVICE:
        return Failure(code, f"{tap.TUN_DEVICE}: {error.strerror} (module tun)")
    if code == errno.EPERM and port.port_kind is PortKind.VETH:
        return Failure(code, f"namespace {port.netns}: {error.strerror} (it takes CAP_SYS_ADMIN to enter one)")
    if error.filename is not None:
        return Failure(code, f"namespace {port.netns}: {error.strerror}")
    return Failure(code, f"port {port.name}: {error.strerror or error}")


def _port(operation: Operation) -> Port:
    assert isinstance(operation.value, Port)
    return operation.value
