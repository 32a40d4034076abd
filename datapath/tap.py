"""Persistent tap devices (the kernel's tuntap driver)."""

from __future__ import annotations

import fcntl
import os
import struct

from datapath.attributes import number
from datapath.devices import Device

TUN_DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_TUN_EXCL = 0x8000
IFLA_TUN_TYPE = 3


def make_tap(name: str) -> None:
    """Make a tap that stays when nobody has it open. Raises OSError: EBUSY or EEXIST if the name is in use."""
    fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL))
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    finally:
        os.close(fd)


def is_tap(device: Device) -> bool:
    """Whether the device is a tap (and no tun, which has no Ethernet header)."""
    return device.kind == "tun" and number(device.data.get(IFLA_TUN_TYPE)) == IFF_TAP
