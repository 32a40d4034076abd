"""What the tests of this folder share."""

from __future__ import annotations

import pytest

from datapath import responder
from datapath.bpf import BpfError


def _bpf_works() -> bool:
    try:
        responder.load().close()
    except BpfError:
        return False
    return True


needs_bpf = pytest.mark.skipif(not _bpf_works(), reason="bpf(2) is not permitted here")
"""The kernel tests run the same program on a real port in any case."""
