"""What a gateway is told, in which order, and what becomes of its answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.requests import Announced, Ask, Offer, Refusal, Request, Settled
from agent.signaling import MAX_ITEMS, Signaling
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address

HOST = parse_address("192.0.2.11")
P1, P2 = Prefix.parse("10.1.1.1/32"), Prefix.parse("10.1.1.2/32")
NOT_FOUND = Refusal("item-not-found", "no such VPN")
FORBIDDEN = Refusal("forbidden", "not bound")
BUSY = Refusal("internal-server-error", "try again")


def path(label: int = 100) -> Path:
    return Path((NextHop(HOST, label),))


def connected(*vpns: str) -> Signaling:
    signaling = Signaling()
    for number, name in enumerate(vpns, 1):
        signaling.join(name, number)
    signaling.session_started()
    return signaling


def asked(requests: list[Request]) -> list[tuple[Ask, str]]:
    return [(request.ask, request.vpn) for request in requests]


def accept(signaling: Signaling, requests: list[Request]) -> list[Settled]:
    return [signaling.answered(request, None) for request in requests]


def test_nothing_is_sent_without_a_session() -> None:
    signaling = Signaling()
    signaling.join("blue", 1)
    signaling.announce("blue", P1, path())
    assert signaling.next_requests() == []


def test_subscriptions_one_barrier_then_items() -> None:
    signaling = connected("blue", "red")
    signaling.announce("blue", P1, path())
    requests = signaling.next_requests()
    assert asked(requests) == [
        (Ask.SUBSCRIBE, "blue"),
        (Ask.SUBSCRIBE, "red"),
        (Ask.BARRIER, ""),
        (Ask.PUBLISH, "blue"),
    ]
    assert requests[2].vpns == ("blue", "red")
    assert (requests[0].instance_id, requests[1].instance_id) == (1, 2)
    assert signaling.next_requests() == []
    assert not signaling.synchronised("blue")
    assert accept(signaling, requests)[2].tables == ("blue", "red")
    assert signaling.synchronised("blue")
    assert signaling.announced("blue", P1) == (Announced.YES, None)


def test_a_refused_subscription_ends_no_table() -> None:
    signaling = connected("blue", "red")
    blue, red, barrier = signaling.next_requests()
    signaling.answered(blue, NOT_FOUND)
    signaling.answered(red, None)
    assert signaling.answered(barrier, None).tables == ("red",)
    assert signaling.vpn_refusal("blue") == NOT_FOUND
    assert signaling.next_requests() == []
    signaling.retry_refused()
    assert asked(signaling.next_requests()) == [(Ask.SUBSCRIBE, "blue"), (Ask.BARRIER, "")]


def test_a_refused_item_is_kept_with_the_reason_and_tried_again() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    (publish,) = signaling.next_requests()
    signaling.answered(publish, NOT_FOUND)
    assert signaling.announced("blue", P1) == (Announced.REFUSED, NOT_FOUND)
    assert signaling.refusals == [("blue", P1, NOT_FOUND)]
    assert signaling.next_requests() == []
    signaling.retry_refused()
    accept(signaling, signaling.next_requests())
    assert signaling.announced("blue", P1) == (Announced.YES, None)


def test_a_batch_refused_as_a_whole_is_asked_one_by_one() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    signaling.announce("blue", P2, path())
    (batch,) = signaling.next_requests()
    assert len(batch.items) == 2
    assert signaling.answered(batch, Refusal("not-acceptable")) == Settled()
    first, second = signaling.next_requests()
    assert [len(request.items) for request in (first, second)] == [1, 1]
    signaling.answered(first, None)
    signaling.answered(second, Refusal("forbidden"))
    assert signaling.announced("blue", P1)[0] is Announced.YES
    assert signaling.announced("blue", P2)[0] is Announced.REFUSED


def test_many_items_go_in_several_requests() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    for number in range(2 * MAX_ITEMS + 1):
        signaling.announce("blue", Prefix(bytes((10, 0, number >> 8, number & 255)), 32), path())
    assert [len(request.items) for request in signaling.next_requests()] == [MAX_ITEMS, MAX_ITEMS, 1]


def test_a_change_while_the_answer_is_under_way_is_sent_after_it() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path(100))
    (first,) = signaling.next_requests()
    signaling.announce("blue", P1, path(101))
    assert signaling.next_requests() == []
    signaling.answered(first, None)
    assert signaling.announced("blue", P1)[0] is Announced.NO
    (second,) = signaling.next_requests()
    assert second.items == ((P1, Offer(path(101))),)
    signaling.answered(second, None)
    signaling.withdraw("blue", P1)
    (third,) = signaling.next_requests()
    assert (third.ask, third.items) == (Ask.RETRACT, ((P1, None),))
    assert not signaling.withdrawn("blue", P1)
    signaling.answered(third, Refusal("item-not-found"))
    assert signaling.withdrawn("blue", P1)


def test_withdrawn_before_it_was_sent_is_never_sent() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    signaling.withdraw("blue", P1)
    assert signaling.withdrawn("blue", P1)
    assert signaling.next_requests() == []


def test_what_was_refused_is_withdrawn_at_once() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    (publish,) = signaling.next_requests()
    signaling.answered(publish, NOT_FOUND)
    signaling.withdraw("blue", P1)
    assert signaling.withdrawn("blue", P1)
    assert signaling.next_requests() == []


def test_leaving_retracts_and_unsubscribes() -> None:
    signaling = connected("blue")
    signaling.announce("blue", P1, path())
    accept(signaling, signaling.next_requests())
    signaling.leave("blue")
    requests = signaling.next_requests()
    assert asked(requests) == [(Ask.RETRACT, "blue"), (Ask.UNSUBSCRIBE, "blue")]
    accept(signaling, requests)
    assert signaling.joined == ()
    assert signaling.next_requests() == []


def test_left_and_joined_in_one_turn_asks_for_the_table_again() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.leave("blue")
    signaling.join("blue", 1)
    requests = signaling.next_requests()
    assert Ask.SUBSCRIBE in [request.ask for request in requests]


def test_a_new_session_is_told_everything_again() -> None:
    signaling = connected("blue")
    signaling.announce("blue", P1, path())
    signaling.announce("blue", P2, path())
    accept(signaling, signaling.next_requests())
    signaling.session_ended()
    assert signaling.announced("blue", P1)[0] is Announced.NO
    signaling.withdraw("blue", P2)
    signaling.session_started()
    requests = signaling.next_requests()
    assert asked(requests) == [
        (Ask.SUBSCRIBE, "blue"),
        (Ask.BARRIER, ""),
        (Ask.RETRACT, "blue"),
        (Ask.PUBLISH, "blue"),
    ]


def test_what_was_under_way_when_the_session_ended_may_be_there() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    signaling.next_requests()
    signaling.session_ended()
    signaling.withdraw("blue", P1)
    signaling.leave("blue")
    signaling.session_started()
    requests = signaling.next_requests()
    assert asked(requests) == [(Ask.RETRACT, "blue")]
    accept(signaling, requests)
    assert signaling.next_requests() == []


def test_what_was_withdrawn_while_it_was_under_way_and_then_refused_is_over() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    (publish,) = signaling.next_requests()
    signaling.withdraw("blue", P1)
    signaling.answered(publish, NOT_FOUND)
    assert signaling.withdrawn("blue", P1)
    assert signaling.next_requests() == []


def test_a_recalled_item_is_retracted() -> None:
    signaling = Signaling()
    signaling.recall("blue", 1, P1)
    signaling.session_started()
    requests = signaling.next_requests()
    assert requests == [Request(Ask.RETRACT, "blue", 1, ((P1, None),))]
    accept(signaling, requests)
    signaling.session_ended()
    signaling.session_started()
    assert signaling.next_requests() == []


def published(signaling: Signaling, *prefixes: Prefix) -> None:
    for prefix in prefixes:
        signaling.announce("blue", prefix, path())
    accept(signaling, signaling.next_requests())


def test_what_is_withheld_is_refused_until_it_is_admitted() -> None:
    signaling = connected("blue")
    published(signaling, P1, P2)
    assert signaling.withheld("blue", [P1], "not bound") == Settled((("blue", P1),))
    assert signaling.announced("blue", P1) == (Announced.REFUSED, Refusal("forbidden", "not bound"))
    assert signaling.announced("blue", P2)[0] is Announced.YES
    assert signaling.next_requests() == []
    assert signaling.admitted("blue", [P1]) == Settled((("blue", P1),))
    assert signaling.announced("blue", P1) == (Announced.YES, None)
    assert signaling.next_requests() == []


def test_what_a_gateway_forbids_it_remembers_so_that_it_is_retracted() -> None:
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    signaling.announce("blue", P1, path())
    (request,) = signaling.next_requests()
    signaling.answered(request, FORBIDDEN)
    signaling.withdraw("blue", P1)
    assert not signaling.withdrawn("blue", P1)
    (request,) = signaling.next_requests()
    assert request.ask is Ask.RETRACT
    signaling.answered(request, None)
    assert signaling.withdrawn("blue", P1)


def test_an_answer_is_newer_than_a_notice_before_it() -> None:
    signaling = connected("blue")
    published(signaling, P1)
    signaling.withheld("blue", [P1], "not bound")
    signaling.announce("blue", P1, path(101))
    (request,) = signaling.next_requests()
    assert signaling.admitted("blue", [P1]) == Settled()
    signaling.answered(request, FORBIDDEN)
    assert signaling.announced("blue", P1)[0] is Announced.REFUSED
    signaling.admitted("blue", [P1])
    assert signaling.announced("blue", P1)[0] is Announced.YES


def test_notices_of_what_is_not_wanted_change_nothing() -> None:
    signaling = connected("blue")
    published(signaling, P1)
    signaling.withdraw("blue", P1)
    assert signaling.withheld("blue", [P1, P2], "why") == signaling.withheld("green", [P1], "why") == Settled()
    signaling.deleted("green")
    signaling.available("green")
    assert asked(signaling.next_requests()) == [(Ask.RETRACT, "blue")]


def test_a_vpn_that_was_deleted_is_asked_for_when_it_is_available() -> None:
    signaling = connected("blue", "red")
    published(signaling, P1)
    signaling.deleted("blue")
    assert not signaling.synchronised("blue") and signaling.synchronised("red")
    assert signaling.announced("blue", P1)[0] is Announced.REFUSED
    assert signaling.next_requests() == []
    signaling.available("blue")
    assert asked(signaling.next_requests()) == [(Ask.SUBSCRIBE, "blue"), (Ask.BARRIER, ""), (Ask.PUBLISH, "blue")]


def test_a_vpn_that_was_deleted_can_be_left() -> None:
    signaling = connected("blue")
    published(signaling, P1)
    signaling.deleted("blue")
    signaling.leave("blue")
    assert signaling.next_requests() == [] and signaling.withdrawn("blue", P1)


def test_what_is_being_withdrawn_is_gone_with_its_vpn() -> None:
    """At once: whoever waits for it is told of the deletion, and of nothing after it."""
    signaling = connected("blue")
    published(signaling, P1, P2)
    signaling.withdraw("blue", P1)
    (retract,) = signaling.next_requests()
    signaling.answered(retract, BUSY)
    signaling.withdraw("blue", P2)
    assert signaling.held == 2
    signaling.deleted("blue")
    assert signaling.held == 0 and signaling.withdrawn("blue", P1) and signaling.withdrawn("blue", P2)
    assert signaling.next_requests() == []


def test_a_retraction_refused_as_a_whole_is_asked_item_by_item() -> None:
    """A gateway that lacks one of the items takes none of them away."""
    signaling = connected("blue")
    accept(signaling, signaling.next_requests())
    for prefix in (P1, P2):
        signaling.recall("blue", 1, prefix)
    (both,) = signaling.next_requests()
    assert len(both.items) == 2
    signaling.answered(both, NOT_FOUND)
    assert signaling.held == 2 and not signaling.withdrawn("blue", P1)
    first, second = signaling.next_requests()
    assert [request.items for request in (first, second)] == [((P1, None),), ((P2, None),)]
    signaling.answered(first, NOT_FOUND)
    assert signaling.withdrawn("blue", P1) and not signaling.withdrawn("blue", P2)
    signaling.answered(second, None)
    assert signaling.held == 0 and signaling.withdrawn("blue", P2)


def test_a_gateway_that_cannot_retract_at_present_is_asked_again() -> None:
    signaling = connected("blue")
    published(signaling, P1)
    signaling.leave("blue")
    for _ in range(2):
        retract = signaling.next_requests()[0]
        assert retract.ask is Ask.RETRACT
        signaling.answered(retract, BUSY)
        assert not signaling.withdrawn("blue", P1), "nothing was confirmed"
        assert signaling.next_requests() == []
        signaling.retry_refused()
    accept(signaling, signaling.next_requests())
    assert signaling.withdrawn("blue", P1)
    assert signaling.joined == () and signaling.held == 0


def whole(*prefixes: Prefix) -> Signaling:
    """A session that is all about blue, nothing of it sent yet."""
    signaling = connected("blue")
    for prefix in prefixes:
        signaling.announce("blue", prefix, path())
    signaling.complete("blue", True)
    return signaling


def test_the_end_of_items_follows_the_last_answer() -> None:
    signaling = whole(P1, P2)
    requests = signaling.next_requests()
    assert Ask.END_OF_ITEMS not in [request.ask for request in requests], "nothing is answered yet"
    accept(signaling, requests)
    (mark,) = signaling.next_requests()
    assert (mark.ask, mark.vpn) == (Ask.END_OF_ITEMS, "blue")
    assert signaling.next_requests() == []
    assert signaling.answered(mark, None) == Settled()
    signaling.announce("blue", P1, path(101))
    accept(signaling, signaling.next_requests())
    assert signaling.next_requests() == [], "once in a session"
    signaling.session_ended()
    signaling.session_started()
    accept(signaling, signaling.next_requests())
    assert asked(signaling.next_requests()) == [(Ask.END_OF_ITEMS, "blue")]


def test_without_word_that_all_is_there_no_end_of_items_is_said() -> None:
    signaling = connected("blue")
    published(signaling, P1)
    assert signaling.next_requests() == []
    signaling.complete("blue", True)
    signaling.complete("blue", False)
    signaling.complete("red", True)
    assert signaling.next_requests() == []
    signaling.complete("blue", True)
    assert asked(signaling.next_requests()) == [(Ask.END_OF_ITEMS, "blue")]


def test_no_end_of_items_while_one_of_them_is_refused_or_under_way() -> None:
    signaling = whole(P1, P2)
    subscribe, barrier, batch = signaling.next_requests()
    for request in (subscribe, barrier):
        signaling.answered(request, None)
    signaling.answered(batch, BUSY)
    first, second = signaling.next_requests()
    signaling.answered(first, None)
    assert signaling.next_requests() == [], "the second one is under way"
    signaling.answered(second, BUSY)
    assert signaling.next_requests() == [], "what the gateway has of it from before is all there is"
    signaling.retry_refused()
    accept(signaling, signaling.next_requests())
    assert asked(signaling.next_requests()) == [(Ask.END_OF_ITEMS, "blue")]


def test_what_policy_forbids_holds_back_no_end_of_items() -> None:
    signaling = whole(P1)
    for request in signaling.next_requests():
        signaling.answered(request, FORBIDDEN if request.items else None)
    assert asked(signaling.next_requests()) == [(Ask.END_OF_ITEMS, "blue")]


def test_a_server_that_knows_no_end_of_items_hears_it_once_a_session() -> None:
    signaling = connected("blue", "red")
    accept(signaling, signaling.next_requests())
    signaling.announce("red", P1, path())
    for name in ("blue", "red"):
        signaling.complete(name, True)
    mark, publish = signaling.next_requests()
    assert (mark.ask, mark.vpn) == (Ask.END_OF_ITEMS, "blue")
    signaling.answered(mark, Refusal("service-unavailable"))
    signaling.answered(publish, None)
    assert signaling.next_requests() == []
    signaling.session_started()
    accept(signaling, signaling.next_requests())
    assert (Ask.END_OF_ITEMS, "red") in asked(signaling.next_requests()), "the next session may be with another server"


def test_a_refusal_of_one_vpn_is_no_refusal_of_all_marks() -> None:
    signaling = connected("blue", "red")
    accept(signaling, signaling.next_requests())
    signaling.complete("blue", True)
    (mark,) = signaling.next_requests()
    signaling.answered(mark, NOT_FOUND)
    signaling.complete("red", True)
    assert asked(signaling.next_requests()) == [(Ask.END_OF_ITEMS, "red")]


class Gateway:
    """What a gateway makes of requests; it can lose the connection at any moment, refuse, and forbid."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, Prefix], Path] = {}
        self.withheld: dict[tuple[str, Prefix], Path] = {}
        self.forbidden: set[tuple[str, Prefix]] = set()
        self.subscribed: set[str] = set()
        self.stale: set[tuple[str, Prefix]] = set()

    def session_ended(self) -> None:
        self.stale.update(self.items)

    def serve(self, request: Request) -> Refusal | None:
        match request.ask:
            case Ask.SUBSCRIBE:
                self.subscribed.add(request.vpn)
            case Ask.UNSUBSCRIBE:
                self.subscribed.discard(request.vpn)
            case Ask.PUBLISH:
                offers = {(request.vpn, prefix): offer.path for prefix, offer in request.items if offer is not None}
                if self.forbidden & offers.keys():
                    if len(offers) == 1:
                        (key,) = offers
                        self.items.pop(key, None)
                        self.stale.discard(key)
                        self.withheld.update(offers)
                    return FORBIDDEN
                for key, value in offers.items():
                    self.withheld.pop(key, None)
                    self.items[key] = value
                    self.stale.discard(key)
            case Ask.END_OF_ITEMS:
                for key in [key for key in self.stale if key[0] == request.vpn]:
                    self.items.pop(key)
                    self.stale.discard(key)
            case Ask.RETRACT:
                keys = {(request.vpn, prefix) for prefix, _ in request.items}
                if not keys <= self.items.keys() | self.withheld.keys():
                    return NOT_FOUND
                for key in keys:
                    self.items.pop(key, None)
                    self.withheld.pop(key, None)
                    self.stale.discard(key)
        return None

    def forbid(self, signaling: Signaling, name: str, prefix: Prefix) -> None:
        self.forbidden.add((name, prefix))
        if (name, prefix) in self.items:
            self.withheld[name, prefix] = self.items.pop((name, prefix))
            self.stale.discard((name, prefix))
            if signaling.connected:
                signaling.withheld(name, [prefix], "not bound")

    def permit(self, signaling: Signaling, name: str, prefix: Prefix) -> None:
        self.forbidden.discard((name, prefix))
        if (name, prefix) in self.withheld:
            self.items[name, prefix] = self.withheld.pop((name, prefix))
            if signaling.connected:
                signaling.admitted(name, [prefix])


NAMES, PREFIXES = st.sampled_from(["blue", "red"]), st.sampled_from([P1, P2])
SESSION = st.sampled_from(["up", "down", "send", "answer", "refuse", "busy", "retry"])
STEPS = st.one_of(
    st.tuples(st.just("announce"), NAMES, PREFIXES, st.integers(100, 102)),
    st.tuples(st.sampled_from(["withdraw", "forbid", "permit"]), NAMES, PREFIXES, st.just(0)),
    st.tuples(st.just("leave"), NAMES, st.just(P1), st.just(0)),
    st.tuples(st.just("complete"), NAMES, st.just(P1), st.integers(0, 1)),
    st.tuples(SESSION, st.just(""), st.just(P1), st.just(0)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(STEPS, max_size=50))
def test_a_gateway_that_answers_ends_up_with_what_is_wanted(steps: list[tuple[str, str, Prefix, int]]) -> None:
    signaling, gateway = Signaling(), Gateway()
    wanted: dict[tuple[str, Prefix], Path] = {}
    joined: set[str] = set()
    complete: set[str] = set()
    waiting: list[Request] = []

    def check_marks(requests: list[Request]) -> None:
        for request in requests:
            if request.ask is Ask.END_OF_ITEMS:
                vpn = request.vpn
                assert vpn in complete
                fresh = {key: value for key, value in gateway.items.items() if key not in gateway.stale}
                for key, value in wanted.items():
                    assert key[0] != vpn or key in gateway.forbidden or fresh.get(key) == value, "it would be lost"

    for action, name, prefix, label in steps:
        if action == "announce":
            signaling.join(name, 1)
            joined.add(name)
            signaling.announce(name, prefix, path(label))
            wanted[name, prefix] = path(label)
        elif action == "withdraw":
            signaling.withdraw(name, prefix)
            wanted.pop((name, prefix), None)
        elif action == "leave":
            signaling.leave(name)
            joined.discard(name)
            complete.discard(name)
            wanted = {key: value for key, value in wanted.items() if key[0] != name}
        elif action == "up" and not signaling.connected:
            gateway.subscribed.clear()
            signaling.session_started()
        elif action == "down" and signaling.connected:
            # Half of what was under way has arrived.
            for request in waiting[: len(waiting) // 2]:
                gateway.serve(request)
            waiting.clear()
            gateway.session_ended()
            signaling.session_ended()
        elif action == "complete":
            signaling.complete(name, bool(label))
            complete -= {name}
            if label and name in joined:
                complete.add(name)
        elif action == "send":
            requests = signaling.next_requests()
            check_marks(requests)
            waiting += requests
        elif action == "answer" and waiting:
            request = waiting.pop(0)
            signaling.answered(request, gateway.serve(request))
        elif action == "forbid":
            gateway.forbid(signaling, name, prefix)
        elif action == "permit":
            gateway.permit(signaling, name, prefix)
        elif action == "refuse" and waiting:
            request = waiting.pop(0)
            if request.ask in (Ask.RETRACT, Ask.UNSUBSCRIBE):
                # Refused because there is nothing of it; what is there, a gateway takes away.
                gateway.serve(request)
            signaling.answered(request, NOT_FOUND)
        elif action == "busy" and waiting:
            signaling.answered(waiting.pop(0), BUSY)
        elif action == "retry":
            signaling.retry_refused()
    if not signaling.connected:
        gateway.subscribed.clear()
        signaling.session_started()
    for _ in range(20):
        signaling.retry_refused()
        requests = signaling.next_requests()
        check_marks(requests)
        waiting += requests
        for request in waiting:
            signaling.answered(request, gateway.serve(request))
        waiting.clear()
    assert gateway.items == {key: value for key, value in wanted.items() if key not in gateway.forbidden}
    assert gateway.withheld == {key: value for key, value in wanted.items() if key in gateway.forbidden}
    for key in wanted:
        forbidden = key in gateway.forbidden
        assert signaling.announced(*key)[0] is (Announced.REFUSED if forbidden else Announced.YES)
    assert gateway.subscribed == joined
    marks = signaling.next_requests()
    assert {request.ask for request in marks} <= {Ask.END_OF_ITEMS}, "held up by what was asked again and again"
    check_marks(marks)
    accept(signaling, marks)
    assert signaling.next_requests() == []
    assert signaling.held == len(wanted)


def test_what_is_being_withdrawn_is_not_announced() -> None:
    """Wanted again meanwhile: the gateway has, or will have, nothing until it is published once more."""
    signaling = connected("blue")
    signaling.announce("blue", P1, path())
    accept(signaling, signaling.next_requests())
    signaling.withdraw("blue", P1)
    (retract,) = (request for request in signaling.next_requests() if request.ask is Ask.RETRACT)
    signaling.announce("blue", P1, path())
    assert signaling.announced("blue", P1) == (Announced.NO, None)
    signaling.answered(retract, None)
    assert signaling.announced("blue", P1) == (Announced.NO, None)
    accept(signaling, signaling.next_requests())
    assert signaling.announced("blue", P1) == (Announced.YES, None)
