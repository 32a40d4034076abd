"""What went wrong with a port, in an operator's words: what failed, why, and what can be done."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

from agent.attachment import Attachment
from agent.requests import Refusal
from datapath.describe import NOUNS
from datapath.plane import Object
from datapath.status import State, Status
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import Prefix, format_address

_NETNS = Path("/run/netns")
_BY_THE_MAP = re.compile(r" is not bound to VPN | is no address of (?:an )?attachment ")
"""What gateways say when a MAP server has provisioned otherwise."""
_MAP_UNKNOWN = "no MAP server has been reached"


def worst(objects: list[Object], statuses: list[Status]) -> str:
    """The failure in the lowest layer, which is the cause of those above it; "" when there is none."""
    failed = [
        (kind, status.error)
        for (kind, _), status in zip(objects, statuses, strict=True)
        if status.state is State.FAILED
    ]
    if not failed:
        return ""
    kind, error = min(failed)
    # Of one port, so a name isn't needed; what names itself isn't named twice.
    return error if error.startswith(f"{NOUNS[kind]} ") else f"{NOUNS[kind]}: {error}"


def refusal_hint(refusal: Refusal, attachment: Attachment | None = None) -> str:
    """What an operator can do about a gateway's refusal. attachment: of the port that it is about."""
    match refusal.condition:
        case "item-not-found":
            return (
                "the gateway doesn't know the VPN: add it there ([[vpn]] in gateway.toml, or `vrfwire-map vpn create`);"
                " it is tried again by itself; or detach the port, if the name is wrong"
            )
        case "forbidden" if attachment is not None and _BY_THE_MAP.search(refusal.text):
            addresses = "".join(f" --address {shortly(prefix)}" for prefix in attachment.announced())
            bind = f"vrfwire-map bind {quote(attachment.known_as)} {quote(attachment.vpn)}{addresses}"
            return f"if it is to be in the VPN: `{bind}`; it is announced by itself then"
        case "forbidden" if _MAP_UNKNOWN in refusal.text:
            return "`vrfwire-gateway-ctl map show` on the gateway says why"
        case "forbidden" | "not-authorized" | "not-allowed":
            return "the gateway's configuration doesn't allow this host to; see [[host]] in gateway.toml"
        case _:
            return "the gateway's log says more; it is tried again by itself"


CONFLICT = "another agent logs in there by the name of this host: each throws the other one out"
CONFLICT_HINT = (
    "give each host a [host] name and certificate of its own (a cloned machine has those of the other one), and run one"
    " agent on each; the gateway's log has the addresses of both"
)

_SESSION_HINTS = (
    # (what the reason has in it, what to do): the first that fits
    (r"^stream error conflict", CONFLICT_HINT),
    (
        r"^stream error (policy-violation|resource-constraint)",
        "`journalctl -u vrfwire-gateway` there says what it has too much of; the session is tried again after a while",
    ),
    (
        r"^service .* has no next hops",
        "addresses in its [[host]] of the gateway's configuration, then SIGHUP there; it is tried again by itself",
    ),
    (
        r"^service ",
        "does the gateway run, and is it connected to the XMPP server as this component? `vrfwire-gateway-ctl status`",
    ),
    (
        r"^(key|certificates?) /",
        "the session is tried again by itself when the file is right; see `vrfwire doctor`",
    ),
    (
        r"hostname mismatch|host-unknown",
        "`domain` of the [[gateway]] must be that of the gateway's configuration and certificate",
    ),
    (
        r"unable to get (local )?issuer|self.signed",
        "tls.ca must hold the authority of the gateway's certificate: copy its ca.pem here",
    ),
    (
        r"^TLS: certificate (has expired|is not yet valid)",
        "`date` here and there; if it is right: `vrfwire-gateway-ctl pki renew` for the gateway",
    ),
    (
        r"^the gateway's certificate",
        "`vrfwire-gateway-ctl pki renew` for the gateway, or take it out of the [[gateway]]s",
    ),
    (
        r"was revoked",
        "`vrfwire-gateway-ctl pki show HOST` at the authority says why; enrol the host anew if it is to come back",
    ),
    (
        r"^login refused|not-authorized|alert|certificate",
        "it doesn't accept this host's certificate or password: `journalctl -u vrfwire-gateway` there says why",
    ),
    (
        r"^connection lost",
        "`journalctl -u vrfwire-gateway` there says why: it was stopped, or doesn't accept this host's certificate",
    ),
    (r"doesn't offer TLS", "give it a certificate in its [tls]"),
)


def session_hint(reason: str) -> str:
    """What an operator can do about a session with a gateway that isn't there. reason: its last error."""
    for pattern, hint in _SESSION_HINTS:
        if re.search(pattern, reason, re.IGNORECASE):
            return hint
    return (
        "does vrfwire-gateway run there, and does the underlay let TCP to its port through? see `vrfwire gateway list`"
    )


def shortly(prefix: Prefix) -> str:
    """An address without its length, a prefix with it."""
    return format_address(prefix.packed) if prefix.is_host else str(prefix)


def check_netns(attachment: Attachment) -> None:
    """A namespace that isn't there is most likely a typing error: say so, and keep nothing."""
    if attachment.netns is not None and not (_NETNS / attachment.netns).exists():
        raise OperatorError(
            f"port {attachment.name}",
            f"there is no network namespace {attachment.netns}",
            "see `ip netns list`",
            ExitCode.NOT_FOUND,
        )


def converging(name: str, why: str) -> OperatorError:
    return OperatorError(
        f"port {name}", f"accepted, still converging: {why}", f"see `vrfwire port show {name}`", ExitCode.TIMEOUT
    )


DRAINED_HINT = "`vrfwire undrain` lets traffic pass again, and announces"


def drained(name: str) -> OperatorError:
    """What was asked for is accepted, and waits for the end of the drain."""
    return OperatorError(f"port {name}", "accepted, but this host is drained", DRAINED_HINT, ExitCode.TIMEOUT)
