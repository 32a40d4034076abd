"""Reads the parameters of control requests about BGP; pure."""

from __future__ import annotations

from collections.abc import Mapping

from bgp.family import FAMILY_NAMES, RTC, VPNV4, VPNV6, Family
from runtime.errors import ExitCode, OperatorError

SPOKEN = (VPNV4, VPNV6, RTC)
"""Families of the gateway, in the order in which they are shown."""


def required_text(params: Mapping[str, object], key: str) -> str:
    """A text of a request; raises OperatorError when it isn't there."""
    value = params.get(key)
    if not isinstance(value, str):
        raise OperatorError("request", f'"{key}" is missing', code=ExitCode.USAGE)
    return value


def read_family(params: Mapping[str, object]) -> Family | None:
    """The family that a request names ("vpnv4"), None when it names none; raises OperatorError."""
    name = params.get("family")
    if name is None:
        return None
    family = FAMILY_NAMES.get(name) if isinstance(name, str) else None
    if family not in SPOKEN:
        expected = f"one of {', '.join(map(str, SPOKEN))}"
        raise OperatorError(f"family {name}", "is not spoken here", expected, ExitCode.USAGE)
    return family


def read_number(params: Mapping[str, object], key: str, default: int, most: int) -> int:
    """A number from 1 to `most` in a request; raises OperatorError."""
    value = params.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OperatorError("request", f'"{key}" is no number from 1 to {most}', code=ExitCode.USAGE)
    return min(value, most)
