"""What operators are told of peers that are down, from the kernel's counters of TCP-MD5."""

from __future__ import annotations

import pytest

from gateway.peer_socket import Md5Counters
from gateway.peer_watch import md5_problem

NONE = Md5Counters()


@pytest.mark.parametrize(
    ("new", "has_password", "timed_out", "words"),
    [
        (Md5Counters(failure=3), True, True, ("TCPMD5Failure +3", "password_file")),
        (Md5Counters(not_found=1), True, False, ("TCPMD5NotFound +1", "no password for this gateway")),
        (Md5Counters(unexpected=2), False, True, ("TCPMD5Unexpected +2", "set password_file")),
        (NONE, True, True, ("no answer", "password_file")),
    ],
)
def test_what_is_said(new: Md5Counters, has_password: bool, timed_out: bool, words: tuple[str, ...]) -> None:
    problem = md5_problem(new, has_password=has_password, timed_out=timed_out)
    assert all(word in problem for word in words)


@pytest.mark.parametrize(
    ("new", "has_password", "timed_out"),
    [
        (NONE, True, False),
        (NONE, False, True),
        (Md5Counters(failure=3, not_found=3), False, True),
        (Md5Counters(unexpected=3), True, False),
    ],
)
def test_what_says_nothing_about_a_peer(new: Md5Counters, has_password: bool, timed_out: bool) -> None:
    assert md5_problem(new, has_password=has_password, timed_out=timed_out) == ""
