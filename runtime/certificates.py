"""What a certificate says of itself (RFC 5280): who it is of, how long it is valid, who has signed it. No I/O.

Read here, and not by a library, since the agent looks at certificates all the time and a library for it would be a
sixth of the agent's memory. Nothing is verified: TLS has done that, or the file is ours.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

DAY = 86400.0
WARNING_DAYS = 30
"""Days before its end from which on a certificate is a problem of the status."""
KEPT_LISTS = "revoked.pem"
"""Copy of the revocation lists in a state directory."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
_SEQUENCE, _SET, _INTEGER, _OCTETS, _OID, _UTC_TIME, _TIME = 0x30, 0x31, 0x02, 0x04, 0x06, 0x17, 0x18
_VERSION, _EXTENSIONS, _KEY_ID = 0xA0, 0xA3, 0x80
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_KEY = bytes.fromhex("551d0e")
_AUTHORITY_KEY = bytes.fromhex("551d23")
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


class CertificateError(ValueError):
    """It is no certificate."""


class Trouble(NamedTuple):
    """Something an operator should look at."""

    what: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. name: its common name, "" without; issuer, subject: names in DER; not_before, not_after: Unix
    time, seconds; subject_key, authority_key: identifiers of its key and of the signer's, b"" when it doesn't say."""

    serial: int
    name: str
    issuer: bytes
    subject: bytes
    not_before: float
    not_after: float
    subject_key: bytes = b""
    authority_key: bytes = b""

    @property
    def shown_serial(self) -> str:
        """The serial number as openssl prints it."""
        return shown_serial(self.serial)


def shown_serial(serial: int) -> str:
    """A serial number as openssl prints it: hexadecimal, whole octets."""
    text = f"{serial:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def read_der(der: bytes) -> Certificate:
    """Read a certificate. Raises CertificateError."""
    try:
        return _certificate(der)
    except (IndexError, ValueError) as error:
        raise CertificateError("it is no certificate") from error


def read_pem(data: bytes) -> tuple[Certificate, ...]:
    """Read the certificates of a PEM file. Raises CertificateError when one can't be read, or there is none."""
    try:
        found = tuple(read_der(base64.b64decode(match[1])) for match in _PEM.finditer(data))
    except binascii.Error:
        raise CertificateError("it is damaged") from None
    if not found:
        raise CertificateError("there is no certificate in it")
    return found


def expiry_of_chain(chain: tuple[Certificate, ...]) -> float:
    """When a certificate with its chain is of no more use."""
    return min(one.not_after for one in chain)


def expiry_of_authorities(authorities: tuple[Certificate, ...]) -> float:
    """When the last authority ends: that of a former one is nothing to worry about, since none of the certificates that
    it has signed is valid longer."""
    return max(one.not_after for one in authorities)


def expiry_trouble(what: str, expires: float, now: float, hint: str) -> Trouble | None:
    """What is wrong with a certificate that expires then, if that is soon or was already."""
    left = expires - now
    if left > WARNING_DAYS * DAY:
        return None
    when = datetime.datetime.fromtimestamp(expires, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if left <= 0:
        return Trouble(what, f"expired on {when}", hint)
    days = int(left / DAY)
    return Trouble(what, f"expires in {days} day{'s' if days != 1 else ''}, on {when}", hint)


def renewal_hint(name: str) -> str:
    """What to do about a certificate that expires."""
    command = f"vrfwire-gateway-ctl pki renew {name}" if name else "vrfwire-gateway-ctl pki renew NAME"
    return f"`{command}` on the machine of the authority, then replace the file; no restart is needed"


AUTHORITY_HINT = "`vrfwire-gateway-ctl pki init --replace` begins with the next authority; see docs/certificates.md"


# -- DER (X.690)


_MOMENT = re.compile(r"[0-9]{14}Z")


class _Value(NamedTuple):
    """A value: its tag, its content, and all of it."""

    tag: int
    content: bytes
    whole: bytes


def _values(data: bytes) -> Iterator[_Value]:
    """The values one after the other. Raises IndexError or ValueError for anything else."""
    position = 0
    while position < len(data):
        tag, length, start = data[position], data[position + 1], position + 2
        if length & 0x80:
            octets = length & 0x7F
            if not 0 < octets <= 4:
                raise ValueError("length")
            length = int.from_bytes(data[start : start + octets], "big")
            start += octets
        end = start + length
        if end > len(data):
            raise ValueError("truncated")
        yield _Value(tag, data[start:end], data[position:end])
        position = end


def _parts(data: bytes, tag: int = _SEQUENCE) -> list[_Value]:
    """What is in a value of this tag, which is all of the data."""
    (value,) = _values(data)
    if value.tag != tag:
        raise ValueError("tag")
    return list(_values(value.content))


def _certificate(der: bytes) -> Certificate:
    to_be_signed = _parts(_parts(der)[0].whole)
    if to_be_signed[0].tag == _VERSION:
        del to_be_signed[0]
    serial, _, issuer, validity, subject = to_be_signed[:5]
    if serial.tag != _INTEGER:
        raise ValueError("serial number")
    begins, ends = _parts(validity.whole)
    keys = dict(_key_identifiers(to_be_signed[6:]))
    return Certificate(
        int.from_bytes(serial.content, "big", signed=True),
        _common_name(subject.whole),
        issuer.whole,
        subject.whole,
        _seconds(begins),
        _seconds(ends),
        keys.get(_SUBJECT_KEY, b""),
        keys.get(_AUTHORITY_KEY, b""),
    )


def _seconds(value: _Value) -> float:
    text = value.content.decode("ascii")
    if value.tag == _UTC_TIME:
        # Section 4.1.2.5.1: years from 50 on are of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif value.tag != _TIME:
        raise ValueError("time")
    if not _MOMENT.fullmatch(text):
        raise ValueError("time")
    # By strptime() it takes five times as long.
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime.datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=datetime.UTC).timestamp()


def _common_name(subject: bytes) -> str:
    for part in _parts(subject):
        for attribute in _parts(part.whole, _SET):
            kind, value = _parts(attribute.whole)
            if kind.content == _COMMON_NAME and value.tag in _TEXTS:
                # For people alone: whatever is wrong with it, the certificate is to be found in lists.
                return value.content.decode(_TEXTS[value.tag], "replace")
    return ""


def _key_identifiers(rest: list[_Value]) -> Iterator[tuple[bytes, bytes]]:
    for value in rest:
        if value.tag != _EXTENSIONS:
            continue
        for extension in _parts(value.content):
            kind, *_, content = _parts(extension.whole)
            if kind.tag != _OID or content.tag != _OCTETS:
                raise ValueError("extension")
            if kind.content == _SUBJECT_KEY:
                (key,) = _values(content.content)
                yield _SUBJECT_KEY, key.content
            elif kind.content == _AUTHORITY_KEY:
                for part in _parts(content.content):
                    if part.tag == _KEY_ID:
                        yield _AUTHORITY_KEY, part.content
