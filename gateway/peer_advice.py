"""What to do about a peer that is down: a hint made of how its session ended; pure."""

from __future__ import annotations

import errno
import os

from bgp.connection import State
from bgp.errors import CeaseSubcode, ErrorCode, OpenSubcode
from bgp.events import DownReason, SessionDown
from bgp.session import Session

_OPEN = {
    OpenSubcode.BAD_PEER_AS: '"as" of the [[bgp.peer]] here and what the peer has as our AS must both be true',
    OpenSubcode.BAD_BGP_IDENTIFIER: "two routers have one router id: change gateway.router_id, or that of the peer",
    OpenSubcode.UNSUPPORTED_CAPABILITY: 'the peer must speak one of "families" for this gateway (vpnv4: "ipv4 vpn")',
    OpenSubcode.UNACCEPTABLE_HOLD_TIME: "set hold_time to 0, or to 3 s and more, on both sides",
    OpenSubcode.UNSUPPORTED_OPTIONAL_PARAMETER: "the peer takes no capabilities (RFC 5492), so no VPN routes",
}
_CEASE_RECEIVED = {
    CeaseSubcode.MAXIMUM_PREFIXES: "the peer takes no more of our routes: raise its maximum-prefix, clear it there",
    CeaseSubcode.ADMINISTRATIVE_SHUTDOWN: "the peer's operator has shut the session down",
    CeaseSubcode.PEER_DECONFIGURED: "the peer's operator has removed this gateway from its configuration",
    CeaseSubcode.CONNECTION_REJECTED: "the peer knows no neighbour of this address or AS: configure this gateway there",
    CeaseSubcode.CONNECTION_COLLISION: "the peer has another connection of ours, which should come up by itself",
    CeaseSubcode.OUT_OF_RESOURCES: "the peer is out of memory or file descriptors",
}
_UNANSWERED = "is the address right, and does the peer listen for this gateway's address at that port?"
_PASSWORD = "the same password on both sides (password_file here), then a reload (SIGHUP); docs/bgp.md, TCP-MD5"
_NO_ANSWER = "does the peer run, and listen for this gateway? Then compare the passwords; docs/bgp.md, TCP-MD5"
_TTL = "ttl_security on both sides, or on neither; docs/bgp.md, TTL security"
_LOCAL = "local_address is to be an address of this machine: `ip address`"
_NO_WAY = "the way there is missing: `ip route get` with the peer's address, its link, its neighbour entry"
_SILENT = "a firewall, a wrong MD5 password or a wrong ttl_security each look like this: docs/bgp.md, Troubleshooting"
_NO_WAY_ERRORS = (os.strerror(errno.EHOSTUNREACH), os.strerror(errno.ENETUNREACH), os.strerror(errno.ENETDOWN))


def advice(session: Session, problem: str = "") -> str:
    """The next step for an operator; "" for a session that is up. problem: what the speaker has found itself."""
    if session.state is State.ESTABLISHED:
        return ""
    if "password" in problem:
        return _NO_ANSWER if problem.startswith("no answer") else _PASSWORD
    if "ttl_security" in problem:
        return _TTL
    if session.last_connect_error:
        return _not_connected(session.last_connect_error)
    down = session.last_down
    if down is None:
        return "" if not session.config.passive else "passive: the peer has to connect, to the address in bgp.listen"
    return _after(down) or (_SILENT if problem else "")


def _not_connected(error: str) -> str:
    """error: as of gateway.peer_runtime, with the kernel's words at the end."""
    if error.startswith("local_address "):
        return _LOCAL
    if error.endswith(os.strerror(errno.ECONNREFUSED)):
        return _UNANSWERED
    return _NO_WAY if error.endswith(_NO_WAY_ERRORS) else _SILENT


def _after(down: SessionDown) -> str:
    if down.notification is None:
        if down.negotiated is None:
            return "the peer closed the connection before it said anything: does it know this gateway as a neighbour?"
        return "the transport was lost; the session comes back by itself"
    reason = down.notification.reason
    received = down.reason is DownReason.NOTIFICATION_RECEIVED
    match reason.code:
        case ErrorCode.OPEN_MESSAGE:
            return _OPEN.get(OpenSubcode(reason.subcode), "") if reason.subcode in list(OpenSubcode) else ""
        case ErrorCode.HOLD_TIMER_EXPIRED:
            side = "this gateway" if received else "the peer"
            return f"nothing of {side} got through for the hold time: a lossy path, or a machine that is too busy"
        case ErrorCode.CEASE if received:
            known = reason.subcode in list(CeaseSubcode)
            return _CEASE_RECEIVED.get(CeaseSubcode(reason.subcode), "") if known else ""
        case ErrorCode.CEASE if reason.subcode == CeaseSubcode.MAXIMUM_PREFIXES:
            return "raise max_prefixes of the [[bgp.peer]], or find out what the peer sends; then `peer reset`"
        case ErrorCode.CEASE if reason.subcode == CeaseSubcode.ADMINISTRATIVE_SHUTDOWN:
            return "`peer reset` starts it again"
        case ErrorCode.MESSAGE_HEADER | ErrorCode.UPDATE_MESSAGE | ErrorCode.FINITE_STATE_MACHINE:
            side = "the peer refused a message of ours" if received else "the peer broke the protocol"
            return f"{side}: capture the session and report it; the log has the details"
    return ""
