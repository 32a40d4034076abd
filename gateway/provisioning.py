"""What a MAP server provisions: VPNs with their route targets, attachments with their VPNs and addresses; no I/O.

This is the gateway's own copy, apart from any session with a server: it is kept when the server is gone and in a file
over restarts, and changed by what the server says only where that differs. Policy is made of it and of the VPNs of
gateway.toml, which win where both have a VPN of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from gateway.grants import NO_GRANTS, Forfeited, Grants
from gateway.policy import Policy, Source, Vpn
from vpn.community import RouteTarget
from vpn.prefix import Prefix
from xmpp.pubsub import NODE_MAX

VPN_NAME = re.compile(rf"[!-~]{{1,{NODE_MAX}}}", re.ASCII)
"""Names that a VPN can have here: pub-sub nodes (draft-ietf-l3vpn-end-system-06, section 6)."""

Trouble = tuple[str, str]
"""What is wrong: the thing, and why."""


class Targets(NamedTuple):
    """Route targets of a VPN as a VRF has them: those of connected groups included."""

    imports: frozenset[RouteTarget]
    exports: frozenset[RouteTarget]


class _Group(Protocol):
    @property
    def exports(self) -> frozenset[RouteTarget]: ...
    @property
    def effective_imports(self) -> frozenset[RouteTarget]: ...


class View(Protocol):
    """What a MAP holds, as ifmap.vpns.Vpns answers."""

    def groups(self) -> set[str]: ...
    def group(self, name: str) -> _Group: ...
    def attachments(self) -> set[str]: ...
    def groups_of(self, attachment: str) -> frozenset[str]: ...
    def addresses(self, attachment: str) -> frozenset[Prefix]: ...


class Difference(NamedTuple):
    """What became different: names of VPNs, names of attachments."""

    vpns: frozenset[str] = frozenset()
    attachments: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.vpns or self.attachments)


class Provisioning:
    """The copy. known: whether any server has ever told us; until then nothing is entitled to anything."""

    def __init__(self) -> None:
        self.known = False
        self.vpns: dict[str, Targets] = {}
        self.attachments: dict[str, Grants] = {}
        self.revision = 0
        """Grows with every change: for who keeps a copy."""
        self.bindings = 0
        """Pairs of an attachment and a VPN."""
        self.forfeited = Forfeited()
        self._unusable: dict[str, str] = {}

    # -- changing

    def restore(
        self, vpns: Mapping[str, Targets], attachments: Mapping[str, Grants], forfeited: Mapping[str, Grants]
    ) -> None:
        """Begin with a kept copy."""
        for name, targets in vpns.items():
            self._set_vpn(name, targets)
        for name, grants in attachments.items():
            self._set_attachment(name, grants)
        self.forfeited.restore(forfeited)
        self.known = True

    def take(self, view: View, groups: Iterable[str], attachments: Iterable[str]) -> Difference:
        """Look at these names in what the server says; returns where it differed."""
        found = frozenset(name for name in groups if self._take_group(view, name))
        changed = frozenset(
            name
            for name in attachments
            if self._set_attachment(name, Grants(view.groups_of(name), view.addresses(name)))
        )
        return Difference(found, changed)

    def take_all(self, view: View) -> Difference:
        """The server has told everything: what it doesn't have is no more."""
        if not self.known:
            self.known = True
            self.revision += 1
        groups = {*self.vpns, *self._unusable, *view.groups()}
        return self.take(view, groups, {*self.attachments, *view.attachments()})

    def _take_group(self, view: View, name: str) -> bool:
        self._unusable.pop(name, None)
        group = view.group(name)
        targets = Targets(group.effective_imports, group.exports)
        if any(targets):
            if VPN_NAME.fullmatch(name):
                return self._set_vpn(name, targets)
            self._unusable[name] = f"a name of a VPN is 1 to {NODE_MAX} printable ASCII characters without spaces"
        elif name in view.groups():
            self._unusable[name] = "it has no route target: it is no VPN here before it has one"
        return self._set_vpn(name, None)

    def _set_vpn(self, name: str, targets: Targets | None) -> bool:
        if self.vpns.get(name) == targets:
            return False
        if targets is None:
            del self.vpns[name]
        else:
            self.vpns[name] = targets
        self.revision += 1
        return True

    def _set_attachment(self, name: str, grants: Grants) -> bool:
        before = self.attachments.get(name, NO_GRANTS)
        if before == grants:
            return False
        if grants == NO_GRANTS:
            del self.attachments[name]
        else:
            self.attachments[name] = grants
        self.forfeited.note(name, before, grants)
        self.bindings += len(grants.vpns) - len(before.vpns)
        self.revision += 1
        return True

    # -- asking

    def policy(self, static: Iterable[Vpn]) -> Policy:
        """Its VPNs and those of the configuration, which win."""
        own = (Vpn(name, *targets, source=Source.MAP) for name, targets in self.vpns.items())
        return Policy([*own, *static])

    def problems(self, static: Callable[[str], bool]) -> list[Trouble]:
        """Groups that are no VPN here, or not as the server has them. static: whether the configuration has a name."""
        clashes = [
            (f"VPN {name}", "gateway.toml has a [[vpn]] of that name, which counts instead of the map server's")
            for name in sorted(self.vpns)
            if static(name)
        ]
        return clashes + [(f"VPN {name}", why) for name, why in sorted(self._unusable.items()) if not static(name)]
