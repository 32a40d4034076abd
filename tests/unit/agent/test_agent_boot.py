"""The machine's own time."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.boot import boot_id, since_boot


def test_one_start_of_the_machine_has_one_name() -> None:
    assert boot_id() == boot_id() != ""
    first = since_boot()
    assert 0 < first <= since_boot()


def test_a_kernel_that_does_not_name_its_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("agent.boot._BOOT_ID", tmp_path / "boot_id")
    assert boot_id() == ""
