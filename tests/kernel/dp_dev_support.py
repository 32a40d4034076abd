"""What the kernel tests of the drivers share: a host with everything opened in it, and short ways to use drivers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType

from datapath.driver import Driver, Failure, Operation, Outcome, Verb
from datapath.kernel import Kernel, KernelConfig, open_kernel
from datapath.values import AntiSpoofing, Key, Kind, Port, PortKind, Tunnel, Value, Vrf
from lab.namespace import Namespace
from vpn.prefix import Prefix, parse_address

LOCAL = parse_address("192.0.2.11")
MAC = bytes.fromhex("020000000001")
BLUE = Vrf("vw-blue", 10001, "blue")
RED = Vrf("vw-red", 10002, "red")
TUNNEL = Tunnel("vw-gre", LOCAL)
TAP = Port("tap0", PortKind.TAP, "vw-blue", "web-1", guest_mac=MAC)
FILTERS = AntiSpoofing("tap0", MAC, (Prefix.parse("10.1.1.1"), Prefix.parse("fd00:1::1")))


class Host:
    """A namespace with the drivers of its kernel. Drivers work in the namespace that their thread is in."""

    def __init__(self, namespace: Namespace, local: bytes = LOCAL) -> None:
        self.namespace = namespace
        with namespace.entered():
            self.kernel: Kernel = open_kernel(KernelConfig(local, range(10000, 20000), range(1000, 2000)))

    def driver(self, kind: Kind) -> Driver:
        return next(driver for driver in self.kernel.drivers if driver.kind is kind)

    def apply(self, *operations: Operation) -> list[Outcome]:
        """Operations of one kind."""
        with self.namespace.entered():
            return self.driver(operations[0].value.kind).apply(operations)

    def put(self, value: Value, actual: Value | None = None) -> Outcome:
        return self.apply(Operation(Verb.PUT, value, actual))[0]

    def make(self, *values: Value) -> None:
        for value in values:
            outcome = self.put(value)
            assert outcome is None, f"{value}: {outcome}"

    def remove(self, value: Value) -> Outcome:
        return self.apply(Operation(Verb.REMOVE, value))[0]

    def dump(self, kind: Kind) -> dict[Key, Value]:
        with self.namespace.entered():
            return self.driver(kind).dump()

    def converge(self, value: Value) -> Value | None:
        """Compare and put right, as the reconciler does; what the kernel holds afterwards."""
        actual = self.dump(value.kind).get(value.key)
        if actual != value:
            assert self.put(value, actual) is None
        return self.dump(value.kind).get(value.key)

    def close(self) -> None:
        self.kernel.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def host(name: str = "host", local: bytes = LOCAL) -> Iterator[Host]:
    """A new host, gone afterwards. The thread of the test is inside it."""
    with Namespace(name) as namespace, namespace.entered(), Host(namespace, local) as opened:
        yield opened


def text_of(outcome: Outcome) -> str:
    """The text of a failure."""
    assert isinstance(outcome, Failure)
    return outcome.text
