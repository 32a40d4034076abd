"""Work that ends in time: functions and commands that may hang, for those who must not hang with them.

A file system that doesn't answer keeps whoever reads from it, and no signal helps. So the reading is left to a thread;
when the time is up the thread is left behind, and what it was to find out is not known.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

OUTPUT_LIMIT = 1 << 20
"""Bytes of a command's output that are read, unless told otherwise."""
_CHUNK = 1 << 16
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REAP = 1.0
"""Seconds that a command which was killed may take to be gone."""


_left_behind: set[str] = set()
"""Names of work that was given up and hasn't ended yet."""


class Task(Generic[T]):
    """work() in a thread of its own, begun at once; but not when work of that name was given up before and still
    hangs: a daemon that is asked again and again is to keep one thread for that, not one more each time.

    name: of the thread.
    """

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._name = name
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None
        if name in _left_behind:
            self._error = TimeoutError("hangs since it was tried before")
            self._done.set()
            return
        # A daemon: the interpreter doesn't wait for it at its end.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()
            _left_behind.discard(self._name)

    def result(self, seconds: float) -> T:
        """What work() returned. Raises what it raised, or TimeoutError when it isn't done in so many seconds."""
        if not self._done.wait(max(0.0, seconds)):
            _left_behind.add(self._name)
            if self._done.is_set():
                _left_behind.discard(self._name)  # it has ended just now, and may have looked before
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        if self._error is not None:
            raise self._error
        return self._result[0]


@dataclass(frozen=True, slots=True)
class Output:
    """Of a command. status: its exit status, negative for a signal; None: it took too long, or wrote too much, and was
    killed. truncated: there was more output than was read."""

    status: int | None
    out: bytes
    error: str
    truncated: bool = False

    @property
    def text(self) -> str:
        """The output; what is no UTF-8 stays visible."""
        return self.out.decode(errors="backslashreplace")

    @property
    def complaint(self) -> str:
        """Why it failed, in one line; "" if it didn't."""
        if self.status == 0:
            return ""
        if self.truncated:
            return f"more than {len(self.out)} bytes"
        first = next((line for line in self.error.splitlines() if line.strip()), "")
        return first.strip() or ("took too long" if self.status is None else f"exit status {self.status}")


def run(argv: Sequence[str], *, seconds: float, limit: int = OUTPUT_LIMIT) -> Output:
    """Run a command without input, in the C locale, for so many seconds at most; it is killed with its children then,
    or when it has written more than limit bytes. Raises OSError when it can't be started."""
    environ = {"PATH": os.environ.get("PATH") or _PATH, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    if "/sbin" not in environ["PATH"]:
        environ["PATH"] += f":{_PATH}"  # of somebody who isn't root
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        start_new_session=True,
    )
    out, error = bytearray(), bytearray()
    ended = _read(process, out, error, time.monotonic() + seconds, limit)
    truncated = len(out) > limit
    if not ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    status: int | None = None
    # One that hangs within the kernel can't be killed, and isn't waited for.
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(_REAP)
        status = code if ended else None
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return Output(status, bytes(out[:limit]), error.decode(errors="backslashreplace"), truncated)


def _read(process: subprocess.Popen[bytes], out: bytearray, error: bytearray, end: float, limit: int) -> bool:
    """Read both outputs until they end (True), or until the time is up or there is too much (False)."""
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None and process.stderr is not None
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, error)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(left):
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.data is out or len(error) < _CHUNK:
                    key.data.extend(data)
            if len(out) > limit:
                return False
    try:
        process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True
