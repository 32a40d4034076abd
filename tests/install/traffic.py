"""In the machine: counts packets between two VMs, which are namespaces, until SIGTERM; then tells as JSON what came of
them.

    python3 traffic.py RATE NAME=ADDRESS,ADDRESS NAME=ADDRESS,ADDRESS

Prints "counting" as soon as packets flow. All counting is the lab's; this only puts it where the packages run.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import sys

from lab.counter import Counter
from lab.namespace import Namespace
from lab.netns_guest import NamespaceGuest


def vm(text: str) -> NamespaceGuest:
    """NAME=ADDRESS,ADDRESS."""
    name, _, addresses = text.partition("=")
    return NamespaceGuest(name, map(ipaddress.ip_address, addresses.split(",")), Namespace.existing(name))


def main(rate: str, one: str, two: str) -> None:
    """Count."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    counter = Counter((vm(one), vm(two)), rate=int(rate))
    with counter:
        print("counting", flush=True)
        signal.sigwait([signal.SIGTERM])
    outages = [
        {"flow": one.flow, "count": one.count, "seconds": round(one.last - one.first, 3)} for one in counter.outages
    ]
    document = {
        "sent": counter.sent,
        "lost": counter.lost,
        "rate": counter.rate,
        "broken": counter.broken,
        "outages": outages,
        "text": str(counter),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
