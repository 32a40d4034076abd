"""The load generator as the benchmarks use it: processes that are told what to do, and certificates for their hosts."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.gateway_daemon import ROOT
from benchmarks.xmpp_load import Settings
from benchmarks.xmpp_load_stanzas import host_name
from lab.errors import LabError
from lab.pki import xmpp_address
from lab.process import die_with_parent

LIFETIME = datetime.timedelta(days=90)


class Certificates:
    """Certificates of hosts by number, of an authority of their own; one key serves all of them.

    directory: gets ca.pem, key.pem and NAME.pem of each host that was asked for.
    """

    def __init__(self, directory: Path, domain: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._domain = domain
        self._authority = ec.generate_private_key(ec.SECP256R1())
        self._issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vrfwire load")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        own = self._builder(self._issuer, self._authority).add_extension(constraints, critical=True)
        self.ca.write_bytes(self._signed(own))
        self._key = ec.generate_private_key(ec.SECP256R1())
        (directory / "key.pem").write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (directory / "key.pem").chmod(0o600)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        signed = builder.sign(self._authority, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def issue(self, numbers: Iterable[int]) -> None:
        """For hosts that have none yet: one JID each, as a real host's."""
        for number in numbers:
            name = host_name(number)
            path = self.directory / f"{name}.pem"
            if not path.exists():
                subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
                names = x509.SubjectAlternativeName([x509.DNSName(name), xmpp_address(f"{name}@{self._domain}")])
                path.write_bytes(self._signed(self._builder(subject, self._key).add_extension(names, critical=False)))


class LoadProcess:
    """One process of benchmarks.xmpp_load. A context manager; its hosts are gone after the block."""

    def __init__(self, settings: Settings) -> None:
        argv = [sys.executable, "-m", "benchmarks.xmpp_load", json.dumps(asdict(settings))]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, preexec_fn=die_with_parent
        )
        self.pid = int(self._answer()["pid"])

    def begin(self, do: str, **parameters: Any) -> None:
        """Have something done; finish() waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **parameters}).encode() + b"\n")
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """The answer to begin(). Raises LabError when it couldn't be done."""
        answer = self._answer()
        if (error := answer.get("error")) and "seconds" not in answer and "items" not in answer:
            raise LabError(f"load generator: {error}")
        return answer

    def ask(self, do: str, **parameters: Any) -> dict[str, Any]:
        """begin() and finish()."""
        self.begin(do, **parameters)
        return self.finish()

    def connect(self, first: int, count: int, **parameters: Any) -> dict[str, Any]:
        """Log in. Raises LabError unless all succeed."""
        found = self.ask("connect", first=first, count=count, **parameters)
        if found["up"] != count:
            raise LabError(f"load generator: {found['up']} of {count} hosts could log in: {found['error']}")
        return found

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"load generator: ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
