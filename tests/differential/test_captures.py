"""What real daemons have sent is read as what they said, by us, by tshark and by the libraries.

tests/differential/capture.py has recorded it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from bgp.attributes import Attributes
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.message import EXTENDED_MAX_LENGTH, MessageType
from bgp.nlri import rtc_key, unpack_labels, vpn_key
from bgp.update import Unreach, Update, UpdateDecoder
from tests.differential import meaning as of
from tests.differential.capture import FOLDER, GONE, OWN, SAID, SPEAKERS, targets
from tests.differential.oracle import Agreement, Oracle
from tests.differential.oracles.common import Meaning, pack_address
from tests.differential.quirks import ANYTHING, READS, TSHARK_READS, Said, agrees, expected
from tests.differential.tshark import dissect
from vpn.community import RouteDistinguisher
from vpn.prefix import Prefix, parse_address

REFLECTING = [name for name in SPEAKERS if name != "exabgp"]


@dataclass(frozen=True)
class Capture:
    """What one daemon sent."""

    speaker: str
    agreement: Agreement
    messages: list[bytes]

    def meanings(self) -> list[Meaning]:
        """As our codec reads it."""
        decoder = UpdateDecoder(self.agreement.options)
        return [of.of_message(message, self.agreement, decoder) for message in self.messages]

    def announced(self) -> dict[bytes, tuple[Attributes, bytes, tuple[int, ...]]]:
        """Attributes, next hop and labels of everything that was ever announced, by key; the last word counts."""
        found = {}
        for update in self.updates():
            if update.reach is not None and update.attributes is not None:
                for key, labels in update.reach.routes:
                    found[key] = (update.attributes, update.reach.next_hop, unpack_labels(labels))
        return found

    def updates(self) -> list[Update]:
        """The UPDATEs, none of them with anything wrong in it."""
        decoder = UpdateDecoder(self.agreement.options)
        found = [decoder.decode(message[19:]) for message in self.messages if message[18] == MessageType.UPDATE]
        assert not any(update.problems for update in found)
        return found


def load(name: str) -> Capture:
    """A capture by the name of its file."""
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    families = tuple(Family(*family) for family in found["families"])
    messages = [bytes.fromhex(message) for message in found["messages"]]
    return Capture(found["speaker"], Agreement(families, max_length=EXTENDED_MAX_LENGTH), messages)


def test_every_speaker_has_a_capture() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SPEAKERS)


@pytest.mark.parametrize("name", SPEAKERS)
def test_it_begins_with_an_open(name: str) -> None:
    capture = load(name)
    opened, *rest = capture.meanings()
    assert (opened["kind"], opened["my_as"], opened["router_id"]) == ("open", 64512, "127.0.0.11")
    said = opened["capabilities"]
    assert [list(family) for family in capture.agreement.families] == [one for one in said["1"] if one != [1, 1]]
    assert said["65"] == 64512 and said["2"] is True
    assert not any("malformed" in one for one in rest)


@pytest.mark.parametrize("name", [name for name in SPEAKERS if name != "openbgpd"])
def test_its_own_routes(name: str) -> None:
    announced = load(name).announced()
    for one in OWN:
        key = vpn_key(RouteDistinguisher.parse(one.rd), Prefix.parse(one.prefix))
        attributes, next_hop, labels = announced[key]
        assert labels == (one.label,)
        assert attributes.route_targets == targets(*one.targets)
        assert next_hop[-4:] == parse_address(one.next_hop)[-4:]


@pytest.mark.parametrize("name", REFLECTING)
def test_what_it_reflects(name: str) -> None:
    announced = load(name).announced()
    source, daemon = pack_address("127.0.0.15"), pack_address("127.0.0.11")
    for _, attributes, next_hop, routes in SAID:
        wanted = replace(attributes, originator_id=source, cluster_list=(daemon,))
        for key, labels in routes:
            got = announced[key]
            # FRR gives a route without MED one of 0.
            assert replace(got[0], med=wanted.med if got[0].med == 0 else got[0].med) == wanted
            assert got[1:] == (next_hop, unpack_labels(labels))


@pytest.mark.parametrize("name", [name for name in REFLECTING if name != "openbgpd"])
def test_what_it_withdraws(name: str) -> None:
    withdrawn = [one for update in load(name).updates() for one in update.unreach]
    assert Unreach(VPNV4, [vpn_key(*GONE)]) in withdrawn


def test_ends_of_rib() -> None:
    for name in SPEAKERS:
        ends = [update.end_of_rib for update in load(name).updates() if update.end_of_rib is not None]
        assert {VPNV4, VPNV6} <= set(ends), name


def test_memberships() -> None:
    """GoBGP reflects the source's membership in everything."""
    capture = load("gobgp")
    assert RTC in capture.agreement.families
    assert rtc_key(None) in capture.announced()


@pytest.mark.parametrize("name", SPEAKERS)
def test_libraries_read_the_same(oracle: Oracle, name: str) -> None:
    capture = load(name)
    for meaning, message in zip(capture.meanings(), capture.messages, strict=True):
        wanted = expected(Said(meaning, capture.agreement, message), READS[oracle.name])
        got = oracle.decode(message, capture.agreement)
        assert agrees(of.canonical(got), of.canonical(wanted)), (got, wanted)


@pytest.mark.parametrize("name", SPEAKERS)
def test_tshark_reads_the_same(name: str) -> None:
    capture = load(name)
    said = [
        Said(meaning, capture.agreement, message)
        for meaning, message in zip(capture.meanings(), capture.messages, strict=True)
    ]
    for one, (got, complaints) in zip(said, dissect(capture.messages, four_octet_as=True), strict=True):
        wanted = expected(one, TSHARK_READS)
        if wanted is ANYTHING:
            continue
        assert not complaints, one
        assert agrees(of.canonical(got), of.canonical(wanted)), (got, wanted)
