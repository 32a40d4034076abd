"""Responses of IF-MAP as a server sends them: whole HTTP bodies in UTF-8. No I/O. (IF-MAP 2.2, 3.7; SOAP 1.2)

XML declaration first, double quotes, unqualified inner elements: some clients look for these bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from ifmap.errors import ErrorCode
from ifmap.namespaces import BASE, SOAP
from ifmap.values import ResultKind
from ifmap.xml import escape, is_text

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<s:Envelope xmlns:s="{SOAP}" xmlns:m="{BASE}"><s:Body><m:response validation="None">'
).encode()
_TAIL = b"</m:response></s:Body></s:Envelope>\n"


def new_session_result(session_id: str, publisher_id: str, max_poll_result_size: int | None = None) -> bytes:
    """Answer to newSession. max_poll_result_size: what was granted, in bytes; None when the client didn't ask."""
    size = "" if max_poll_result_size is None else f' max-poll-result-size="{max_poll_result_size}"'
    return _frame(
        f'<newSessionResult session-id="{escape(session_id)}" ifmap-publisher-id="{escape(publisher_id)}"{size}/>'
    )


def renew_session_result() -> bytes:
    """Answer to renewSession."""
    return _frame("<renewSessionResult/>")


def end_session_result() -> bytes:
    """Answer to endSession, and to a poll that waits while its session ends."""
    return _frame("<endSessionResult/>")


def publish_received() -> bytes:
    """Answer to publish."""
    return _frame("<publishReceived/>")


def subscribe_received() -> bytes:
    """Answer to subscribe."""
    return _frame("<subscribeReceived/>")


def purge_publisher_received() -> bytes:
    """Answer to purgePublisher."""
    return _frame("<purgePublisherReceived/>")


def search_result(items: Iterable[bytes]) -> bytes:
    """Answer to search. items: what ifmap.items.item_xml gives."""
    return b"".join((_HEAD, b"<searchResult>", *items, b"</searchResult>", _TAIL))


def poll_result(parts: Iterable[bytes]) -> bytes:
    """Answer to poll, in order. parts: what `part` and `error_part` give, at least one."""
    return b"".join((_HEAD, b"<pollResult>", *parts, b"</pollResult>", _TAIL))


def part(kind: ResultKind, name: str, items: Iterable[bytes]) -> bytes:
    """A child of a pollResult, but errorResult. name: of the subscription. items: what ifmap.items.item_xml gives."""
    tag = kind.value
    return b"".join((f'<{tag} name="{escape(name)}">'.encode(), *items, f"</{tag}>".encode()))


def error_part(name: str, code: ErrorCode, text: str) -> bytes:
    """The errorResult of one subscription, within a pollResult."""
    return _error(code, text, f' name="{escape(name)}"').encode()


def error_result(code: ErrorCode, text: str) -> bytes:
    """Any operation was refused; for a poll it says that all subscriptions are gone."""
    return _frame(_error(code, text, ""))


def _error(code: ErrorCode, text: str, name: str) -> str:
    # A text may quote what somebody sent: it is made fit for XML rather than refused.
    if not is_text(text):
        text = ascii(text)
    return f'<errorResult errorCode="{code.value}"{name}><errorString>{escape(text)}</errorString></errorResult>'


def _frame(result: str) -> bytes:
    return b"".join((_HEAD, result.encode(), _TAIL))
