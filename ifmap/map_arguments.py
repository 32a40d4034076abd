"""Route targets, addresses and names as arguments of vrfwire-map's commands. Imported by every command: few imports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from ifmap.map_options import MapOptions
from runtime.errors import ExitCode, OperatorError
from runtime.output import warn

if TYPE_CHECKING:
    from ifmap.values import Identifier
    from vpn.community import RouteTarget
    from vpn.prefix import Prefix


class RouteTargetType(click.ParamType["RouteTarget"]):
    """A route target."""

    name = "rt"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RouteTarget:
        from vpn.community import CommunityError, RouteTarget

        try:
            return RouteTarget.parse(value)
        except CommunityError as error:
            self.fail(str(error), param, ctx)


class PrefixType(click.ParamType["Prefix"]):
    """An address or prefix. usable: only one that a VM can have."""

    name = "address"

    def __init__(self, *, usable: bool = False) -> None:
        self._usable = usable

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Prefix:
        from vpn.prefix import Prefix, PrefixError, not_unicast

        try:
            prefix = Prefix.parse(value)
        except PrefixError as error:
            self.fail(str(error), param, ctx)
        if self._usable and prefix.length and (why := not_unicast(prefix.packed)) is not None:
            self.fail(f"{value} is {why}", param, ctx)
        return prefix


RT = RouteTargetType()
ADDRESS = PrefixType()
NEW_ADDRESS = PrefixType(usable=True)


def group_identifier(name: str) -> Identifier:
    """A VPN's identifier. Raises OperatorError for what can't be a name."""
    return _made("VPN", name)


def attachment_identifier(name: str) -> Identifier:
    """An attachment's identifier. Raises OperatorError for what can't be a name."""
    return _made("attachment", name)


def _made(what: str, name: str) -> Identifier:
    from ifmap.l3vpn import SchemaError, connectivity_group, customer_attachment

    try:
        return connectivity_group(name) if what == "VPN" else customer_attachment(name)
    except SchemaError as error:
        raise OperatorError(f"{what} {name!r}", str(error), code=ExitCode.USAGE) from None


GATEWAY_NAMES = re.compile(r"[!-~]{1,128}")
"""Names of VPNs that gateways and hosts of vrfwire take: these are names of pub-sub nodes."""


def warn_of_name(options: MapOptions, name: str) -> None:
    """Any text is a name in a MAP; say so when gateways don't take it."""
    if not GATEWAY_NAMES.fullmatch(name):
        warn(
            f"VPN {name}: gateways of vrfwire leave it out: they take names of 1 to 128 printable ASCII characters"
            " without spaces",
            options.program,
        )
