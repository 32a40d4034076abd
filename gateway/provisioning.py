"""What a MAP server provisions: VPNs with their route targets, attachments with their VPNs and addresses; no I/O.

This is the gateway's own copy, apart from any session with a server: it is kept when the server is gone and in a file
over restarts, and changed by what the server says only where that differs. Policy is made of it and of the VPNs of
gateway.toml, which win where both have a VPN of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
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
    def has_group(self, name: str) -> bool: ...
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


Work = Generator[None, None, Difference]
"""Something that is done step by step, so that others have their turns."""


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
        self.vpns = dict(vpns)
        self.attachments = dict(attachments)
        self.bindings = sum(len(grants.vpns) for grants in attachments.values())
        self.forfeited.restore(forfeited)
        self.known = True
        self.revision += 1

    def taking(self, view: View, groups: Iterable[str], attachments: Iterable[str]) -> Work:
        """Look at these names in what the server says, one at a step; returns where it differed. Everything changes at
        the end, at once."""
        vpns: dict[str, Targets | None] = {}
        unusable: dict[str, str] = {}
        for name in groups:
            targets, why = _usable(view, name)
            if why:
                unusable[name] = why
            else:
                self._unusable.pop(name, None)
            if self.vpns.get(name) != targets:
                vpns[name] = targets
            yield
        grants: dict[str, Grants] = {}
        gone: list[str] = []
        bindings = 0
        for name in attachments:
            before, now = self.attachments.get(name, NO_GRANTS), Grants(view.groups_of(name), view.addresses(name))
            if now != before:
                self.forfeited.note(name, before, now)
                bindings += len(now.vpns) - len(before.vpns)
                if now == NO_GRANTS:
                    gone.append(name)
                else:
                    grants[name] = now
            yield
        self._unusable.update(unusable)
        for name, found in vpns.items():
            self._set_vpn(name, found)
        self.attachments.update(grants)
        for name in gone:
            del self.attachments[name]
        self.bindings += bindings
        difference = Difference(frozenset(vpns), frozenset((*grants, *gone)))
        self.revision += bool(difference)
        return difference

    def taking_all(self, view: View) -> Work:
        """The server has told everything: what it doesn't have is no more."""
        groups = {*self.vpns, *self._unusable, *view.groups()}
        difference = yield from self.taking(view, groups, {*self.attachments, *view.attachments()})
        if not self.known:
            self.known = True
            self.revision += 1
        return difference

    def _set_vpn(self, name: str, targets: Targets | None) -> None:
        if targets is None:
            del self.vpns[name]
        else:
            self.vpns[name] = targets

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


def _usable(view: View, name: str) -> tuple[Targets | None, str]:
    """The route targets of a group that can be a VPN here; else why it can't, "" when it isn't there at all."""
    group = view.group(name)
    targets = Targets(group.effective_imports, group.exports)
    if not any(targets):
        return None, "it has no route target: it is no VPN here before it has one" if view.has_group(name) else ""
    if not VPN_NAME.fullmatch(name):
        return None, f"a name of a VPN is 1 to {NODE_MAX} printable ASCII characters without spaces"
    return targets, ""
