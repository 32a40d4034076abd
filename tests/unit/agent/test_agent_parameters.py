"""Parameters of requests come from anybody who may use the socket."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from agent.parameters import MAX_SECONDS, count, flag, optional, seconds, text
from runtime.errors import ExitCode, OperatorError


def test_what_is_there_and_what_is_not() -> None:
    params: dict[str, object] = {"name": "web", "force": True, "most": 7, "timeout": 2}
    assert (text(params, "name"), optional(params, "name"), optional(params, "vpn")) == ("web", "web", None)
    assert (flag(params, "force"), flag(params, "wait"), flag(params, "wait", default=True)) == (True, False, True)
    assert (count(params, "most", 7), count(params, "least", 7)) == (7, None)
    assert (seconds(params, "timeout", 5.0), seconds(params, "settle", 5.0)) == (2.0, 5.0)


@pytest.mark.parametrize(
    ("read", "value", "why"),
    [
        (lambda params: text(params, "x"), None, "is missing"),
        (lambda params: text(params, "x"), 7, "is not a text"),
        (lambda params: optional(params, "x"), ["a"], "is not a text"),
        (lambda params: flag(params, "x"), 1, "is not true or false"),
        (lambda params: flag(params, "x", default=True), None, "is not true or false"),
        (lambda params: count(params, "x", 9), 10, "is not a number from 1 to 9"),
        (lambda params: count(params, "x", 9), True, "is not a number from 1 to 9"),
        (lambda params: seconds(params, "x", 1.0), "1", "is not a number from 0 to 3600"),
        (lambda params: seconds(params, "x", 1.0), False, "is not a number from 0 to 3600"),
        (lambda params: seconds(params, "x", 1.0), -0.1, "is not a number from 0 to 3600"),
        (lambda params: seconds(params, "x", 1.0), MAX_SECONDS + 1, "is not a number from 0 to 3600"),
        (lambda params: seconds(params, "x", 1.0), float("nan"), "is not a number from 0 to 3600"),
    ],
)
def test_what_is_of_another_type(read: Callable[[dict[str, object]], object], value: object, why: str) -> None:
    with pytest.raises(OperatorError, match=re.escape(f'request: "x" {why}')) as caught:
        read({"x": value})
    assert caught.value.code is ExitCode.USAGE
