"""Refusals in the log."""

from __future__ import annotations

import pytest

from gateway.refusals import LINES, WINDOW, RefusalLog
from gateway.service import Refusal

BAD = Refusal("hv1", "blue", "publish", "forbidden: item 'x' belongs to another host")


def test_a_refusal_is_one_line_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    RefusalLog().write([BAD], 0.0)
    [record] = caplog.records
    assert record.getMessage() == "host hv1: publish refused: forbidden: item 'x' belongs to another host"
    assert (record.VRFWIRE_HOST, record.VRFWIRE_VPN) == ("hv1", "blue")  # type: ignore[attr-defined]


def test_a_host_that_does_everything_wrong_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    refusals = RefusalLog()
    refusals.write([BAD] * (LINES + 30), 0.0)
    other = BAD._replace(host="hv2")
    refusals.write([other], 1.0)
    assert len(caplog.records) == LINES + 1, "others are logged all the same"
    refusals.write([BAD], WINDOW + 1)
    messages = [record.getMessage() for record in caplog.records[LINES + 1 :]]
    assert messages == ["host hv1: 30 more refusals", f"host hv1: publish refused: {BAD.reason}"]
    refusals.write([], 3 * WINDOW)
    assert refusals._windows == {}
