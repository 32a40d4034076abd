"""SASL of the server (RFC 6120, section 6): EXTERNAL with a client certificate (XEP-0178) and SCRAM-SHA-256.

PLAIN isn't offered: the gateway keeps no passwords and no host needs it.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Callable
from dataclasses import dataclass

from xmpp.jid import Jid, JidError, prepare_localpart
from xmpp.scram import ScramError, ScramKeys, ScramServer

EXTERNAL = "EXTERNAL"
SCRAM_SHA_256 = "SCRAM-SHA-256"

_NONCE_OCTETS = 18


class SaslCondition(enum.StrEnum):
    """Conditions of a SASL failure (RFC 6120, section 6.5)."""

    ABORTED = "aborted"
    ACCOUNT_DISABLED = "account-disabled"
    CREDENTIALS_EXPIRED = "credentials-expired"
    ENCRYPTION_REQUIRED = "encryption-required"
    INCORRECT_ENCODING = "incorrect-encoding"
    INVALID_AUTHZID = "invalid-authzid"
    INVALID_MECHANISM = "invalid-mechanism"
    MALFORMED_REQUEST = "malformed-request"
    MECHANISM_TOO_WEAK = "mechanism-too-weak"
    NOT_AUTHORIZED = "not-authorized"
    TEMPORARY_AUTH_FAILURE = "temporary-auth-failure"


class SaslError(Exception):
    """An attempt fails with this condition; text: one line, sent to the peer."""

    def __init__(self, condition: SaslCondition, text: str = "") -> None:
        super().__init__(f"{condition}: {text}" if text else str(condition))
        self.condition = condition
        self.text = text


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this and wait for a response."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """The peer is who it says; data: what goes with <success/> (b"" for nothing)."""

    jid: Jid
    mechanism: str
    data: bytes


class SaslServer:
    """The attempts of one stream.

    domain: where accounts live; identities: bare JIDs named by the client's valid certificate; scram_keys: keys of a
    localpart (None: SCRAM isn't offered); secret: see ScramServer; random: source of unpredictable bytes.
    """

    def __init__(
        self,
        domain: str,
        identities: tuple[Jid, ...],
        scram_keys: Callable[[str], ScramKeys | None] | None,
        secret: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        self._domain = domain
        self._identities = identities
        self._scram_keys = scram_keys
        self._secret = secret
        self._random = random
        self._scram: ScramServer | None = None
        self._mechanism = ""
        offered = []
        if identities:
            offered.append(EXTERNAL)
        if scram_keys is not None:
            offered.append(SCRAM_SHA_256)
        self.mechanisms = tuple(offered)
        """Mechanisms on offer, the preferred one first."""

    @property
    def active(self) -> bool:
        """Whether a challenge waits for its response."""
        return bool(self._mechanism)

    def start(self, mechanism: str, payload: str) -> Challenge | Success:
        """Take <auth/>: its mechanism and text ("" for no initial response, "=" for an empty one); raises SaslError."""
        self.abort()
        if mechanism not in self.mechanisms:
            raise SaslError(SaslCondition.INVALID_MECHANISM)
        self._mechanism = mechanism
        if not payload:
            return Challenge(b"")
        return self._take(b"" if payload == "=" else _decode(payload))

    def respond(self, payload: str) -> Challenge | Success:
        """Take <response/>; raises SaslError."""
        if not self._mechanism:
            raise SaslError(SaslCondition.MALFORMED_REQUEST, "a response without a challenge")
        return self._take(b"" if payload in ("", "=") else _decode(payload))

    def abort(self) -> None:
        """Forget the attempt under way."""
        self._mechanism, self._scram = "", None

    def _take(self, message: bytes) -> Challenge | Success:
        try:
            outcome = self._external(message) if self._mechanism == EXTERNAL else self._scram_step(message)
        except (SaslError, ScramError) as error:
            self.abort()
            if isinstance(error, SaslError):
                raise
            condition = SaslCondition.MALFORMED_REQUEST if error.malformed else SaslCondition.NOT_AUTHORIZED
            raise SaslError(condition, str(error)) from None
        if isinstance(outcome, Success):
            self.abort()
        return outcome

    def _external(self, message: bytes) -> Success:
        """XEP-0178, section 3: the authorization identity is empty or one that the certificate names."""
        if not message:
            if len(self._identities) != 1:
                raise SaslError(SaslCondition.INVALID_AUTHZID, "the certificate names several: say which")
            return Success(self._identities[0], EXTERNAL, b"")
        jid = _authzid(message)
        if jid not in self._identities:
            raise SaslError(SaslCondition.INVALID_AUTHZID, "the certificate doesn't name this address")
        return Success(jid, EXTERNAL, b"")

    def _scram_step(self, message: bytes) -> Challenge | Success:
        if self._scram is None:
            nonce = base64.b64encode(self._random(_NONCE_OCTETS)).decode()
            self._scram = ScramServer(self._keys, self._secret, nonce)
            return Challenge(self._scram.first(message))
        signature = self._scram.final(message)
        jid = Jid(prepare_localpart(self._scram.username), self._domain)
        if self._scram.authzid and _authzid(self._scram.authzid.encode()) != jid:
            raise SaslError(SaslCondition.INVALID_AUTHZID, "nobody may act for another host")
        return Success(jid, SCRAM_SHA_256, signature)

    def _keys(self, username: str) -> ScramKeys | None:
        """Keys of a user name; one that can't be a localpart is unknown, not refused, to tell nothing."""
        try:
            localpart = prepare_localpart(username)
        except JidError:
            return None
        return self._scram_keys(localpart) if self._scram_keys is not None else None


def _authzid(message: bytes) -> Jid:
    try:
        return Jid.parse(message.decode())
    except (UnicodeDecodeError, JidError):
        raise SaslError(SaslCondition.INVALID_AUTHZID, "the authorization identity is no address") from None


def _decode(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError:
        raise SaslError(SaslCondition.INCORRECT_ENCODING) from None
