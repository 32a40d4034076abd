"""Requests of IF-MAP as a client sends them. No I/O."""

from __future__ import annotations

from ifmap.values import Request


def write_request(request: Request) -> bytes:
    """The HTTP body. Raises IfmapError (Failure) for what XML can't carry or a filter that has no text."""
    raise NotImplementedError
