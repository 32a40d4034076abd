"""What the lab writes for other BGP speakers, and how it reads what they print."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from lab.speakers.base import Announcement, Neighbour, Received, converse, plain
from lab.speakers.bird import Bird, read_routes
from lab.speakers.frr import Frr

ROUTES = [
    Announcement("64512:11", "10.11.0.0/24", 1011, ("64512:1", "64512:2"), "192.0.2.11"),
    Announcement("192.0.2.7:3", "2001:db8:11::/64", 1012, ("64512:1",), "192.0.2.11"),
    Announcement("192.0.2.7:3", "2001:db8:12::/64", 1013, ("64512:1",), "2001:db8:ffff::1"),
]
NEIGHBOURS = [
    Neighbour("127.0.0.12", client=True, password="s3cret", graceful_restart=True, restart_time=33, max_prefixes=7),
    Neighbour("127.0.0.13", asn=64513, passive=True, hold_time=12, families=("vpnv4",)),
    Neighbour("2001:db8::12", ttl_security=1, families=("vpnv6",)),
]


def frr(directory: Path) -> Frr:
    return Frr("one", directory, "127.0.0.11", NEIGHBOURS, ROUTES, address6="2001:db8::11", cluster_id="9.9.9.9")


def bird(directory: Path) -> Bird:
    return Bird("one", directory, "127.0.0.11", NEIGHBOURS, ROUTES, address6="2001:db8::11", cluster_id="9.9.9.9")


def lines(text: str, about: str) -> list[str]:
    """Lines about a neighbour, without its name."""
    return [line.split(about)[1].strip() for line in text.splitlines() if line.strip().startswith(f"neighbor {about} ")]


def test_frr_neighbours(tmp_path: Path) -> None:
    text = frr(tmp_path).config()
    assert lines(text, "127.0.0.12") == [
        *("remote-as 64512", "port 1790", "timers 3 9", "timers connect 1", "update-source 127.0.0.11"),
        "password s3cret",
        *("activate", "send-community both", "route-reflector-client", "maximum-prefix 7") * 2,
    ]
    assert lines(text, "127.0.0.13") == [
        *("remote-as 64513", "port 1790", "timers 4 12", "timers connect 1", "update-source 127.0.0.11"),
        *("ebgp-multihop 64", "passive", "activate", "send-community both", "attribute-unchanged next-hop"),
    ]
    assert lines(text, "2001:db8::12")[4:] == [
        *("update-source 2001:db8::11", "ttl-security hops 1", "activate", "send-community both")
    ]
    assert " bgp cluster-id 9.9.9.9\n bgp graceful-restart\n bgp graceful-restart restart-time 33\n" in text


def test_frr_waits_for_its_neighbours_after_a_start_if_told_so(tmp_path: Path) -> None:
    speaker = frr(tmp_path)
    assert "update-delay" not in speaker.config()
    assert " bgp graceful-restart select-defer-time 10\n" in speaker.config()
    speaker.update_delay, speaker.select_defer_time = 15, 0
    assert " bgp graceful-restart select-defer-time 0\n update-delay 15\n" in speaker.config()


def test_frr_makes_route_maps_before_they_are_used(tmp_path: Path) -> None:
    text = frr(tmp_path).config()
    name = "RM-64512.1-64512.2-192.0.2.11"
    defined = (
        f"route-map {name} permit 10\nset extcommunity rt 64512:1 64512:2\nset ipv4 vpn next-hop 192.0.2.11\n"
        "set ipv6 vpn next-hop ::ffff:192.0.2.11\n"
    )
    assert defined in text
    assert f"network 10.11.0.0/24 rd 64512:11 label 1011 route-map {name}\n" in text.split(defined)[1]
    assert "set ipv6 vpn next-hop 2001:db8:ffff::1\n" in text


def test_frr_originates_no_encapsulation(tmp_path: Path) -> None:
    route = Announcement("64512:1", "10.0.0.0/8", 16, (), "192.0.2.1", encapsulations=(2,))
    with pytest.raises(ValueError, match="encapsulation"):
        Frr("one", tmp_path, "127.0.0.11", [], [route]).config()


def test_an_ipv6_neighbour_needs_an_ipv6_address(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no IPv6 address"):
        Frr("one", tmp_path, "127.0.0.11", [Neighbour("2001:db8::1")]).config()


def test_configuration_files_are_private(tmp_path: Path) -> None:
    speaker = frr(tmp_path)
    speaker.write_config()
    assert speaker.config_file.stat().st_mode & 0o077 == 0


def test_bird_neighbours(tmp_path: Path) -> None:
    text = bird(tmp_path).config()
    client, external, near = text.split("protocol bgp ")[1:]
    assert 'password "s3cret";' in client and "rr client; rr cluster id 9.9.9.9;" in client
    assert "graceful restart on; graceful restart time 33;" in client and "receive limit 7 action disable;" in client
    assert "neighbor 127.0.0.13 port 1790 as 64513;" in external and "passive on;" in external
    assert "hold time 12; keepalive time 4;" in external and "next hop keep;" in external and "vpn6" not in external
    assert "local 2001:db8::11 port 1790" in near and "multihop 1; ttl security on;" in near
    with pytest.raises(ValueError, match="rtc"):
        Bird("one", tmp_path, "127.0.0.11", [Neighbour("127.0.0.12", families=("vpnv4", "rtc"))]).config()


def test_bird_routes_carry_their_label_beside_the_gateway(tmp_path: Path) -> None:
    route = Announcement("64512:11", "2001:db8::/64", 16, ("192.0.2.1:5",), "192.0.2.11", (2,))
    text = Bird("one", tmp_path, "127.0.0.11", [], [route]).config()
    assert (
        "route 64512:11 2001:db8::/64 via ::ffff:192.0.2.11%lo onlink mpls 16 "
        "{ bgp_ext_community.add((rt, 192.0.2.1, 5)); bgp_ext_community.add((generic, 0x30c0000, 2)); };" in text
    )


def test_routes_of_bird_are_read() -> None:
    text = (
        "Table vpntab4:\n"
        "64512:13 10.13.0.0/24 unicast [static4 22:42:24.869] * (200)\n"
        "\tvia 192.0.2.13 on lo mpls 1013 onlink\n\tType: static univ\n"
        "64512:11 10.11.0.0/24 unreachable [peer0 22:42:26.917 from 127.0.0.11] * (100) [i]\n\tType: BGP univ\n"
        "\tBGP.origin: IGP\n\tBGP.as_path: 64513 64514\n\tBGP.next_hop: ::ffff:192.0.2.11\n\tBGP.local_pref: 100\n"
        "\tBGP.originator_id: 127.0.0.16\n\tBGP.cluster_list: 9.9.9.9 8.8.8.8\n"
        "\tBGP.ext_community: (rt, 64512, 200) (rt, 192.0.2.1, 5) (generic, 0x30c0000, 0x2) (ro, 1, 2)\n"
        "\tBGP.mpls_label_stack: 1011\n"
        "                     unreachable [peer1 22:42:26.917 from 127.0.0.14] (100) [i]\n\tBGP.as_path: \n"
    )
    learnt = Received(
        *("64512:11", "10.11.0.0/24", 1011, ("192.0.2.1:5", "64512:200"), "192.0.2.11", False, "127.0.0.11", (2,)),
        *(100, "64513 64514", "127.0.0.16", ("9.9.9.9", "8.8.8.8")),
    )
    assert read_routes(text) == [
        Received("64512:13", "10.13.0.0/24", None, (), "", False, "", (), None, "", None, ()),
        learnt,
        Received("64512:11", "10.11.0.0/24", None, (), "", False, "127.0.0.14", (), None, "", None, ()),
    ]


def test_addresses_are_compared_in_one_form() -> None:
    assert [plain(text) for text in ("::ffff:c000:20b", "192.0.2.11", "2001:DB8::0:1")] == [
        *("192.0.2.11", "192.0.2.11", "2001:db8::1")
    ]


def test_a_conversation_waits_for_whole_answers(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in ((b"a", b"b."), (b"c.",)):
                    connection.recv(100)
                    for part in answer:
                        connection.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        assert converse(path, [b"1", b"2"], lambda end: end.endswith(b".")) == [b"ab.", b"c."]
        thread.join()
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises(ConnectionError):
            converse(path, [b"1"], lambda end: end.endswith(b"."))
        thread.join()
