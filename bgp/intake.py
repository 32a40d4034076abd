"""What an established session makes of UPDATE and ROUTE-REFRESH: events, and counts of what was wrong."""

from __future__ import annotations

from collections import deque

from bgp.errors import Handling
from bgp.events import Counters, Event, FamilyDisabled, RefreshReceived, UpdateReceived
from bgp.negotiation import Negotiated, SessionConfig
from bgp.refresh import RefreshKind, decode_route_refresh
from bgp.update import AttributeTable, Update, UpdateDecoder, UpdateOptions


class Intake:
    """The receiving side of one session from SessionUp to SessionDown; events go to the end of `events`."""

    __slots__ = ("_counters", "_decoder", "_events", "_negotiated")

    def __init__(
        self,
        negotiated: Negotiated,
        config: SessionConfig,
        table: AttributeTable,
        counters: Counters,
        events: deque[Event],
    ) -> None:
        options = UpdateOptions(
            negotiated.families,
            negotiated.four_octet_as,
            negotiated.internal,
            disable_families=config.disable_families,
            first_as=config.first_as,
        )
        self._decoder = UpdateDecoder(options, table)
        self._negotiated = negotiated
        self._counters = counters
        self._events = events

    def update(self, body: bytes) -> None:
        """An UPDATE came; raises BgpError when the session must end."""
        update = self._decoder.decode(body)
        if update.problems:
            self._note(update)
        events = self._events
        if events:
            last = events[-1]
            if type(last) is UpdateReceived and _join(last.update, update):
                return
        if update.reach is not None or update.unreach or update.end_of_rib is not None:
            events.append(UpdateReceived(update))

    def _note(self, update: Update) -> None:
        counters = self._counters
        worst = max(update.problems, key=lambda problem: problem.handling)
        counters.last_malformation = worst
        counters.attributes_discarded += worst.handling is Handling.ATTRIBUTE_DISCARD
        counters.treated_as_withdraw += worst.handling is Handling.TREAT_AS_WITHDRAW
        for problem in update.problems:
            if problem.handling is Handling.DISABLE_FAMILY and problem.family is not None:
                self._events.append(FamilyDisabled(problem.family, problem))

    def refresh(self, body: bytes) -> None:
        """A ROUTE-REFRESH came; raises BgpError when it is malformed."""
        refresh = decode_route_refresh(body)
        negotiated = self._negotiated
        if refresh is None or refresh.family not in negotiated.families:
            return
        # Begin and end count for nothing from a peer that hasn't announced them (RFC 7313, section 5).
        if refresh.kind is RefreshKind.REQUEST or negotiated.enhanced_route_refresh:
            self._events.append(RefreshReceived(refresh.family, refresh.kind))


def _join(last: Update, update: Update) -> bool:
    """Put what an UPDATE says into the one before it, where that says the same of other routes; whether it is done.

    Many speakers send one NLRI in an UPDATE: the tables take many at a time at half the cost.
    """
    if last.end_of_rib is not None or update.end_of_rib is not None:
        return False
    reach, before = update.reach, last.reach
    if reach is not None and before is not None:
        same = last.attributes is update.attributes and reach.next_hop == before.next_hop
        if same and reach.family == before.family and not (last.unreach or update.unreach):
            before.routes.extend(reach.routes)
            return True
    elif reach is before and len(last.unreach) == len(update.unreach) == 1:
        (family, keys), (former, gone) = update.unreach[0], last.unreach[0]
        if family == former:
            gone.extend(keys)
            return True
    return False
