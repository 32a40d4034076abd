"""What is wrong with a host, in an operator's words, and what to do about each: for status and doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from agent.attachment import Attached
from agent.drain import STUCK_HINT
from agent.drain_state import DrainPhase
from agent.faults import CONFLICT, CONFLICT_HINT, refusal_hint, session_hint, shortly
from agent.hostagent import HostAgent
from agent.requests import Refusal
from agent.session_values import SessionState
from datapath.describe import describe
from datapath.status import Change
from vpn.prefix import Prefix

Document = dict[str, object]


def blocked(agent: HostAgent, attached: Attached) -> tuple[str, str]:
    """Why a port that has something blocked lets nothing pass there, and what to do about it."""
    nothing = f"blocked, nothing passes from or to {', '.join(map(shortly, sorted(attached.blocked)))}"
    _, refusals = agent.ports.announced(attached.name)
    for peer, refusal in refusals:
        if refusal.forbidden:
            return f"{nothing}: gateway {peer.name}: {refusal}", refusal_hint(refusal, attached.attachment)
    # It stays blocked while they are away.
    return f"{nothing}: the gateways forbade it", "see `vrfwire gateway list`"


def find_problems(
    agent: HostAgent, failures: Iterable[Change], expected: Callable[[Change], bool]
) -> Iterator[Document]:
    """All that is wrong. failures: of the kernel; expected: whether one of them is none, since the VM doesn't run."""
    if not agent.peers:
        yield _problem("gateways", "none is configured", "add a [[gateway]]")
    shut: set[tuple[str, Prefix | None]] = set()
    for attached in agent.inventory.attachments():
        if attached.blocked:
            shut.update((attached.attachment.vpn, prefix) for prefix in attached.blocked)
            yield _problem(f"port {attached.name}", *blocked(agent, attached))
    drain = agent.drain
    if drain.phase is DrainPhase.DRAINING and not all(peer.connected for peer in drain.waits_for()):
        yield _problem("drain", drain.step(), STUCK_HINT)
    for peer in agent.peers.values():
        if peer.session.state is not SessionState.CONNECTED:
            why = peer.session.last_error or "not connected yet"
            yield _problem(f"gateway {peer.name}", why, session_hint(peer.session.last_error))
        elif peer.session.conflicted:
            yield _problem(f"gateway {peer.name}", CONFLICT, CONFLICT_HINT)
        seen: set[tuple[str, Refusal]] = set()
        for vpn, prefix, refusal in peer.signaling.refusals:
            if (vpn, prefix) in shut:
                continue
            if prefix is None or (vpn, refusal) not in seen:
                seen.add((vpn, refusal))
                what = f"VPN {vpn}" if prefix is None else f"{prefix} in VPN {vpn}"
                yield _problem(f"gateway {peer.name}: {what}", str(refusal), refusal_hint(refusal))
    for trouble in agent.certificates.troubles():
        yield _problem(*trouble)
    for figure in agent.datapath.reconciler.figures():
        if figure.dump_error:
            yield _problem(f"kernel: {figure.kind.name.lower()}", figure.dump_error, "see `vrfwire doctor`")
    for failure in failures:
        if not expected(failure):
            what = f"kernel: {describe(failure.kind, failure.key)}"
            yield _problem(what, failure.status.error, "it is tried again; see `vrfwire doctor`")


def _problem(what: str, why: str, hint: str) -> Document:
    return {"what": what, "why": why, "hint": hint}
