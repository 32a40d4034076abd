"""A connection that is closing can be aborted, also with the asyncio of Python 3.11.2."""

from __future__ import annotations

import asyncio

from agent.stream import Stream


class TlsTransport:
    """What asyncio's does when it is closed and aborted, in the version that Debian 12 has."""

    def __init__(self) -> None:
        self.protocol: list[str] | None = []
        self.done = self.protocol

    def close(self) -> None:
        if self.is_closing():
            self.protocol = None
        else:
            assert self.protocol is not None
            self.protocol.append("close")

    def is_closing(self) -> bool:
        return bool(self.done)

    def abort(self) -> None:
        if self.protocol is None:
            raise AttributeError("'NoneType' object has no attribute '_abort'")
        self.protocol.append("abort")


def test_abort_of_a_connection_that_is_closing() -> None:
    async def run() -> None:
        stream = Stream(
            "hv1@vpn.example.net/vrfwire",
            "",
            service="vpn.example.net",
            direct_tls=True,
            on_message=lambda _: False,
            on_presence=lambda _: None,
            on_heard=lambda: None,
            on_error=lambda *_: None,
            on_fault=lambda _: None,
        )
        stream.transport = transport = TlsTransport()
        stream.abort()  # slixmpp's own, at the end of a stream
        assert transport.done == ["close", "abort"]
        stream.abort()
        assert transport.done == ["close", "abort", "abort"]

    asyncio.run(run())
