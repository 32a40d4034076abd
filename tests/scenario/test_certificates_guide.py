"""docs/certificates.md: its commands, one after the other, as they stand there. What is a machine's is replaced."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.pki_store import Store
from runtime.certificates import read_pem
from runtime.errors import ExitCode
from tests.guide import blocks
from tests.scenario.daemon_process import DEADLINE

PAGE = "docs/certificates.md"
PROGRAM = "vrfwire-gateway-ctl"


def run(line: str) -> None:
    """A command: ours in this process, which is faster; others by a shell, with ours spelt out."""
    if line.startswith(PROGRAM):
        assert main(shlex.split(line)[1:]) == ExitCode.OK, line
        return
    if loop := re.fullmatch(r"for (\w+) in (.*?); do (.*); done", line):
        for value in loop[2].split():
            run(loop[3].replace(f"${loop[1]}", value))
        return
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRFWIRE_PKI", str(etc / "pki"))
    monkeypatch.setenv("VRFWIRE_SOCKET", str(tmp_path / "no gateway.sock"))
    commands = 0
    for block in blocks(PAGE):
        if block.startswith("["):
            assert tomllib.loads(block) == {"tls": {"ca": "ca.pem", "crl": "crl.pem"}}
            continue
        if "--replace" in block:
            # Nobody is left with a certificate of the former authority but those whom the page renews.
            assert holders(etc) == {"gateway", "hv8", "map", "gw1"}
        for line in block.splitlines():
            run(line.replace("/etc/vrfwire", str(etc)))
            commands += 1
    assert commands > 15
    # What the page says of the files.
    assert (etc / "hv7.key").stat().st_mode & 0o777 == 0o600 and (etc / "gateway.key").exists()
    assert 'domain = "vpn.example.net"' in (etc / "agent.toml").read_text()
    (authority,) = read_pem((etc / "ca.pem").read_bytes())
    assert authority.name == "vrfwire authority 2"
    for name in ("gateway", "hv8", "map", "gw1"):
        (certificate,) = read_pem((tmp_path / "next" / name / f"{name}.pem").read_bytes())
        assert certificate.issuer == authority.subject


def holders(etc: Path) -> set[str]:
    """Who has a certificate that counts."""
    return {record.subject.name for record in Store(etc / "pki").load().currents(time.time())}
