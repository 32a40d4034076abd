"""Oracles: other implementations of BGP, each a process in an environment of its own, asked by JSON lines.

Nothing of theirs is imported here and nothing of ours there; what passes between is messages and meanings.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.message import MAX_LENGTH
from bgp.update import UpdateOptions
from tests.differential.oracles.common import Meaning

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides of a session agreed on, as an oracle has to know it."""

    families: tuple[Family, ...] = (VPNV4, VPNV6, RTC)
    four_octet_as: bool = True
    internal: bool = True
    extended_next_hops: bool = False
    max_length: int = MAX_LENGTH

    @property
    def options(self) -> UpdateOptions:
        """The same for our own codec."""
        return UpdateOptions(frozenset(self.families), self.four_octet_as, self.internal)

    def document(self) -> Meaning:
        """The same for an oracle."""
        return {
            "families": [list(family) for family in self.families],
            "four_octet_as": self.four_octet_as,
            "internal": self.internal,
            "extended_next_hops": self.extended_next_hops,
            "max_length": self.max_length,
        }


class Oracle:
    """One helper process; a context manager. name: of the module in tests.differential.oracles, without "_oracle"."""

    def __init__(self, name: str) -> None:
        self.name = name
        if not PYTHON.exists():
            raise FileNotFoundError(f"{PYTHON} is missing: make oracles")
        self._process = subprocess.Popen(
            [PYTHON, "-m", f"tests.differential.oracles.{name}_oracle"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Its input ends, and with it the process.
        self._process.communicate(timeout=10)

    def _ask(self, **question: Any) -> Meaning:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the oracle {self.name} is gone (exit status {process.wait(5)})"
        answer: Meaning = json.loads(line)
        return answer

    def decode(self, message: bytes, agreement: Agreement) -> Meaning:
        """What it makes of a message; {"refused": why}."""
        return self._ask(do="decode", message=message.hex(), session=agreement.document())

    def encode(self, meaning: Meaning, agreement: Agreement) -> list[bytes] | Meaning:
        """Its messages for a meaning; or {"refused": why}."""
        answer = self._ask(do="encode", meaning=meaning, session=agreement.document())
        return [bytes.fromhex(message) for message in answer["messages"]] if "messages" in answer else answer
