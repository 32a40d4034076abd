"""What the ifalias of a port holds: the parts of a Port value that the host's side of it doesn't show.

    vrfwire:port:NAME[:adopted][:m=MAC][:n=NETNS:g=INTERFACE[:a=ADDRESSES]]      or  ...[:adopted]:d=DIGEST

So a process without memory reads every port back without a look into the guests' namespaces. The kernel allows 255
octets; of what is longer there is a digest, and a process that doesn't know the digest writes that port again.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple
from urllib.parse import quote, unquote

from datapath.devices import Device, alias_of, read_alias
from datapath.values import Port, PortKind

_SAFE = "/!#$&'()*+,-.;<=>?@[]^_`{|}~"


class Claim(NamedTuple):
    """What an alias says. details: the guest's MAC, namespace, interface and addresses; None when only their digest
    is known."""

    attachment: str
    adopted: bool
    details: Details | None
    digest: str


class Details(NamedTuple):
    """The guest's end."""

    mac: bytes
    netns: str | None
    interface: str
    addresses: tuple[bytes, ...]


def details_of(port: Port) -> Details:
    """The guest's end in a Port value."""
    return Details(port.guest_mac, port.netns, port.guest_name, port.guest_addresses)


def write(port: Port, adopted: bool) -> str:
    """The alias of a port."""
    mark = ["adopted"] if adopted else []
    fields = list(mark)
    if port.guest_mac:
        fields.append(f"m={port.guest_mac.hex()}")
    if port.netns is not None:
        fields += [f"n={quote(port.netns, _SAFE)}"]
    if port.port_kind is PortKind.VETH:
        fields.append(f"g={quote(port.guest_name, _SAFE)}")
    if port.guest_addresses:
        fields.append("a=" + ",".join(_pack(address) for address in port.guest_addresses))
    try:
        return alias_of("port", port.attachment, *fields)
    except ValueError:
        return alias_of("port", port.attachment, *mark, f"d={digest(port)}")


def read(device: Device) -> Claim | None:
    """What the alias of a device says; None when it isn't a port's."""
    found = read_alias(device, "port")
    if found is None:
        return None
    attachment, fields = found
    adopted = "adopted" in fields
    values = dict(field.split("=", 1) for field in fields if "=" in field)
    if "d" in values:
        return Claim(attachment, adopted, None, values["d"])
    try:
        details = Details(
            bytes.fromhex(values.get("m", "")),
            unquote(values["n"]) if "n" in values else None,
            unquote(values.get("g", "eth0")),
            tuple(_unpack(one) for one in values["a"].split(",")) if "a" in values else (),
        )
    except ValueError:
        # Somebody edited it. The digest of nothing: the port is written again.
        return Claim(attachment, adopted, None, "")
    return Claim(attachment, adopted, details, "")


def digest(port: Port) -> str:
    """A short digest of everything about the guest's end."""
    return hashlib.sha256(repr(details_of(port)).encode()).hexdigest()[:32]


def _pack(address: bytes) -> str:
    return base64.urlsafe_b64encode(address).decode().rstrip("=")


def _unpack(text: str) -> bytes:
    packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(packed) not in (4, 16):
        raise ValueError("no packed address")
    return packed
