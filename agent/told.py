"""What one gateway has of one VPN, as this host knows it; state of the signaling core. Pure."""

from __future__ import annotations

from agent.requests import Offer, Refusal
from vpn.prefix import Prefix


class Item:
    """One prefix at the gateway. told: what it has, or may have. asked: what the request under way says."""

    __slots__ = ("alone", "asked", "in_flight", "maybe", "refusal", "told", "wanted")

    def __init__(self) -> None:
        self.wanted: Offer | None = None
        self.told: Offer | None = None
        self.maybe = False
        """An earlier session may have left the item there, or the gateway may remember what it refused."""
        self.in_flight = False
        self.asked: Offer | None = None
        self.refusal: Refusal | None = None
        self.alone = False
        """It was in a batch that was refused as a whole: ask for it alone, to find the bad one."""

    @property
    def due(self) -> bool:
        """Whether the gateway is to be asked for something."""
        if self.in_flight or self.refusal is not None:
            return False
        return self.wanted != self.told or (self.maybe and self.wanted is None)


class Vpn:
    """One VPN at the gateway."""

    __slots__ = (
        "again",
        "dirty",
        "instance_id",
        "items",
        "marked",
        "refusal",
        "subscribed",
        "synchronised",
        "wanted",
        "whole",
    )

    def __init__(self, instance_id: int) -> None:
        self.instance_id = instance_id
        self.wanted = True
        self.subscribed = False
        """A subscription was sent in this session and not refused."""
        self.synchronised = False
        self.again = False
        """Left and joined in one turn: the gateway is to send the whole table once more."""
        self.whole = False
        """What is wanted in the VPN is all that this host has there."""
        self.marked = False
        """The end of items was sent in this session."""
        self.refusal: Refusal | None = None
        self.items: dict[Prefix, Item] = {}
        self.dirty: dict[Prefix, None] = {}

    @property
    def settled(self) -> bool:
        """Whether the gateway has all that is wanted, or forbids it: its policy then keeps nothing of that either."""
        return not self.dirty and all(
            not item.in_flight
            and (item.told == item.wanted if item.refusal is None else item.wanted is None or item.refusal.forbidden)
            for item in self.items.values()
        )
