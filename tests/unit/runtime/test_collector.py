"""The collector's settings."""

from __future__ import annotations

import gc

from runtime.collector import collect_seldom

PYTHON_DEFAULT = (700, 10, 10)
"""Set first, since a test that runs a daemon in this process may have left its own."""


def test_the_collector_runs_less_often_than_by_default() -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(*PYTHON_DEFAULT)
        collect_seldom()
        assert gc.get_threshold() > PYTHON_DEFAULT
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
