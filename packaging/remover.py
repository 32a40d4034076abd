"""An archive that takes the agent's datapath away without the rest of the packages: python remove-datapath.pyz.

Purging runs it when the packages' files are gone already, so it has its own copies of the modules, and needs nothing
but the standard library.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

MAIN = "agent/remove_datapath.py"
FOLDERS = ("datapath/", "vpn/", "runtime/")
_START = b"""import sys

from agent.remove_datapath import main

sys.exit(main())
"""
_DATE = (1980, 1, 1, 0, 0, 0)
"""The least that an archive can say; the same each time."""


def archive(modules: Iterable[tuple[str, bytes]]) -> bytes:
    """The archive. modules: ours, by their names relative to site-packages."""
    kept = [(name, content) for name, content in modules if name in (MAIN, "agent/__init__.py") or _needed(name)]
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as target:
        for name, content in (("__main__.py", _START), *sorted(kept)):
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            target.writestr(info, content)
    return memory.getvalue()


def _needed(name: str) -> bool:
    return name.startswith(FOLDERS) and name.endswith(".py") and name != "datapath/fake.py"
