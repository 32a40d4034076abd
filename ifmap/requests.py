"""Requests of IF-MAP as a server reads them: SOAP envelope and one operation. No I/O. (IF-MAP 2.2, 3.7; SOAP 1.2)"""

from __future__ import annotations

from dataclasses import dataclass, field

from ifmap.values import Request
from ifmap.xml import Limits


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """strict: extended identifiers are checked (2.1), else opaque (2.0). identifier, metadata: greatest size of one in
    characters and bytes. operations: of one publish or subscribe."""

    strict: bool = True
    identifier: int = 8192
    metadata: int = 1024 * 1024
    operations: int = 200_000
    limits: Limits = field(default_factory=Limits)


def read(body: bytes, settings: ReadSettings = ReadSettings()) -> Request:  # noqa: B008
    """The request in an HTTP body. Raises IfmapError with the code that the client is to get."""
    raise NotImplementedError
