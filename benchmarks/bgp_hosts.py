"""Many hosts connected to a gateway at once, in one process: they subscribe, and read what they are sent.

python -m benchmarks.bgp_hosts FILE    JSON of Settings

Prints a line of JSON when all are subscribed, and one with Outcome when its standard input has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
import sys
import time
from pathlib import Path

from xmpp import namespaces as ns

LOGINS = 16
"""Hosts that log in at a time."""
ALIVE = 20.0
"""Seconds between the signs of life of a host."""
PROBE = 0.1
"""Seconds between two questions of the host that measures how long an answer takes."""
READ = 65536
_ITEM = b"<item "


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """vpns: subscribed to by turns; certificates: PEM files and keys, one pair a host; hosts: their names. The last one
    of them is a newcomer, if there is to be one: it logs in again and again."""

    gateway: str
    port: int
    domain: str
    ca: str
    vpns: list[str]
    hosts: list[str]
    certificates: list[tuple[str, str]]
    newcomer: bool = False


@dataclasses.dataclass(slots=True)
class Outcome:
    """lost: hosts whose stream ended; routes: received by all together; longest_answer_s: of a ping, by one host;
    longest_login_s: of the newcomer, subscription included; logins: of it."""

    lost: int = 0
    routes: int = 0
    longest_answer_s: float = 0.0
    longest_login_s: float = 0.0
    logins: int = 0


class Host:
    """One host. Raises OSError, RuntimeError, TimeoutError from login()."""

    def __init__(self, settings: Settings, number: int, outcome: Outcome) -> None:
        self._settings = settings
        self._name = settings.hosts[number]
        self._vpn = settings.vpns[number % len(settings.vpns)]
        self._certificate = settings.certificates[number]
        self._outcome = outcome
        self._seen = bytearray()
        self._answered = asyncio.Event()

    async def login(self) -> None:
        """Connect, authenticate, bind and subscribe."""
        domain = self._settings.domain
        context = ssl.create_default_context(cafile=self._settings.ca)
        context.load_cert_chain(*self._certificate)
        self._reader, self._writer = await asyncio.open_connection(
            self._settings.gateway, self._settings.port, ssl=context, server_hostname=domain, limit=1 << 20
        )
        header = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{domain}' version='1.0'>"
        await self._ask(header, b"</stream:features>")
        await self._ask(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>", b"<success")
        await self._ask(header, b"</stream:features>")
        await self._ask(
            f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>vrfwire</resource></bind></iq>", b"/iq>"
        )
        jid = f"{self._name}@{domain}/vrfwire"
        subscribe = f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{self._vpn}' jid='{jid}'/></pubsub>"
        await self._ask(f"<iq type='set' to='{domain}' id='s'>{subscribe}</iq>", b"/iq>")

    async def _ask(self, text: str, mark: bytes) -> None:
        """Send something and read until the mark."""
        self._writer.write(text.encode())
        self._seen.clear()
        while mark not in self._seen:
            data = await self._reader.read(READ)
            if not data:
                raise RuntimeError(f"{self._name}: the stream ended after {bytes(self._seen[-300:])!r}")
            self._seen += data
        if b"type='error'" in self._seen or b"<failure" in self._seen:
            raise RuntimeError(f"{self._name}: {bytes(self._seen[-300:])!r}")

    async def listen(self) -> None:
        """Read until the stream ends."""
        rest = b""
        with contextlib.suppress(OSError):
            while data := await self._reader.read(READ):
                whole = rest + data
                self._outcome.routes += whole.count(_ITEM)
                rest = whole[1 - len(_ITEM) :]
                if b"id='probe'" in whole[-READ - 64 :]:
                    self._answered.set()
        self._outcome.lost += 1

    def leave(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def stay(self) -> None:
        """Give signs of life."""
        while True:
            await asyncio.sleep(ALIVE)
            self._writer.write(b" ")

    async def probe(self) -> None:
        """Ping again and again."""
        ping = f"<iq type='get' to='{self._settings.domain}' id='probe'><ping xmlns='{ns.PING}'/></iq>".encode()
        while True:
            self._answered.clear()
            asked = time.perf_counter()
            self._writer.write(ping)
            await self._answered.wait()
            self._outcome.longest_answer_s = max(self._outcome.longest_answer_s, time.perf_counter() - asked)
            await asyncio.sleep(PROBE)


async def arrive(settings: Settings, outcome: Outcome) -> None:
    """The newcomer: log in, subscribe and leave, again and again."""
    while True:
        host = Host(settings, len(settings.hosts) - 1, outcome)
        began = time.perf_counter()
        await host.login()
        outcome.longest_login_s = max(outcome.longest_login_s, time.perf_counter() - began)
        outcome.logins += 1
        host.leave()
        await asyncio.sleep(PROBE)


async def serve(settings: Settings) -> Outcome:
    """Connect all, and keep them until standard input ends."""
    outcome = Outcome()
    hosts = [Host(settings, number, outcome) for number in range(len(settings.hosts) - settings.newcomer)]
    gate = asyncio.Semaphore(LOGINS)

    async def login(host: Host) -> None:
        async with gate:
            await host.login()

    began = time.perf_counter()
    await asyncio.gather(*map(login, hosts))
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    tasks = [asyncio.ensure_future(work) for host in hosts for work in (host.listen(), host.stay())]
    tasks.append(asyncio.ensure_future(hosts[0].probe()))
    newcomer = asyncio.ensure_future(arrive(settings, outcome)) if settings.newcomer else None
    if newcomer is not None:
        tasks.append(newcomer)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    found = dataclasses.replace(outcome)
    if newcomer is not None and newcomer.done():
        # It can't end by itself.
        newcomer.result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def main(arguments: list[str]) -> int:
    """The command."""
    settings = Settings(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    outcome = asyncio.run(serve(settings))
    print(json.dumps(dataclasses.asdict(outcome)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
