"""The blocking client of the control protocol (docs/design/runtime.md).

Standard library only, and little of that: every command of the CLI pays for this import.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from runtime.errors import ExitCode, OperatorError

Progress = Callable[[dict[str, object]], None]
"""Called with every progress report of a call."""

_CHUNK = 1 << 18


class ControlClient:
    """One connection to a daemon's control socket, opened by the first call.

    path: of the socket; program: name of the daemon, for messages ("vrfwire-agent").
    """

    def __init__(self, path: str, program: str = "vrfwire-agent") -> None:
        self.path = str(path)
        self.program = program
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._next_id = 1

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    def call(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        timeout: float = 30.0,
        on_progress: Progress | None = None,
    ) -> dict[str, object]:
        """Ask the daemon and wait for the answer, at most timeout seconds.

        Raises OperatorError: the daemon's own error, or UNREACHABLE (not running, no answer in time, died meanwhile),
        or NOT_PERMITTED.
        """
        deadline = time.monotonic() + timeout
        request_id = self._next_id
        self._next_id += 1
        line = json.dumps({"id": request_id, "method": method, "params": dict(params or {})}, separators=(",", ":"))
        try:
            self._send(line.encode() + b"\n", timeout)
            while True:
                reply = self._receive(deadline)
                # id null: the server could not tell which request it refuses.
                if reply.get("id") not in (request_id, None):
                    continue
                if "progress" in reply:
                    if on_progress is not None:
                        on_progress(_mapping(reply["progress"]))
                elif "error" in reply:
                    raise _operator_error(_mapping(reply["error"]))
                else:
                    return _mapping(reply.get("result"))
        except TimeoutError:
            self.close()
            raise self._unreachable(f"no answer within {timeout:g} s", "see its log; it may be overloaded") from None
        except ValueError:
            self.close()
            raise self._unreachable("answered something that is not the control protocol", "is it vrfwire?") from None
        except OperatorError:
            raise
        except BaseException:
            # Left in the middle: the rest of this call's answers must not meet the next call.
            self.close()
            raise

    def _send(self, data: bytes, timeout: float) -> None:
        if self._socket is None:
            self._socket = self._connect(timeout)
        else:
            self._socket.settimeout(timeout)
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionError):
            # The server may have said why before it closed (not permitted); the answer is still to be read.
            return

    def _connect(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise self._unreachable(
                "not running",
                f"start it: systemctl start {self.program}; if it doesn't stay up, journalctl -u {self.program} says"
                " why; --socket names another daemon",
            ) from None
        except PermissionError:
            connection.close()
            raise OperatorError(
                f"control socket {self.path}",
                "you are not permitted to use it",
                "run the command as root or as a member of the group that owns the socket",
                ExitCode.NOT_PERMITTED,
            ) from None
        except TimeoutError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            raise self._unreachable(error.strerror or str(error), "name the daemon's socket by --socket") from None
        return connection

    def _receive(self, deadline: float) -> dict[str, object]:
        assert self._socket is not None
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining)
            try:
                data = self._socket.recv(_CHUNK)
            except ConnectionError:
                data = b""
            if not data:
                self.close()
                raise self._unreachable("closed the connection before it answered", "see its log")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return _mapping(json.loads(line))

    def _unreachable(self, why: str, hint: str) -> OperatorError:
        return OperatorError(f"{self.program} at {self.path}", why, hint, ExitCode.UNREACHABLE)


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _operator_error(error: Mapping[str, object]) -> OperatorError:
    code = error.get("code")
    try:
        exit_code = ExitCode(code) if isinstance(code, int) else ExitCode.FAILURE
    except ValueError:
        exit_code = ExitCode.FAILURE
    return OperatorError(
        str(error.get("what", "request")), str(error.get("why", "failed")), str(error.get("hint", "")), exit_code
    )
