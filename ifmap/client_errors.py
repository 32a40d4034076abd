"""What can go wrong between a client and its MAP servers, beside what a server refuses (ifmap.errors.IfmapError)."""

from __future__ import annotations


class ClientError(Exception):
    """Something is wrong with the session or the way to the server: one line that is fit for a log."""


class HttpError(ClientError):
    """What came is no answer over HTTP, or one that says no (a status other than 200)."""


class MapUnavailable(ClientError):
    """No server of the list gave us a session; the message has the reason of each."""


class SessionLost(ClientError):
    """There is no session (any more); what was asked of the server may have been done or not."""
