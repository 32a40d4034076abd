"""Lets published items into the tables, or withholds them, as the map stands; follows its changes; no I/O.

    publish request --> refuse() --permitted--> Rib          the map changes --> regrant() --> due --> step()
                           |                     ^ |                                                    |
                           +--> Withheld --------+ +<-------- admit, withdraw, tell the host -----------+

A host's items are judged when they are published, and judged again when something changes that they depend on: the
attachment that they name, or, when they name none, an attachment with a prefix that covers theirs. Without an
authorization (no [map]) everything is permitted, and nothing is kept or counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from gateway.authorization import Authorization, Verdict
from gateway.grants import Grants
from gateway.item_index import ItemIndex
from gateway.rib import Item, ItemRef, Rib
from gateway.session import Session
from gateway.withheld import Withheld, WithheldItem
from vpn.prefix import Prefix
from xmpp.entry import Entry
from xmpp.notices import NoticeKind


class Decision(NamedTuple):
    """What a change of the map has done to an item, for the log. reason: "" when it was admitted."""

    host: str
    vpn: str
    item_id: str
    attachment: str
    reason: str


class Forbidden(NamedTuple):
    """Why a request is refused. repeated: its items are withheld already, for the same reasons."""

    text: str
    repeated: bool


class Admission:
    """Between sessions and the tables. sessions: finds an open session by its number."""

    def __init__(self, rib: Rib, sessions: Callable[[int], Session | None]) -> None:
        self.withheld = Withheld()
        self.counters: Counter[str] = Counter()
        """Items since the start: "refused" when published, "withdrawn" and "admitted" by changes of the map."""
        self.authorization: Authorization | None = None
        self._rib = rib
        self._sessions = sessions
        self._index = ItemIndex()
        self._touched: dict[ItemRef, None] = {}
        self._due: dict[ItemRef, None] = {}
        self._decisions: list[Decision] = []
        self._told: dict[Session, None] = {}

    # -- requests

    def refuse(self, session: Session, vpn: str, entries: Mapping[str, Entry]) -> Forbidden | None:
        """Judge what a session publishes; None when all of it may be stored.

        Else nothing may be: what isn't permitted is withheld, and what the host said by the same id before goes with
        it; the rest of the request is as if it hadn't been asked for.
        """
        authorization = self.authorization
        if authorization is not None:
            refused = []
            for item_id, (prefix, _, attachment) in entries.items():
                verdict = authorization.judge(vpn, prefix, attachment)
                if verdict.reason:
                    refused.append((item_id, verdict.reason))
            if refused:
                return self._refused(session, vpn, entries, refused)
        if self.withheld:
            for item_id in entries:
                self._forget(session, vpn, item_id)
        session.notices.settle(vpn, entries)
        return None

    def _refused(
        self, session: Session, vpn: str, entries: Mapping[str, Entry], refused: list[tuple[str, str]]
    ) -> Forbidden:
        authorization = self.authorization
        assert authorization is not None
        repeated = True
        for item_id, reason in refused:
            ref, entry = (vpn, item_id), entries[item_id]
            before = self.withheld.get(ref)
            revoked = (
                self._rib.retract(vpn, item_id)
                or (before is not None and before.revoked)
                or authorization.permitted_once(vpn, entry.prefix, entry.attachment)
            )
            item = WithheldItem(
                session.host, session.number, entry.prefix, entry.path, entry.attachment, reason, revoked
            )
            repeated = repeated and item == before
            self._withhold(ref, item)
        session.notices.settle(vpn, [item_id for item_id, _ in refused])
        self.counters["refused"] += len(refused)
        item_id, reason = refused[0]
        more = f"; and {len(refused) - 1} more items" if len(refused) > 1 else ""
        return Forbidden(f"item {item_id}: {reason}{more}", repeated)

    def retract(self, session: Session, vpn: str, item_id: str) -> None:
        """The host retracts an item that was checked to be its own."""
        session.notices.settle(vpn, [item_id])
        if not self._rib.retract(vpn, item_id):
            self._forget(session, vpn, item_id)

    def session_ended(self, number: int) -> None:
        """Nobody is there any more to whom what the session published could matter."""
        for ref in self.withheld.of_session(number):
            self._drop(ref)

    def vpn_gone(self, vpn: str) -> set[int]:
        """A VPN is removed; numbers of the sessions that had items withheld in it."""
        refs = [ref for ref, _ in self.withheld.items() if ref[0] == vpn]
        return {item.session for ref in refs if (item := self._drop(ref)) is not None}

    def _forget(self, session: Session, vpn: str, item_id: str) -> None:
        self._drop((vpn, item_id))

    def _withhold(self, ref: ItemRef, item: WithheldItem) -> None:
        self.withheld.put(ref, item)
        self._mark(ref)

    def _drop(self, ref: ItemRef) -> WithheldItem | None:
        item = self.withheld.pop(ref)
        if item is not None:
            self._mark(ref)
        return item

    def _mark(self, ref: ItemRef) -> None:
        if self._rib.moves is not None:
            self._rib.moves[ref] = None

    # -- changes of the map

    def use(self, authorization: Authorization | None) -> None:
        """Judge by this from now on, and all items again by step()."""
        self.authorization = authorization
        self.judge_all()
        self._index = ItemIndex()
        if authorization is None:
            self._rib.moves = None
            self._touched.clear()
        else:
            self._rib.moves = dict(self._due)

    def learnt(self) -> None:
        """Attachments are known from now on, as far as regrant() has told."""
        if self.authorization is not None and not self.authorization.known:
            self.authorization.known = True
            self._due.update((ref, None) for ref, _ in self.withheld.items())

    def regrant(self, changes: Iterable[tuple[str, Grants]]) -> None:
        """Attachments are entitled to this from now on; items that this concerns are due. Items that name no attachment
        keep what went by it until release()."""
        if self.authorization is None:
            return
        self._follow()
        for attachment, grants in changes:
            places = self.authorization.grant(attachment, grants)
            self._due.update(dict.fromkeys(self._index.named(attachment)))
            for vpn, prefix in places:
                self._due.update(dict.fromkeys(self._index.unnamed_within(vpn, prefix)))

    def release(self, attachments: Iterable[str]) -> None:
        """Attachments let go of what they have lost; items without a name that this concerns are due."""
        if self.authorization is None:
            return
        self._follow()
        for attachment in attachments:
            for vpn, prefix in self.authorization.release(attachment):
                self._due.update(dict.fromkeys(self._index.unnamed_within(vpn, prefix)))

    def judge_all(self) -> None:
        """The authorization judges otherwise than before: all items are due."""
        self._due = dict.fromkeys(self._every())

    def _every(self) -> Iterator[ItemRef]:
        yield from ((vpn, item_id) for vpn in self._rib.tables for item_id, _ in self._rib.items(vpn))
        yield from (ref for ref, _ in self.withheld.items())

    def _follow(self) -> None:
        """Bring the index up to date."""
        moves = self._rib.moves
        if not moves:
            return
        self._rib.moves = {}
        for ref in moves:
            found = self.withheld.get(ref) or self._rib.item(*ref)
            if found is None:
                self._index.drop(ref)
            else:
                self._index.put(ref, found.attachment, found.prefix)
        self._touched.update(moves)

    @property
    def due(self) -> int:
        """Number of items to be judged again."""
        return len(self._due)

    def step(self, limit: int) -> int:
        """Judge at most so many of the items that are due; returns how many it were."""
        refs = list(islice(self._due, limit))
        for ref in refs:
            del self._due[ref]
            self._reconsider(ref)
        return len(refs)

    def _reconsider(self, ref: ItemRef) -> None:
        vpn, item_id = ref
        held = self.withheld.get(ref)
        if held is not None:
            reason = self._judge(vpn, held.prefix, held.attachment).reason
            if not reason:
                self._admit(ref, held)
            elif reason != held.reason:
                self._withhold(ref, held._replace(reason=reason))
                self._tell(held.session, NoticeKind.WITHHELD, ref, reason)
            return
        item = self._rib.item(vpn, item_id)
        if item is None:
            return
        reason = self._judge(vpn, item.prefix, item.attachment).reason
        if reason:
            self._withdraw(ref, item, reason)
        elif not item.attachment:
            # It may be put down to another attachment now.
            self._mark(ref)

    def _judge(self, vpn: str, prefix: Prefix, attachment: str) -> Verdict:
        if self.authorization is None:
            return Verdict("", attachment)
        return self.authorization.judge(vpn, prefix, attachment)

    def _admit(self, ref: ItemRef, held: WithheldItem) -> None:
        vpn, item_id = ref
        session = self._sessions(held.session)
        subscription = session.subscriptions.get(vpn) if session is not None else None
        instance = subscription.instance_id if subscription is not None else None
        self._drop(ref)
        self._rib.publish(
            vpn, held.host, item_id, held.prefix, held.path, held.session, instance, attachment=held.attachment
        )
        self.counters["admitted"] += 1
        self._decisions.append(Decision(held.host, vpn, item_id, held.attachment, ""))
        self._tell(held.session, NoticeKind.ADMITTED, ref)

    def _withdraw(self, ref: ItemRef, item: Item, reason: str) -> None:
        vpn, item_id = ref
        host = item.publisher.host
        number = self._rib.session(vpn, host, item_id)
        self._rib.retract(vpn, item_id)
        # Without a session nobody would tell us that the item is gone; a host that comes back publishes it again.
        if self._sessions(number) is not None:
            held = WithheldItem(host, number, item.prefix, item.path, item.attachment, reason, revoked=True)
            self._withhold(ref, held)
            self._tell(number, NoticeKind.WITHHELD, ref, reason)
        self.counters["withdrawn"] += 1
        self._decisions.append(Decision(host, vpn, item_id, item.attachment, reason))

    def _tell(self, number: int, kind: NoticeKind, ref: ItemRef, reason: str = "") -> None:
        session = self._sessions(number)
        if session is not None:
            session.notices.add(kind, *ref, reason)
            self._told[session] = None

    # -- for others

    def attribute(self, vpn: str, prefix: Prefix, attachment: str) -> str:
        """The attachment that an item is put down to: the named one, or the one that has the address; "" for none."""
        return self._judge(vpn, prefix, attachment).attachment

    @property
    def has_touched(self) -> bool:
        """Whether take_touched() has something."""
        return bool(self._touched or self._rib.moves)

    def take_touched(self) -> list[ItemRef]:
        """Items that came, went, became stale, withheld or another's since the last call."""
        self._follow()
        touched, self._touched = list(self._touched), {}
        return touched

    def take_told(self) -> dict[Session, None]:
        """Sessions that have got notices since the last call."""
        told, self._told = self._told, {}
        return told

    def take_decisions(self) -> list[Decision]:
        """What changes of the map have done since the last call."""
        decisions, self._decisions = self._decisions, []
        return decisions
