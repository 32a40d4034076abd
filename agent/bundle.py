"""A bundle for whoever looks for a fault from afar: what sources gave, in one compressed archive, with a manifest.

A source that fails or hangs costs only what it would have given: the manifest says which, and why. Every text goes
through the redactor; nothing is longer than LIMIT, and all together isn't longer than TOTAL.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.bounded import Task
from runtime.errors import ExitCode, OperatorError
from runtime.redact import Redactor

LIMIT = 2 << 20
"""Bytes of one file of the bundle."""
TOTAL = 32 << 20
"""Bytes of all of them, before compression."""
SOURCE_TIME = 20.0
"""Seconds that one source may take."""
BUNDLE_TIME = 120.0
"""Seconds that all of them may take together."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file of the bundle comes from. name: of the file; what: for the manifest, a command for instance; take:
    returns the text, and may hang, or raise OSError or OperatorError."""

    name: str
    what: str
    take: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a source. bytes: in the bundle; seconds: that it took; truncated: not all of it is there; error:
    why there is nothing, or not all, "" otherwise."""

    name: str
    what: str
    bytes: int = 0
    seconds: float = 0.0
    truncated: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """An entry with its content."""

    entry: Entry
    data: bytes


def take_all(sources: Iterable[Source], redactor: Redactor, clock: Callable[[], float] = time.monotonic) -> list[Taken]:
    """Ask every source, one after the other: they share this machine with its work."""
    end = clock() + BUNDLE_TIME
    room = TOTAL
    found = []
    for source in sources:
        taken = _take(source, redactor, min(SOURCE_TIME, end - clock()), min(LIMIT, room))
        room -= len(taken.data)
        found.append(taken)
    return found


def _take(source: Source, redactor: Redactor, seconds: float, limit: int) -> Taken:
    if seconds <= 0 or limit <= 0:
        why = "not asked: the others took too long" if seconds <= 0 else "not asked: the bundle is full"
        return Taken(Entry(source.name, source.what, error=why), b"")
    began = time.monotonic()
    try:
        text = Task(source.take, f"bundle {source.name}").result(seconds)
    except Exception as error:
        # Whatever it is, the rest of the bundle is wanted all the more.
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        spent = round(time.monotonic() - began, 3)
        return Taken(Entry(source.name, source.what, seconds=spent, error=redactor.clean(why)), b"")
    # Cut before it is cleaned, so that a huge text isn't searched; and after, should it have grown.
    truncated = len(text) > limit
    data = redactor.clean(_cut(text, limit)).encode(errors="backslashreplace")
    truncated = truncated or len(data) > limit
    spent = round(time.monotonic() - began, 3)
    return Taken(Entry(source.name, source.what, len(data[:limit]), spent, truncated), data[:limit])


def _cut(text: str, limit: int) -> str:
    """So many characters at most, in whole lines if it has any: half a secret isn't known for one."""
    if len(text) <= limit:
        return text
    return text[: text.rfind("\n", 0, limit) + 1 or limit]


def manifest(taken: Sequence[Taken], about: dict[str, object]) -> bytes:
    """What is in a bundle, and what isn't and why."""
    document = {**about, "items": [asdict(one.entry) for one in taken]}
    return (json.dumps(document, indent=2) + "\n").encode()


def archive(directory: str, taken: Sequence[Taken], listing: bytes, when: float) -> bytes:
    """A compressed tar archive. directory: that it unpacks to; when: Unix time of its files."""
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=when) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in (
            (MANIFEST, listing),
            *((one.entry.name, one.data) for one in taken if one.data or not one.entry.error),
        ):
            info = tarfile.TarInfo(f"{directory}/{name}")
            info.size, info.mtime, info.mode = len(data), int(when), 0o600
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def write(path: Path, data: bytes) -> None:
    """Write a bundle that nobody else may read; a file that is there isn't replaced. Raises OperatorError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        hint = "give another name by --output, or remove it"
        raise OperatorError(f"bundle {path}", "there is such a file already", hint, ExitCode.CONFLICT) from None
    except OSError as error:
        raise OperatorError(f"bundle {path}", error.strerror or str(error), "give another place by --output") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OperatorError(f"bundle {path}", error.strerror or str(error), "give another place by --output") from error
