"""Logging set-up of the daemons: text on stderr, with the fields that journald can index.

Modules log by the standard library, under "vrfwire." names, with fields by FIELDS:

    log = logging.getLogger("vrfwire.agent.session")
    log.info("gateway %s connected", address, extra=fields(peer=address))

The fields stay attributes of the record (VRFWIRE_PEER), so that any handler can use them. Under systemd lines go to the
journal by its native protocol when the journal's socket is there, which keeps the fields; otherwise to stderr.
"""

from __future__ import annotations

import codecs
import contextlib
import logging
import os
import socket
import sys
import time

JOURNAL_SOCKET = "/run/systemd/journal/socket"
_PREFIX = "VRFWIRE_"
_escape = codecs.getencoder("unicode_escape")  # a file that is read now: when there are no more files it is too late
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
LEVELS = ("debug", "info", "warning", "error")


def fields(**values: object) -> dict[str, object]:
    """Structured fields for extra=: fields(port="web-1") is VRFWIRE_PORT=web-1."""
    return {_PREFIX + name.upper(): value for name, value in values.items()}


def configure(level: str = "info") -> None:
    """Log at level and above ("debug", "info", "warning", "error"), to the journal or to stderr."""
    handler: logging.Handler
    if _stderr_is_journal():
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # of libraries, only what matters
    logging.getLogger("vrfwire").setLevel(level.upper())


class TextFormatter(logging.Formatter):
    """2026-01-31T12:00:00.123Z info agent.session: text [port=web-1]"""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        name = record.name.removeprefix("vrfwire.")
        text = f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {name}: {_one_line(record.getMessage())}"
        extra = " ".join(
            f"{key.removeprefix(_PREFIX).lower()}={_one_line(str(value))}" for key, value in _extra(record)
        )
        if extra:
            text += f" [{extra}]"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JournalHandler(logging.Handler):
    """Writes entries by the journal's native protocol (systemd: Journal Native Protocol); stderr when that fails."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._fallback = TextFormatter()
        self._exceptions = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(self._encode(record), self._path)
        except OSError:
            with contextlib.suppress(OSError):
                print(self._fallback.format(record), file=sys.stderr)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _encode(self, record: logging.LogRecord) -> bytes:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self._exceptions.formatException(record.exc_info)
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        entry = {
            "MESSAGE": message,
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": os.path.basename(sys.argv[0]) or "vrfwire",  # noqa: PTH119
            "VRFWIRE_LOGGER": record.name,
        }
        entry.update((key, str(value)) for key, value in _extra(record))
        return b"".join(_journal_field(key, value.encode(errors="backslashreplace")) for key, value in entry.items())


def _journal_field(key: str, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%s\n%s%s\n" % (key.encode(), len(value).to_bytes(8, "little"), value)
    return b"%s=%s\n" % (key.encode(), value)


def _one_line(text: str) -> str:
    """Text from a peer must neither steer the terminal nor look like a line of its own."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c, "surrogatepass")[0].decode() for c in text)


def _extra(record: logging.LogRecord) -> list[tuple[str, object]]:
    return [(key, value) for key, value in vars(record).items() if key.startswith(_PREFIX)]


def _stderr_is_journal() -> bool:
    """JOURNAL_STREAM holds device and inode of stderr when systemd connected it to the journal (systemd.exec)."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
