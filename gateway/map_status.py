"""What the gateway shows of the map: session, provisioning, attachments, withheld items, as documents; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.attachment_state import AttachmentStates, Condition
from gateway.authorization import Mode
from gateway.provisioning import Trouble
from gateway.status import Document, Problem, timestamp
from gateway.withheld import Withheld
from ifmap.client import ClientState, ClientStatus

CONDITIONS = {Condition.UP: "up", Condition.DOWN: "down", Condition.ADMIN_DOWN: "adminDown"}
"""As the schema writes them."""
SHOWN = 10
"""Problems of one kind that are told one by one."""


@dataclass(frozen=True, slots=True)
class MapView:
    """The state of a link, taken at one time. since: Unix time of the client's state; as_of: when what is in use was
    last known to be the server's, None: never; disbelieved: the server's map is empty, and what was known stays;
    presences: number by condition; unpublished: metadata that the server doesn't have yet; kept: what is wrong with the
    file of provisioning; troubles: the thing and why."""

    plan_servers: tuple[str, ...]
    gateway: str
    authorization: Mode
    client: ClientStatus
    since: float
    synchronised: bool
    as_of: float | None
    now: float
    disbelieved: bool
    known: bool
    restored: bool
    vpns: int
    attachments: int
    bindings: int
    withheld: int
    presences: Mapping[Condition, int]
    unpublished: int
    unpublishable: tuple[str, ...]
    refused_subscriptions: Mapping[str, str]
    kept: tuple[Problem, ...]
    troubles: tuple[Trouble, ...]

    @property
    def connected(self) -> bool:
        """Whether there is a session."""
        return self.client.state is ClientState.CONNECTED

    def document(self) -> Document:
        """map.show."""
        return {
            "configured": True,
            "url": self.client.server,
            "urls": list(self.plan_servers),
            "state": str(self.client.state),
            "since": timestamp(self.since),
            "synchronised": self.synchronised,
            "disbelieved": self.disbelieved,
            "source": "server" if self.synchronised else self._source(),
            "as_of": None if self.as_of is None else timestamp(self.as_of),
            "age": None if self.as_of is None else max(round(self.now - self.as_of), 0),
            "gateway": self.gateway,
            "publisher_id": self.client.publisher_id,
            "authorization": str(self.authorization),
            "vpns": self.vpns,
            "attachments": self.attachments,
            "bindings": self.bindings,
            "withheld_items": self.withheld,
            "published": self.published(),
            "unpublished": self.unpublished,
            "sessions": self.client.sessions,
            "last_error": self.client.last_error,
            "problems": [problem.document() for problem in self.problems()],
        }

    def published(self) -> dict[str, int]:
        """Number of attachments by published state."""
        return {CONDITIONS[condition]: number for condition, number in self.presences.items()}

    def _source(self) -> str:
        """Where what is in use comes from while the server doesn't tell."""
        if not self.known:
            return "none"
        return "server, earlier" if self.client.sessions else "last run"

    def summary(self) -> Document:
        """The part of status."""
        shown = self.document()
        return {key: shown[key] for key in ("configured", "url", "state", "since", "synchronised", "withheld_items")}

    def problems(self) -> list[Problem]:
        """What an operator should look at."""
        found = []
        if not self.connected and self.client.last_error:
            kept = "what was known last stays in use" if self.known else "nothing is permitted before it is reached"
            why = f"no session: {self.client.last_error}; {kept}"
            found.append(Problem(f"map server {self.client.server}", why, "`vrfwire-gateway-ctl map show`"))
        if self.disbelieved:
            why = (
                "its map is empty, and doesn't say that VPNs are provisioned in it: as if it had lost what it held; "
                "what was known last stays in use"
            )
            hint = (
                "is it the right server? then restore its store or provision again; "
                "if nothing is to be there: `vrfwire-gateway-ctl map accept`"
            )
            found.append(Problem(f"map server {self.client.server}", why, hint))
        for name, why in self.refused_subscriptions.items():
            hint = "the server's limits of searches may be too small (map.toml: max_search_size)"
            found.append(Problem(f"map subscription {name}", why, hint))
        if self.unpublishable:
            more = f" (and {len(self.unpublishable) - 1} more)" if len(self.unpublishable) > 1 else ""
            hint = 'in the server\'s map.toml: write = ["vpn:attachment-info", "vpn:attachment-state"]'
            found.append(Problem("state of attachments", f"not published: {self.unpublishable[0]}{more}", hint))
        found += self.kept
        found += [Problem(what, why, "`vrfwire-map vpn list`") for what, why in self.troubles[:SHOWN]]
        if len(self.troubles) > SHOWN:
            found.append(Problem("map", f"{len(self.troubles) - SHOWN} more problems of this kind"))
        return found


def describe_attachments(states: AttachmentStates) -> Document:
    """attachment.list: what is said of attachments in the map."""
    rows = [
        {
            "attachment": presence.attachment,
            "state": CONDITIONS[statement.condition],
            "host": presence.host,
            "address": presence.address,
            "routes": list(map(str, statement.routes)),
        }
        for presence, statement in sorted(states.presences().items())
    ]
    return {"configured": True, "items": rows}


def describe_withheld(withheld: Withheld) -> Document:
    """attachment.list of withheld items."""
    rows = [
        {
            "attachment": item.attachment,
            "vpn": vpn,
            "host": item.host,
            "prefix": str(item.prefix),
            "item": item_id,
            "revoked": item.revoked,
            "reason": item.reason,
        }
        for (vpn, item_id), item in sorted(withheld.items(), key=lambda row: row[0])
    ]
    return {"configured": True, "items": rows}
