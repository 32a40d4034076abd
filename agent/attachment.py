"""The attachment: a VM interface as orchestration names it; and the check of what is asked for."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.names import check_attachment, check_device, check_netns, check_vpn, derived_device, made_mac
from datapath.values import VRRP_MAC, PortKind
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import Prefix, PrefixError, format_address, not_unicast, parse_address
from xmpp.entry import EntryError
from xmpp.entry import check_attachment as check_known_as

MAX_PREFIXES = 64
"""Addresses and prefixes of one attachment together: each is a filter on the port and a route in the VPN."""

_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.ASCII)
_ATTACH_KEYS = frozenset(("name", "vpn", "attachment", "addresses", "prefixes", "mac", "kind", "interface", "tap")) | {
    "netns",
    "guest_interface",
}
_FIRST_HOPS = frozenset((parse_address("169.254.1.1"), parse_address("fe80::1")))


class Phase(enum.StrEnum):
    """Where an attachment is in its life; both outlive the daemon."""

    ATTACHED = "attached"
    DETACHING = "detaching"
    """Withdrawn, or being withdrawn, at the gateways; the datapath goes when they have confirmed."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What was asked for. Two attaches are the same exactly when their values are equal."""

    name: str
    vpn: str
    kind: PortKind
    interface: str
    """Host side device: the tap, or the derived name of the veth."""
    netns: str | None
    """VETH: name in /run/netns, or absolute path, of the VM's namespace."""
    guest_interface: str
    """VETH: name of the interface in the namespace; "" for a tap."""
    addresses: tuple[bytes, ...]
    """The VM's addresses, packed; at least one; no duplicates."""
    prefixes: tuple[Prefix, ...]
    """Prefixes behind the VM; none of them the host prefix of an address."""
    mac: bytes
    """MAC of the VM, 6 bytes."""
    known_as: str = ""
    """What orchestration calls the attachment; gateways judge by it what may be announced."""

    def announced(self) -> tuple[Prefix, ...]:
        """The prefixes that the VPN should reach here: the addresses as host prefixes, then the prefixes."""
        return tuple(Prefix(packed, len(packed) * 8) for packed in self.addresses) + self.prefixes

    def gateway_of(self, prefix: Prefix) -> bytes | None:
        """The VM's address that traffic to the prefix is handed to: the address itself, else the first one of the
        family, else None."""
        if prefix.is_host and prefix.packed in self.addresses:
            return prefix.packed
        size = len(prefix.packed)
        return next((address for address in self.addresses if len(address) == size), None)


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment that was accepted: with its label and phase."""

    attachment: Attachment
    label: int
    phase: Phase = Phase.ATTACHED
    blocked: frozenset[Prefix] = frozenset()
    """Announced prefixes that the gateways forbid: nothing passes from or to them."""
    closed: bool = False
    """The host is drained: nothing passes from or to the port."""

    @property
    def allowed(self) -> tuple[Prefix, ...]:
        """The announced prefixes that traffic may pass from and to."""
        if self.closed:
            return ()
        return tuple(prefix for prefix in self.attachment.announced() if prefix not in self.blocked)

    @property
    def name(self) -> str:
        """Name of the attachment."""
        return self.attachment.name


@dataclass(frozen=True, slots=True)
class VpnRecord:
    """The numbers of a VPN on this host: the same as long as it is known."""

    name: str
    instance_id: int
    table: int
    device: str
    """Name of the VRF device."""


def parse_mac(text: str) -> bytes:
    """Six bytes of "02:00:00:00:00:01" (or with dashes); raises OperatorError unless a VM can have it."""
    if not _MAC.fullmatch(text.lower()):
        raise OperatorError(f"MAC {text[:64]!r}", "not a MAC address", "six pairs of hex digits: 02:..", ExitCode.USAGE)
    mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if mac[0] & 1:
        raise OperatorError(f"MAC {text}", "it is a multicast address", "an even first pair, 02 say", ExitCode.USAGE)
    if mac in (bytes(6), VRRP_MAC):
        raise OperatorError(
            f"MAC {text}", "no VM can have it", "zero and the first hop's own MAC are not usable", ExitCode.USAGE
        )
    return mac


def format_mac(mac: bytes) -> str:
    """Text form with colons."""
    return mac.hex(":")


def parse_attach(params: Mapping[str, object], host: str) -> Attachment:
    """The attachment that port.attach asks for; host: name of this host, for the MAC when none is given.

    Keys: name, vpn, addresses [text], prefixes [text], mac, interface (or tap) for a tap, netns and guest_interface
    for a veth; attachment: what orchestration calls it, by default the name. Raises OperatorError (USAGE) that names
    the part that is wrong.
    """
    name = check_attachment(_text(params, "name"))
    what = f"port {name}"
    unknown = sorted(set(params) - _ATTACH_KEYS)
    if unknown:
        raise OperatorError(
            what, f"unknown parameter {unknown[0]!r}", "see `vrfwire port attach --help`", ExitCode.USAGE
        )
    vpn = check_vpn(_text(params, "vpn"))
    addresses = _addresses(what, _texts(params, "addresses"))
    prefixes = _prefixes(what, _texts(params, "prefixes"), addresses)
    mac = parse_mac(mac_text) if (mac_text := _optional(params, "mac")) else made_mac(host, name)
    known_as = _optional(params, "attachment") or name
    try:
        check_known_as(known_as)
    except EntryError as error:
        raise OperatorError(
            what, str(error), "give the name that `vrfwire-map bind` was told", ExitCode.USAGE
        ) from None
    tap = _optional(params, "interface") or _optional(params, "tap")
    netns = _optional(params, "netns")
    kind = _optional(params, "kind")
    if (tap is None) == (netns is None) or (kind and kind != (PortKind.VETH if netns else PortKind.TAP)):
        raise OperatorError(what, "a tap or a namespace is needed", "give either --tap or --netns", ExitCode.USAGE)
    if netns is not None:
        guest = check_device(_optional(params, "guest_interface") or "eth0", ours=True)
        interface = derived_device("port", name)
        return Attachment(
            name, vpn, PortKind.VETH, interface, check_netns(netns), guest, addresses, prefixes, mac, known_as
        )
    interface = check_device(_text({"tap": tap}, "tap"))
    return Attachment(name, vpn, PortKind.TAP, interface, None, "", addresses, prefixes, mac, known_as)


def _addresses(what: str, texts: list[str]) -> tuple[bytes, ...]:
    addresses: dict[bytes, None] = {}
    for text in texts:
        try:
            prefix = Prefix.parse(text)
        except PrefixError as error:
            raise OperatorError(what, str(error), "give addresses such as 10.1.1.1", ExitCode.USAGE) from None
        if not prefix.is_host:
            raise OperatorError(
                what,
                f"{text!r} is a prefix, not an address",
                "prefixes behind the VM are given by --prefix",
                ExitCode.USAGE,
            )
        if (why := _unusable(prefix.packed)) is not None:
            raise OperatorError(what, f"{text} is {why}", "give an address that the VM can have", ExitCode.USAGE)
        addresses[prefix.packed] = None
    if not addresses:
        raise OperatorError(what, "no address", "give at least one --address", ExitCode.USAGE)
    if len(addresses) > MAX_PREFIXES:
        raise OperatorError(what, f"more than {MAX_PREFIXES} addresses", "use --prefix for ranges", ExitCode.USAGE)
    return tuple(addresses)


def _prefixes(what: str, texts: list[str], addresses: tuple[bytes, ...]) -> tuple[Prefix, ...]:
    prefixes: dict[Prefix, None] = {}
    for text in texts:
        try:
            prefix = Prefix.parse(text)
        except PrefixError as error:
            raise OperatorError(what, str(error), "give prefixes such as 10.9.0.0/16", ExitCode.USAGE) from None
        if prefix.is_host and prefix.packed in addresses:
            continue
        if prefix.length and (why := _unusable(prefix.packed)) is not None:
            raise OperatorError(what, f"{text} is {why}", "give a prefix of unicast addresses", ExitCode.USAGE)
        if not any(len(address) == len(prefix.packed) for address in addresses):
            raise OperatorError(
                what,
                f"{text} is behind no address of its family",
                "give the VM an --address of the same family as each --prefix",
                ExitCode.USAGE,
            )
        prefixes[prefix] = None
    if len(addresses) + len(prefixes) > MAX_PREFIXES:
        raise OperatorError(what, f"more than {MAX_PREFIXES} prefixes", "summarise them", ExitCode.USAGE)
    return tuple(prefixes)


def _unusable(packed: bytes) -> str | None:
    """Why no VM can have the address, or None."""
    return "the address of the first hop" if packed in _FIRST_HOPS else not_unicast(packed)


def _text(params: Mapping[str, object], key: str) -> str:
    value = _optional(params, key)
    if value is None:
        raise OperatorError("port attach", f"{key} is missing", "see `vrfwire port attach --help`", ExitCode.USAGE)
    return value


def _optional(params: Mapping[str, object], key: str) -> str | None:
    value = params.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise OperatorError("port attach", f"{key} is not a text", "", ExitCode.USAGE)
    return value


def _texts(params: Mapping[str, object], key: str) -> list[str]:
    value = params.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise OperatorError("port attach", f"{key} is not a list of texts", "", ExitCode.USAGE)
    return value


def address_texts(attachment: Attachment) -> list[str]:
    """The addresses in text form."""
    return [format_address(address) for address in attachment.addresses]
