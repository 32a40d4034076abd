"""What a host has accepted, and what would be in conflict with that."""

from __future__ import annotations

import pytest

from agent.allocate import INSTANCE_IDS, Owner, Quarantined
from agent.attachment import Attached, Attachment, Phase, VpnRecord, parse_attach
from agent.inventory import Inventory
from agent.store import State
from runtime.errors import ExitCode, OperatorError


def inventory(state: State | None = None, label_count: int = 10) -> Inventory:
    return Inventory(state or State(), label_base=100, label_count=label_count, quarantine=300.0, table_base=10000)


def asked(name: str = "web", vpn: str = "blue", address: str = "10.1.1.1", tap: str = "tap0") -> Attachment:
    return parse_attach({"name": name, "vpn": vpn, "addresses": [address], "tap": tap}, "hv1")


def add(made: Inventory, attachment: Attachment, now: float = 0.0) -> Attached:
    accepted = made.accept(attachment, now)
    made.commit(accepted)
    return accepted.attached


def test_numbers_of_the_first_and_the_next_vpn() -> None:
    made = inventory()
    first = made.accept(asked(), 0.0)
    made.commit(first)
    assert (first.new_vpn, first.record.instance_id, first.record.table) == (True, 1, 10000)
    second = made.accept(asked("db", "blue", "10.1.1.2", "tap1"), 0.0)
    made.commit(second)
    assert (second.new_vpn, second.record) == (False, first.record)
    third = made.accept(asked("web-red", "red", "10.1.1.1", "tap2"), 0.0)
    assert (third.record.instance_id, third.record.table) == (2, 10001)
    assert third.record.device != first.record.device
    assert [attached.name for attached in made.members("blue")] == ["db", "web"]


@pytest.mark.parametrize(
    ("attachment", "why"),
    [
        (asked(address="10.1.1.9"), "exists with other parameters"),
        (asked("other", address="10.1.1.9"), "interface tap0 belongs to port web"),
        (asked("other", tap="tap1"), "10.1.1.1 in VPN blue belongs to port web"),
    ],
)
def test_conflicts(attachment: Attachment, why: str) -> None:
    made = inventory()
    add(made, asked())
    with pytest.raises(OperatorError) as caught:
        made.accept(attachment, 0.0)
    assert caught.value.code is ExitCode.CONFLICT
    assert why in caught.value.why
    assert caught.value.hint


def test_what_is_refused_costs_no_label() -> None:
    made = inventory(label_count=2)
    add(made, asked())
    with pytest.raises(OperatorError):
        made.accept(asked("other", tap="tap1"), 0.0)
    assert made.labels.used == 1
    accepted = made.accept(asked("other", address="10.1.1.2", tap="tap1"), 0.0)
    made.abandon(accepted)
    assert made.labels.used == 1
    assert made.accept(asked("other", address="10.1.1.2", tap="tap1"), 1.0).attached.label == accepted.attached.label


def test_labels_used_up() -> None:
    made = inventory(label_count=1)
    add(made, asked())
    with pytest.raises(OperatorError) as caught:
        made.accept(asked("other", address="10.1.1.2", tap="tap1"), 0.0)
    assert caught.value.code is ExitCode.CONFLICT


def test_removed_and_attached_again() -> None:
    made = inventory()
    first = add(made, asked())
    assert made.detaching("web").phase is Phase.DETACHING
    quarantined, expired = made.resting("web", 50.0)
    assert (quarantined, expired) == (Quarantined(100, Owner("web", "blue"), 50.0), [])
    assert made.get("web") is not None and made.labels.used == 1, "it isn't durable yet"
    made.remove(quarantined)
    assert (made.get("web"), made.labels.used, made.labels.resting) == (None, 0, 1)
    assert made.joined() == []
    again = made.accept(asked(), 60.0)
    assert again.attached.label == first.label
    assert not again.new_vpn, "a VPN keeps its numbers"


def test_state_of_an_earlier_run() -> None:
    record = VpnRecord("blue", 7, 10006, "vw-blue")
    rest = Quarantined(100, Owner("old", "blue"), 0.0)
    made = inventory(State((record,), (Attached(asked(), 101),), (rest,)))
    assert made.vpn("blue") == record
    found = made.get("web")
    assert found is not None and found.label == 101
    assert made.accept(asked("new", "red", tap="tap1"), 0.0).record.instance_id == 1
    assert made.accept(asked("old", address="10.1.1.3", tap="tap2"), 0.0).attached.label == 100


def test_a_vpn_without_ports_gives_up_its_numbers_when_there_are_no_others() -> None:
    records = tuple(
        VpnRecord(f"v{number}", number, 10000 + index, f"vw-{number}") for index, number in enumerate(INSTANCE_IDS)
    )
    made = inventory(State(records, (Attached(asked(vpn="v1"), 101),)))
    accepted = made.accept(asked("new", "red", tap="tap1"), 0.0)
    assert (accepted.forget, accepted.record.instance_id) == ("v2", 2)
    made.commit(accepted)
    assert made.vpn("v2") is None
