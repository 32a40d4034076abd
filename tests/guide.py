"""The guides' commands and files: indented blocks, which tests take from the pages and run as they stand there.

A test names a block by its page and by how it begins, both as literals, or takes all blocks of a page:
tests/unit/test_guides.py reads these calls, and fails for a block that no test has.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]

GUIDES = (
    *("docs/quickstart.md", "docs/operations.md", "docs/upgrade.md", "docs/troubleshooting.md", "docs/security.md"),
    *("docs/certificates.md", "docs/map.md", "README.md"),
)
"""Pages whose blocks are all run, but for those below."""

SHOWN = {
    ("README.md", "make demo"): "the demo is tests/system/test_main_job.py's; the tests are what would run it",
    ("README.md", "  orchestration, vrfwire-map"): "a drawing",
    ("README.md", "make deb"): "tests/install and tests/packaging build the packages by what make runs",
    ("README.md", "git clone REPOSITORY"): "there is no such repository, and nothing is installed on this machine",
    ("README.md", "# /etc/systemd/networkd.conf.d"): "the packages' file; tests/install restarts networkd with it",
    ("docs/quickstart.md", "make deb"): "tests/install and tests/packaging build the packages by what make runs",
    ("docs/map.md", "vrfwire-map serve --config FILE"): "the usage; `serve` and its --check are run below it",
}
"""(page, beginning): blocks that are only shown, and why that is enough."""


def blocks(page: str) -> list[str]:
    """The indented blocks of a page, which is relative to the checkout. Lists' own indentation doesn't count."""
    found: list[list[str]] = []
    former = ""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            # A block begins after an empty line, else the line goes on with a list's.
            if former == "block":
                found[-1].append(line)
            elif former == "gap" or not former:
                found.append([line])
                former = "block"
        elif not line.strip():
            if former == "block":
                found[-1].append("")
            else:
                former = "gap"
        else:
            former = "text"
    return [textwrap.dedent("\n".join(lines)).strip("\n") + "\n" for lines in found]


def block(page: str, start: str) -> str:
    """The one block of a page that begins so."""
    found = [text for text in blocks(page) if text.startswith(start)]
    assert len(found) == 1, f"{page}: {len(found)} blocks begin with {start!r}"
    return found[0]


def lines(text: str) -> list[str]:
    """The commands of a block, without what is said about them."""
    return [line.partition("  #")[0].rstrip() for line in text.splitlines() if line.strip()]
