"""Names: what VPNs, attachments and devices may be called, and the device names derived from them.

A derived device name is "vw-" and twelve characters: the start of the name it stands for, so that a person can
recognise it in `ip link`, and a digest of the whole name. It is the same after every restart and on every host.
"""

from __future__ import annotations

import base64
import hashlib
import re

from datapath.values import DEVICE_PREFIX
from runtime.errors import ExitCode, OperatorError

TUNNEL_DEVICE = f"{DEVICE_PREFIX}gre"
"""The multipoint GRE device; shorter than every derived name, so never the same."""

MAX_VPN = 128
"""Octets of a VPN identifier (draft-ietf-l3vpn-end-system-06, section 6.1)."""
MAX_DEVICE = 15
"""Characters of a device name (IFNAMSIZ - 1)."""
_DERIVED = 12
_READABLE = 5

_VPN = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_ATTACHMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9._@-]{1,15}", re.ASCII)
_NETNS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
_UNREADABLE = re.compile(r"[^a-z0-9]+", re.ASCII)


def _refuse(what: str, why: str, hint: str) -> OperatorError:
    return OperatorError(what, why, hint, ExitCode.USAGE)


def check_vpn(name: str) -> str:
    """Return name if it can be a VPN identifier, else raise OperatorError."""
    if not _VPN.fullmatch(name):
        raise _refuse(
            f"VPN {name[:MAX_VPN]!r}", "not a VPN name", f"1 to {MAX_VPN} printable ASCII characters without spaces"
        )
    return name


def check_attachment(name: str) -> str:
    """Return name if an attachment can be called so, else raise OperatorError."""
    if not _ATTACHMENT.fullmatch(name):
        raise _refuse(
            f"port {name[:64]!r}",
            "not a port name",
            "1 to 64 letters, digits and . _ @ -, the first a letter or digit",
        )
    return name


def check_device(name: str, *, ours: bool = False) -> str:
    """Return name if a device can be called so, else raise OperatorError; ours: whether "vw-" is allowed."""
    if not _DEVICE.fullmatch(name) or name in (".", "..", "all", "default"):
        raise _refuse(
            f"interface {name[:64]!r}", "not an interface name", f"1 to {MAX_DEVICE} letters, digits and . _ @ -"
        )
    if name.startswith(DEVICE_PREFIX) and not ours:
        raise _refuse(
            f"interface {name!r}", f"names with {DEVICE_PREFIX!r} are for vrfwire's own devices", "choose another name"
        )
    return name


def check_netns(name: str) -> str:
    """Return name if it names a network namespace (in /run/netns, or by absolute path), else raise OperatorError."""
    if name.startswith("/"):
        if "\0" in name or len(name) > 255:
            raise _refuse(f"namespace {name[:64]!r}", "not a path", "at most 255 characters")
    elif not _NETNS.fullmatch(name):
        raise _refuse(
            f"namespace {name[:64]!r}",
            "not a namespace name",
            "a name as in `ip netns list`, or an absolute path such as /proc/PID/ns/net",
        )
    return name


def derived_device(kind: str, name: str, attempt: int = 0) -> str:
    """The device name for the thing of this kind ("vrf", "port") and name: "vw-" and 12 characters.

    attempt: 0, or a higher number when the name before it is taken by something else.
    """
    digest = hashlib.sha256(f"{kind}\0{name}\0{attempt}".encode()).digest()
    readable = _UNREADABLE.sub("", name.lower())[:_READABLE]
    unique = base64.b32encode(digest).decode().lower()
    stem = f"{readable}-" if readable else ""
    return DEVICE_PREFIX + stem + unique[: _DERIVED - len(stem)]


def made_mac(host: str, attachment: str) -> bytes:
    """The MAC (6 bytes, locally administered, unicast) for a VM whose MAC was not given: same for the same names."""
    digest = hashlib.sha256(f"mac\0{host}\0{attachment}".encode()).digest()
    return bytes(((digest[0] & 0xFC) | 0x02,)) + digest[1:6]
