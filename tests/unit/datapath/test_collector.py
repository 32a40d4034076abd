"""The collector's settings."""

from __future__ import annotations

import gc

from datapath.collector import collect_seldom


def test_the_collector_runs_less_often_than_by_default() -> None:
    before = gc.get_threshold()
    try:
        collect_seldom()
        assert gc.get_threshold()[0] > before[0]
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
