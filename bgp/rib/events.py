"""What the tables report to the shell."""

from __future__ import annotations

from dataclasses import dataclass

from bgp.family import Family


@dataclass(frozen=True, slots=True)
class PrefixWarning:
    """A peer has sent a part of what it may that is worth a warning; once a session and family."""

    peer: str
    family: Family
    count: int
    limit: int


@dataclass(frozen=True, slots=True)
class PrefixLimitExceeded:
    """A peer has sent more than it may, and nothing further is taken from it: end the session (RFC 4486, 6/1)."""

    peer: str
    family: Family
    count: int
    limit: int


@dataclass(frozen=True, slots=True)
class RoutesStale:
    """A peer is gone and its routes of a family stay, stale; long_lived: for the long time, less preferred."""

    peer: str
    family: Family
    long_lived: bool


@dataclass(frozen=True, slots=True)
class RoutesSwept:
    """Stale routes of a peer are gone: how many."""

    peer: str
    family: Family
    count: int


@dataclass(frozen=True, slots=True)
class ExportStarted:
    """After our own restart everybody that was waited for has sent everything, or the time was up: peers are told."""

    missing: frozenset[str]


RibEvent = PrefixWarning | PrefixLimitExceeded | RoutesStale | RoutesSwept | ExportStarted
