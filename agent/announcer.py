"""What the gateways are told of this host's ports, and what they think of it: the same for every gateway.

A port is told of when all of it is in the kernel. While the host is drained, nothing is: the VPNs' routes are asked for
all the same, so that a host which serves again knows the way everywhere at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from agent.attachment import Attached, VpnRecord
from agent.peer import Peer
from agent.plan import Host
from agent.requests import Announced, Refusal
from vpn.path import NextHop, Path
from vpn.prefix import Prefix


class Announcer:
    """The gateways of one host.

    grace: seconds, from the start on, in which a gateway that isn't connected yet is expected to come; clock: monotonic
    seconds.
    """

    def __init__(self, host: Host, peers: Iterable[Peer], grace: float, clock: Callable[[], float]) -> None:
        self.peers = tuple(peers)
        self.silent = False
        """Nothing is to be announced: the host is being drained, or is."""
        self.grace = grace
        self._host = host
        self._clock = clock
        self._expected_until = clock() + grace
        self._kept: set[str] = set()
        """Ports of an earlier run: the gateways may know of them what this one hasn't told."""
        self._untold: dict[str, str] = {}
        """VPN of each port that is there and not told of."""
        self._incomplete: Counter[str] = Counter()
        """Number of them by VPN."""

    def keep(self, attached: Attached) -> None:
        """A port was there before this run."""
        self._kept.add(attached.name)

    def expect(self, attached: Attached) -> None:
        """A port is there, and is to be told of later: until then no gateway hears that it was told everything."""
        name, vpn = attached.name, attached.attachment.vpn
        if name not in self._untold:
            self._untold[name] = vpn
            self._incomplete[vpn] += 1
            self._judge(vpn)

    def _settle(self, name: str) -> str | None:
        """A port was told of, or is gone; its VPN, if it was to be told of."""
        vpn = self._untold.pop(name, None)
        if vpn is not None:
            self._incomplete[vpn] -= 1
            if not self._incomplete[vpn]:
                del self._incomplete[vpn]
        return vpn

    def _judge(self, vpn: str) -> None:
        """Whether the gateways, when they have what they were told of a VPN, have everything."""
        for peer in self.peers:
            peer.signaling.complete(vpn, not self._incomplete[vpn])
            peer.flush_soon()

    # -- telling

    def announce(self, attached: Attached, record: VpnRecord) -> None:
        """Have the routes of a port's VPN, and tell its prefixes unless the host is silent."""
        path = Path((NextHop(self._host.address, attached.label, self._host.encapsulations),))
        for peer in self.peers:
            peer.signaling.join(record.name, record.instance_id)
            if not self.silent:
                for prefix in attached.attachment.announced():
                    peer.signaling.announce(record.name, prefix, path, attached.attachment.known_as)
            peer.flush_soon()
        if not self.silent:
            self._settle(attached.name)
            self._judge(record.name)

    def withdraw(self, attached: Attached, record: VpnRecord) -> None:
        """Take back a port's prefixes, those too that an earlier run may have told."""
        self.expect(attached)
        for peer in self.peers:
            for prefix in attached.attachment.announced():
                peer.signaling.withdraw(record.name, prefix)
                if attached.name in self._kept:
                    peer.signaling.recall(record.name, record.instance_id, prefix)
            peer.flush_soon()

    def forget(self, name: str) -> None:
        """A port is gone; another of its name is new."""
        self._kept.discard(name)
        vpn = self._settle(name)
        if vpn is not None:
            self._judge(vpn)

    def leave(self, vpn: str) -> None:
        """Want nothing of a VPN any more."""
        for peer in self.peers:
            peer.signaling.leave(vpn)
            peer.flush_soon()

    # -- what they think of it

    def expected(self, peer: Peer) -> bool:
        """Whether a gateway's word is to be waited for: it is connected, or has just had no time to be."""
        return peer.connected or (not peer.met and self._clock() < self._expected_until)

    def withdrawn(self, attached: Attached) -> bool:
        """Whether the gateways, but for those that are away, have confirmed that a port is withdrawn."""
        return all(
            peer.signaling.withdrawn(attached.attachment.vpn, prefix)
            for peer in self.peers
            if self.expected(peer)
            for prefix in attached.attachment.announced()
        )

    def announced(self, attached: Attached) -> tuple[str, list[tuple[Peer, Refusal]]]:
        """Whether the gateways have a port: "yes" (each of them), "partly", "refused" or "no"; who refused, and why."""
        states, refusals = set(), []
        for peer in self.peers:
            for prefix in attached.attachment.announced():
                state, refusal = peer.signaling.announced(attached.attachment.vpn, prefix)
                states.add(state)
                if refusal is not None:
                    refusals.append((peer, refusal))
        if states == {Announced.YES}:
            return "yes", refusals
        if Announced.YES in states:
            return "partly", refusals
        return ("refused" if refusals else "no"), refusals

    def answered(self, attached: Attached) -> bool:
        """Whether every connected gateway has accepted or refused all of a port."""
        return all(
            peer.signaling.announced(attached.attachment.vpn, prefix)[0] is not Announced.NO
            for peer in self.peers
            if peer.connected
            for prefix in attached.attachment.announced()
        )

    def forbidden(self, attached: Attached) -> frozenset[Prefix]:
        """What is to be blocked: what every connected gateway forbids, until one of them has it. Otherwise it stays as
        it was, so that a gateway which comes or goes opens and closes nothing."""
        blocked = set(attached.blocked)
        for prefix in attached.attachment.announced():
            answers = [
                peer.signaling.announced(attached.attachment.vpn, prefix) for peer in self.peers if peer.connected
            ]
            if any(state is Announced.YES for state, _ in answers):
                blocked.discard(prefix)
            elif answers and all(refusal is not None and refusal.forbidden for _, refusal in answers):
                blocked.add(prefix)
        return frozenset(blocked)
