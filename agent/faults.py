"""What went wrong with a port, in an operator's words: what failed, why, and what can be done."""

from __future__ import annotations

from pathlib import Path

from agent.attachment import Attachment
from agent.requests import Refusal
from datapath.describe import NOUNS
from datapath.plane import Object
from datapath.status import State, Status
from runtime.errors import ExitCode, OperatorError

_NETNS = Path("/run/netns")


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


def refusal_hint(refusal: Refusal) -> str:
    """What an operator can do about a gateway's refusal."""
    match refusal.condition:
        case "item-not-found":
            return (
                "the gateway doesn't know the VPN: add it there ([[vpn]] in gateway.toml); it is tried again by itself"
            )
        case "forbidden" | "not-authorized" | "not-allowed":
            return "the gateway's configuration doesn't allow this host to; see [[host]] in gateway.toml"
        case _:
            return "the gateway's log says more; it is tried again by itself"


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
