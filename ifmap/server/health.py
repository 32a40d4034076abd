"""Whether the server is of use: it looks at the store and at what is in the map, not only at itself. No I/O.

A server that is up but empty, or can't store anything, looks sound to whoever only connects to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ifmap.access import Rules, parse_rules, shown
from ifmap.server.config import HealthSection
from ifmap.server.http import Response
from ifmap.values import MetadataName


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. check: `store` or `content`. why, hint: for the operator; nobody else sees them."""

    check: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a sound map has. min_metadata: of lifetime forever; require: rules, each with some metadata of its types."""

    min_metadata: int = 0
    require: tuple[tuple[str, Rules], ...] = ()

    @classmethod
    def of(cls, section: HealthSection) -> Conditions:
        """Those of a configuration."""
        return cls(section.min_metadata, tuple((text, parse_rules([text])) for text in section.require))

    def look(self, lasting: Mapping[MetadataName, int]) -> list[Finding]:
        """What is wrong with a map that has so many lasting metadata of each type."""
        found = []
        total = sum(lasting.values())
        if total < self.min_metadata:
            why = f"the map has {total} lasting metadata, health.min_metadata is {self.min_metadata}"
            found.append(Finding("content", why, "see that orchestration has published to this server"))
        for text, rules in self.require:
            if not any(count and name in rules for name, count in lasting.items()):
                why = f"the map has no lasting metadata of type {text}, which health.require asks for"
                found.append(Finding("content", why, "see that orchestration has published to this server"))
        return found


def response(findings: list[Finding], metadata: int, lasting: int) -> Response:
    """The answer to GET /health: 200 or 503. Anybody may ask, so it tells counts, and which check failed, not why."""
    failed = {finding.check for finding in findings}
    document = {
        "state": "degraded" if failed else "ok",
        "checks": {check: check not in failed for check in ("store", "content")},
        "metadata": metadata,
        "lasting": lasting,
    }
    body = json.dumps(document).encode() + b"\n"
    return Response(503 if failed else 200, body, "application/json", ("Cache-Control: no-store",))


def types(lasting: Mapping[MetadataName, int]) -> dict[str, int]:
    """Lasting metadata by type, as people write types."""
    return {shown(name): count for name, count in sorted(lasting.items()) if count}
