"""What the tests of this folder share: certificates, and the servers that they talk to."""

from __future__ import annotations

import pytest

from lab.pki import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues the certificates of all servers and hosts."""
    return Authority(tmp_path_factory.mktemp("pki"))
