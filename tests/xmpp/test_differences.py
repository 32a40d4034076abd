"""The table of differences holds nothing that no test asks about."""

from __future__ import annotations

from pathlib import Path

from tests.xmpp.differences import DIFFERENCES
from tests.xmpp.subjects import NAMES, OURS

PREFIXES = ("count ", "resume with ", "injection of ")
"""In front of the names of parametrised cases."""


def test_every_difference_belongs_to_a_case() -> None:
    """By its name, in a test module; and ours never differs from what is asked."""
    sources = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("test_*.py")))
    for server, case in DIFFERENCES:
        assert server in NAMES and server != OURS
        name = case
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        assert f'"{name}"' in sources, (server, case)
