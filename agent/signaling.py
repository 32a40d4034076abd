"""What one gateway has been told, against what it should be told. Pure: requests out, answers in.

    join, leave, announce, withdraw -->  wanted --+
                                                  +--> next_requests() --> stream --> answered() --+
                          session_started() ------+                                                |
                          told (accepted, or perhaps accepted) <-----------------------------------+

When a session has settled everything that is wanted in a VPN, the gateway is told so once (xmpp.end_of_items): what an
earlier session or run has left there besides then goes at once. Never while something is missing: what the gateway
still has of a port that isn't announced yet may be all by which its VM is reached.

A gateway may also speak first: it withholds items that it had accepted, admits those that it had refused, deletes a
VPN or has one again (xmpp.notices). What it forbids it may remember: that is retracted when it is wanted no longer.

The stream keeps order, so a subscription, its barrier and the items of its VPN are sent without waiting for each other.
A new session starts from nothing: everything wanted is told again, and everything that an earlier session may have left
at the gateway and is no longer wanted is retracted (the gateway keeps a lost session's items for a while).

End of table: after the subscriptions a ping is sent; the gateway answers it after everything that the subscriptions
owed (XEP-0199 as a barrier, docs/design/agent.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.requests import Announced, Ask, Offer, Refusal, Request, Settled
from agent.told import Item, Vpn
from vpn.path import Path
from vpn.prefix import Prefix
from xmpp.stanza import Condition

MAX_ITEMS = 100
"""Items of one publish or retract request."""


class Signaling:
    """One gateway."""

    def __init__(self) -> None:
        self.connected = False
        self._takes_marks = True
        """The gateway has not said in this session that it knows no end of items."""
        self._vpns: dict[str, Vpn] = {}

    # -- what is wanted

    def join(self, name: str, instance_id: int) -> None:
        """Want the routes of a VPN. instance_id: this host's number for it, 1..65535."""
        vpn = self._vpns.get(name)
        if vpn is None:
            vpn = self._vpns[name] = Vpn(instance_id)
        vpn.instance_id = instance_id
        if not vpn.wanted:
            vpn.wanted = True
            vpn.again = vpn.subscribed

    def recall(self, name: str, instance_id: int, prefix: Prefix) -> None:
        """Retract a prefix that an earlier run may have left at the gateway."""
        vpn = self._vpns.get(name)
        if vpn is None:
            vpn = self._vpns[name] = Vpn(instance_id)
            vpn.wanted = False
        vpn.items.setdefault(prefix, Item()).maybe = True
        vpn.dirty[prefix] = None

    def leave(self, name: str) -> None:
        """Want the routes of a VPN no longer, and nothing announced in it."""
        vpn = self._vpns.get(name)
        if vpn is not None:
            vpn.wanted = vpn.again = vpn.whole = False
            for prefix in list(vpn.items):
                self.withdraw(name, prefix)
            self._forget(name, vpn)

    def complete(self, name: str, whole: bool) -> None:
        """Whether what is wanted in a VPN that was joined is all that this host has there. Not until it is said so."""
        vpn = self._vpns.get(name)
        if vpn is not None:
            vpn.whole = whole and vpn.wanted

    def announce(self, name: str, prefix: Prefix, path: Path, attachment: str = "") -> None:
        """Want a prefix published in a VPN that was joined."""
        offer = Offer(path, attachment)
        vpn = self._vpns[name]
        item = vpn.items.get(prefix)
        if item is None:
            item = vpn.items[prefix] = Item()
        if item.wanted != offer:
            item.wanted = offer
            item.refusal = None
            vpn.dirty[prefix] = None

    def withdraw(self, name: str, prefix: Prefix) -> None:
        """Want a prefix published no longer."""
        vpn = self._vpns.get(name)
        item = vpn.items.get(prefix) if vpn is not None else None
        if vpn is not None and item is not None:
            item.wanted = None
            item.refusal = None
            if item.due or item.in_flight:
                vpn.dirty[prefix] = None
            else:
                # The gateway never had it: there is nothing to wait for.
                del vpn.items[prefix]
                vpn.dirty.pop(prefix, None)

    # -- the session

    def session_started(self) -> None:
        """A session is up: nothing is subscribed, and what is published there belongs to an earlier one, if at all."""
        self.connected = True
        self._start_over()

    def session_ended(self) -> None:
        """The session is lost; requests under way may or may not have been carried out."""
        self.connected = False
        self._start_over()

    def _start_over(self) -> None:
        self._takes_marks = True
        for name, vpn in list(self._vpns.items()):
            vpn.subscribed = vpn.synchronised = vpn.again = vpn.marked = False
            vpn.refusal = None
            for prefix, item in vpn.items.items():
                item.maybe = item.maybe or item.in_flight or item.told is not None
                item.in_flight = item.alone = False
                item.told = item.refusal = None
                vpn.dirty[prefix] = None
            self._forget(name, vpn)

    def retry_refused(self) -> None:
        """Ask again for everything that was refused: the gateway's configuration may have changed."""
        for vpn in self._vpns.values():
            self._retry(vpn)

    @staticmethod
    def _retry(vpn: Vpn) -> None:
        vpn.refusal = None
        for prefix, item in vpn.items.items():
            if item.refusal is not None:
                item.refusal = None
                vpn.dirty[prefix] = None

    def next_requests(self) -> list[Request]:
        """Everything to be sent now, in this order; each is to be answered() or ended by session_ended()."""
        if not self.connected:
            return []
        requests: list[Request] = []
        fresh = []
        for name, vpn in self._vpns.items():
            if vpn.again:
                vpn.again = vpn.subscribed = vpn.synchronised = False
                requests.append(Request(Ask.UNSUBSCRIBE, name, vpn.instance_id))
            if vpn.wanted and not vpn.subscribed and vpn.refusal is None:
                vpn.subscribed = True
                fresh.append(name)
                requests.append(Request(Ask.SUBSCRIBE, name, vpn.instance_id))
        if fresh:
            requests.append(Request(Ask.BARRIER, vpns=tuple(fresh)))
        for name, vpn in list(self._vpns.items()):
            if vpn.dirty:
                requests.extend(self._item_requests(name, vpn))
            if not vpn.wanted and vpn.subscribed:
                vpn.subscribed = vpn.synchronised = False
                requests.append(Request(Ask.UNSUBSCRIBE, name, vpn.instance_id))
                self._forget(name, vpn)
            elif self._takes_marks and vpn.whole and not vpn.marked and vpn.settled:
                vpn.marked = True
                requests.append(Request(Ask.END_OF_ITEMS, name, vpn.instance_id))
        return requests

    def _item_requests(self, name: str, vpn: Vpn) -> list[Request]:
        requests = []
        batches: dict[Ask, list[tuple[Prefix, Offer | None]]] = {Ask.RETRACT: [], Ask.PUBLISH: []}
        dirty, vpn.dirty = vpn.dirty, {}
        for prefix in dirty:
            item = vpn.items[prefix]
            if not item.due:
                if item.wanted is None and not item.in_flight and item.refusal is None:
                    del vpn.items[prefix]
                continue
            item.in_flight, item.asked = True, item.wanted
            ask = Ask.RETRACT if item.wanted is None else Ask.PUBLISH
            if item.alone:
                requests.append(Request(ask, name, vpn.instance_id, ((prefix, item.wanted),)))
                continue
            batch = batches[ask]
            batch.append((prefix, item.wanted))
            if len(batch) == MAX_ITEMS:
                requests.append(Request(ask, name, vpn.instance_id, tuple(batch)))
                batch.clear()
        requests.extend(Request(ask, name, vpn.instance_id, tuple(batch)) for ask, batch in batches.items() if batch)
        self._forget(name, vpn)
        return requests

    def answered(self, request: Request, refusal: Refusal | None) -> Settled:
        """The answer to a request of this session: accepted (None) or refused."""
        if request.ask is Ask.BARRIER:
            # A gateway that refuses pings has nevertheless answered in order.
            tables = [name for name in request.vpns if self._is_subscribed(name)]
            for name in tables:
                self._vpns[name].synchronised = True
            return Settled(tables=tuple(tables))
        vpn = self._vpns.get(request.vpn)
        if vpn is None:
            return Settled()
        if request.ask is Ask.END_OF_ITEMS:
            # Refused or not: in the end the gateway's own time is up. Servers that don't know it aren't asked again.
            if refusal is not None and refusal.unknown:
                self._takes_marks = False
            return Settled()
        if request.ask is Ask.SUBSCRIBE and refusal is not None and vpn.subscribed:
            vpn.subscribed = False
            vpn.refusal = refusal
        if not request.items:
            return Settled()
        return self._items_answered(request, vpn, refusal)

    def _items_answered(self, request: Request, vpn: Vpn, refusal: Refusal | None) -> Settled:
        settled = []
        for prefix, _ in request.items:
            item = vpn.items.get(prefix)
            if item is None or not item.in_flight:
                continue
            item.in_flight = False
            if refusal is None or (request.ask is Ask.RETRACT and len(request.items) == 1 and not refusal.passing):
                # A retraction that is refused was of something the gateway doesn't have.
                item.told, item.maybe = item.asked, False
            elif len(request.items) > 1:
                item.alone = True
                vpn.dirty[prefix] = None
                continue
            else:
                item.refusal = refusal if item.wanted == item.asked else None
                # What its policy forbids a gateway may remember, to admit it when that changes.
                item.maybe = item.maybe or refusal.forbidden
            item.alone = False
            if item.due:
                vpn.dirty[prefix] = None
            elif item.wanted is None and item.refusal is None:
                # Withdrawn while it was under way, and refused: nothing is there to be retracted.
                del vpn.items[prefix]
                vpn.dirty.pop(prefix, None)
            settled.append((request.vpn, prefix))
        self._forget(request.vpn, vpn)
        return Settled(tuple(settled))

    def _forget(self, name: str, vpn: Vpn) -> None:
        """Drop a VPN that was left and has nothing at the gateway any more."""
        if vpn.wanted or vpn.subscribed:
            return
        if not any(item.wanted or item.in_flight or item.due or item.refusal for item in vpn.items.values()):
            self._vpns.pop(name, None)

    # -- what the gateway says unasked

    def withheld(self, name: str, prefixes: Iterable[Prefix], reason: str) -> Settled:
        """The gateway has taken items out of its tables, by its policy."""
        refusal = Refusal(Condition.FORBIDDEN, reason)
        settled = []
        for prefix, item in self._told_of(name, prefixes):
            item.told, item.maybe, item.refusal = None, True, refusal
            settled.append((name, prefix))
        return Settled(tuple(settled))

    def admitted(self, name: str, prefixes: Iterable[Prefix]) -> Settled:
        """The gateway has let in items that it had refused or withheld."""
        settled = []
        for prefix, item in self._told_of(name, prefixes):
            item.told, item.maybe, item.refusal = item.asked, False, None
            if item.due:
                self._vpns[name].dirty[prefix] = None
            settled.append((name, prefix))
        return Settled(tuple(settled))

    def _told_of(self, name: str, prefixes: Iterable[Prefix]) -> Iterator[tuple[Prefix, Item]]:
        """Items that are wanted, and no request under way: its answer is newer than what was said before it."""
        vpn = self._vpns.get(name)
        items = vpn.items if vpn is not None else {}
        for prefix in prefixes:
            item = items.get(prefix)
            if item is not None and not item.in_flight and item.wanted is not None:
                yield prefix, item

    def deleted(self, name: str) -> None:
        """The VPN is gone from the gateway, and with it the subscription and the items."""
        vpn = self._vpns.get(name)
        if vpn is None:
            return
        gone = Refusal(Condition.ITEM_NOT_FOUND, "the VPN was deleted at the gateway")
        vpn.subscribed = vpn.synchronised = vpn.again = False
        vpn.refusal = gone if vpn.wanted else None
        for prefix, item in list(vpn.items.items()):
            if item.in_flight:
                continue
            if item.wanted is None:
                # At once: there is nothing to be retracted, and no answer to come by which anybody would notice.
                del vpn.items[prefix]
                vpn.dirty.pop(prefix, None)
            else:
                item.told, item.maybe, item.refusal = None, False, gone
                vpn.dirty[prefix] = None
        self._forget(name, vpn)

    def available(self, name: str) -> None:
        """The gateway has a VPN (again): ask anew for what it refused there."""
        vpn = self._vpns.get(name)
        if vpn is not None:
            self._retry(vpn)

    # -- reading

    def _is_subscribed(self, name: str) -> bool:
        vpn = self._vpns.get(name)
        return vpn is not None and vpn.subscribed

    def announced(self, name: str, prefix: Prefix) -> tuple[Announced, Refusal | None]:
        """Whether the gateway has a prefix as wanted; with the refusal if that was its answer."""
        vpn = self._vpns.get(name)
        item = vpn.items.get(prefix) if vpn is not None else None
        if item is None or item.wanted is None:
            return Announced.NO, None
        if item.refusal is not None:
            return Announced.REFUSED, item.refusal
        # Something else may be under way: it was to be withdrawn a moment ago.
        undone = item.in_flight and item.asked != item.wanted
        return (Announced.YES if item.told == item.wanted and not undone else Announced.NO), None

    @property
    def held(self) -> int:
        """Number of prefixes that the gateway has, may have, or is about to be told."""
        return sum(len(vpn.items) for vpn in self._vpns.values())

    def withdrawn(self, name: str, prefix: Prefix) -> bool:
        """Whether the gateway, as far as this session can know, no longer has a prefix."""
        vpn = self._vpns.get(name)
        return vpn is None or prefix not in vpn.items

    def vpn_refusal(self, name: str) -> Refusal | None:
        """Why the gateway refused the subscription, or None."""
        vpn = self._vpns.get(name)
        return None if vpn is None else vpn.refusal

    def synchronised(self, name: str) -> bool:
        """Whether the table of a VPN has been complete once in this session."""
        vpn = self._vpns.get(name)
        return vpn is not None and vpn.synchronised

    @property
    def joined(self) -> tuple[str, ...]:
        """VPNs wanted here."""
        return tuple(name for name, vpn in self._vpns.items() if vpn.wanted)

    @property
    def refusals(self) -> list[tuple[str, Prefix | None, Refusal]]:
        """Everything refused: (VPN, prefix or None for the subscription, refusal)."""
        found: list[tuple[str, Prefix | None, Refusal]] = []
        for name, vpn in self._vpns.items():
            if vpn.refusal is not None:
                found.append((name, None, vpn.refusal))
            found.extend((name, prefix, item.refusal) for prefix, item in vpn.items.items() if item.refusal is not None)
        return found
