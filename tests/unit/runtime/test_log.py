"""Lines for people, entries for the journal."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import log as runtime_log
from runtime.log import JournalHandler, TextFormatter, configure, fields


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    ours = logging.getLogger("vrfwire")
    handlers, level, our_level = logger.handlers[:], logger.level, ours.level
    logger.handlers[:] = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)
    ours.setLevel(our_level)


def test_text(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    log = logging.getLogger("vrfwire.agent.session")
    log.info("gateway %s connected", "192.0.2.1", extra=fields(peer="192.0.2.1", vpn="blue"))
    log.debug("not shown")
    logging.getLogger("slixmpp").info("not shown either")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info agent\.session: gateway 192\.0\.2\.1 connected "
        r"\[peer=192\.0\.2\.1 vpn=blue\]",
        lines[0],
    )


def test_hostile_text_stays_one_harmless_line(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    logging.getLogger("vrfwire.x").info("from %s", "a\nb\x1b[2J\udcff", extra=fields(peer="c\r"))
    assert capsys.readouterr().err.endswith("x: from a\\nb\\x1b[2J\\udcff [peer=c\\r]\n")


def test_configure_again_replaces(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    configure("debug")
    logging.getLogger("vrfwire.x").debug("once")
    assert capsys.readouterr().err.count("once") == 1


def test_traceback_in_text() -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 1, "failed", None, (RuntimeError, error, error.__traceback__)
        )
    assert "RuntimeError: boom" in TextFormatter().format(record)


def record(message: str) -> logging.LogRecord:
    return logging.getLogger("vrfwire.x").makeRecord(
        "vrfwire.x", logging.WARNING, "", 1, message, (), None, extra=fields(port="web-1")
    )


def test_journal_entry(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(5)
        handler = JournalHandler(path)
        handler.emit(record("one\ntwo"))
        handler.close()
        entry = journal.recv(65536)
    assert b"MESSAGE\n" + (7).to_bytes(8, "little") + b"one\ntwo\n" in entry
    assert b"PRIORITY=4\n" in entry
    assert b"VRFWIRE_PORT=web-1\n" in entry
    assert b"VRFWIRE_LOGGER=vrfwire.x\n" in entry


def test_without_a_journal_entries_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = JournalHandler(str(tmp_path / "absent"))
    handler.emit(record("lost?"))
    handler.close()
    assert "lost? [port=web-1]" in capsys.readouterr().err


def test_the_journal_is_used_when_systemd_says_so(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_log, "_stderr_is_journal", lambda: True)
    configure()
    assert isinstance(root.handlers[0], JournalHandler)
