"""Expiry of certificates in files that change."""

from __future__ import annotations

from pathlib import Path

from lab.pki import Authority
from runtime.certificates import DAY, read_pem
from runtime.expiry import Expiries

DOMAIN = "vpn.example.net"


def test_files_are_read_again_and_bad_ones_left_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine, bad = authority.gateway(DOMAIN, []).certificate, tmp_path / "bad.pem"
    now = [read_pem(mine.read_bytes())[0].not_after - 100 * DAY]
    expiries = Expiries((mine, None, bad), (authority.certificate, tmp_path / "absent"), lambda: now[0])
    assert set(expiries.times()) == {mine, authority.certificate} and expiries.troubles() == []
    bad.write_bytes(authority.issue("other", "other", expired=True).certificate.read_bytes())
    assert set(expiries.times()) == {mine, bad, authority.certificate}
    now[0] += 80 * DAY
    assert [trouble.what for trouble in expiries.troubles()] == [
        f"certificate {mine}",
        f"certificate {bad}",
        f"authority {authority.certificate}",
    ]
    bad.write_text("half written")
    assert expiries.certificate(bad) is None and bad not in expiries.times()
    found = expiries.certificate(mine)
    assert found is not None and found.name == DOMAIN
