"""`vrfwire doctor`: what keeps this host from working, looked for with effort. Blocking: run it beside the loop."""

from __future__ import annotations

import datetime
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from agent.config import AgentConfig
from agent.session import tls_context
from runtime.config import read_secret
from runtime.errors import OperatorError

Finding = dict[str, object]
_EXPIRY_WARNING = datetime.timedelta(days=14)


def finding(check: str, state: str, detail: str, hint: str = "") -> Finding:
    """One result: state "ok", "warning" or "failed"."""
    return {"check": check, "state": state, "detail": detail, "hint": "" if state == "ok" else hint}


def examine(config: AgentConfig) -> list[Finding]:
    """Kernel, underlay address, certificates and passwords."""
    return [*_kernel(), *_underlay(config), *_certificates(config), *_passwords(config)]


def _kernel() -> Iterator[Finding]:
    # Imported here: nothing else of the daemon needs it.
    from datapath.probe import probe

    for item in probe():
        yield finding(item.check, str(item.state), item.detail, item.hint)


def _underlay(config: AgentConfig) -> Iterator[Finding]:
    address = str(config.host.address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            missing = error.errno == errno.EADDRNOTAVAIL
            why = "no device has it" if missing else error.strerror
            yield finding("underlay address", "failed", f"{address}: {why}", "see [host] address and `ip addr`")
        else:
            yield finding("underlay address", "ok", address)


def _certificates(config: AgentConfig) -> Iterator[Finding]:
    try:
        tls_context(config.tls.ca, config.tls.certificate, config.tls.key)
    except OperatorError as error:
        yield finding("certificates", "failed", str(error), error.hint)
        return
    for path in (config.tls.ca, config.tls.certificate):
        if path is not None:
            yield _expiry(path)


def _expiry(path: Path) -> Finding:
    from cryptography import x509

    check = f"certificate {path}"
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError) as error:
        return finding(check, "failed", str(error), "it must be a PEM file")
    now = datetime.datetime.now(datetime.UTC)
    end = certificate.not_valid_after_utc
    if certificate.not_valid_before_utc > now:
        return finding(check, "failed", f"valid only from {certificate.not_valid_before_utc:%Y-%m-%d}", "see the clock")
    if end < now:
        return finding(check, "failed", f"expired on {end:%Y-%m-%d}", "renew it; no restart is needed")
    state = "warning" if end - now < _EXPIRY_WARNING else "ok"
    return finding(check, state, f"valid until {end:%Y-%m-%d}", "renew it; no restart is needed")


def _passwords(config: AgentConfig) -> Iterator[Finding]:
    for gateway in config.gateway:
        if gateway.password_file is not None:
            check = f"password for {gateway.address}"
            try:
                read_secret(gateway.password_file)
            except OperatorError as error:
                yield finding(check, "failed", str(error), error.hint)
            else:
                yield finding(check, "ok", str(gateway.password_file))
