"""In a machine: runs the commands that whoever has booted it sends by the serial line. Standard library only.

Requests and answers are JSON, one a line. Output goes into files beside this program, which both sides see.

    {"id": 1, "argv": [...], "environ": {...}}     run it; its input is the file 1.in, if that is there
    {"id": 1}                                      run what the file 1.request says, in the same way
    {"id": 1, "signal": 15}                        send a signal to it and what it has started

    {"ready": true}                                 we run
    {"id": 1, "status": 0}                          it has ended; its output is in the files 1.out and 1.err
"""

# pathlib would be one more import.
# ruff: noqa: PTH100, PTH110, PTH118, PTH120, PTH123

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import termios
import threading
import tty

LINE = "/dev/ttyS0"
HERE = os.path.dirname(os.path.abspath(__file__))


class Server:
    """The jobs that run, by id. line: file descriptor of the serial line; directory: where commands are run."""

    def __init__(self, line: int, directory: str = "/root") -> None:
        self._line = line
        self._directory = directory
        self._jobs: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def answer(self, **document: object) -> None:
        """Send one line."""
        data = json.dumps(document).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._line, data) :]

    def handle(self, request: dict[str, object]) -> None:
        """Do what one line asks for."""
        number, signal = request["id"], request.get("signal")
        assert isinstance(number, int)
        if request.keys() == {"id"}:
            with open(os.path.join(HERE, f"{number}.request"), "rb") as file:
                request = json.load(file)
        if signal is None:
            argv, environ = request["argv"], request["environ"]
            assert isinstance(argv, list) and isinstance(environ, dict)
            self._start(number, argv, environ)
        elif isinstance(signal, int) and number in self._jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._jobs[number].pid, signal)

    def _start(self, number: int, argv: list[str], environ: dict[str, str]) -> None:
        stem = os.path.join(HERE, str(number))
        source = f"{stem}.in" if os.path.exists(f"{stem}.in") else os.devnull
        with open(f"{stem}.out", "wb") as out, open(f"{stem}.err", "wb") as err, open(source, "rb") as stdin:
            try:
                job = subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, **environ},
                    cwd=self._directory,
                    start_new_session=True,
                )
            except OSError as error:
                err.write(f"{argv[0]}: {error.strerror}\n".encode())
                self.answer(id=number, status=127)
                return
        self._jobs[number] = job
        threading.Thread(target=self._wait, args=(number, job), daemon=True).start()

    def _wait(self, number: int, job: subprocess.Popen[bytes]) -> None:
        status = job.wait()
        del self._jobs[number]
        self.answer(id=number, status=status)


def main() -> int:
    """Serve until the line is closed."""
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    termios.tcflush(line, termios.TCIFLUSH)
    server = Server(line)
    server.answer(ready=True)
    buffer = b""
    while data := os.read(line, 65536):
        *lines, buffer = (buffer + data).split(b"\n")
        for text in lines:
            server.handle(json.loads(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
