"""Takes secrets out of texts that are to be given away. Pure.

Two ways, since neither is enough: secrets that are known (contents of the files that the configuration names) wherever
they stand, and what looks like one: private keys, passwords in URLs, values that are called a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

REMOVED = "(removed)"
SHORTEST = 4
"""Characters of a known secret that is looked for; a shorter one would be found in every other word."""

_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_URL = re.compile(r"(?<=://)([^\s/:@\"']*):([^\s/@\"']+)(?=@)")
_NAMED = re.compile(
    r"(?i)((?<![\w/.-])[\w-]{0,80}(?:password|passwd|passphrase|secret|token|private[ _-]?key|preshared[ _-]?key|psk)"
    r"[\"']?\s*[:=]\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;}\]]+)"
)
_AUTHORIZATION = re.compile(r"(?i)(\b(?:proxy-)?authorization\s*[:=]\s*[\"']?(?:\w+\s+)?)[^\s\"',]+")
_HASH = re.compile(r"\$(?:argon2\w*|scrypt|pbkdf2[\w-]*|y|2[aby]|[156])\$[^\s\"',]+")


class Redactor:
    """Knows secrets: texts, of several lines perhaps."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = set[str]()
        for secret in secrets:
            found.update(line.strip() for line in secret.splitlines())
            found.add(secret.strip())
        # The longest first, so that nothing is left of one that holds another.
        words = sorted((word for word in found if len(word) >= SHORTEST and not word.startswith("-----")), key=len)
        self._known = re.compile("|".join(map(re.escape, reversed(words)))) if words else None

    def clean(self, text: str) -> str:
        """The text without secrets."""
        text = _KEY.sub("(private key removed)", text)
        if self._known is not None:
            text = self._known.sub(REMOVED, text)
        text = _URL.sub(rf"\1:{REMOVED}", text)
        text = _AUTHORIZATION.sub(rf"\1{REMOVED}", text)
        text = _NAMED.sub(_named, text)
        return _HASH.sub(REMOVED, text)


def _named(match: re.Match[str]) -> str:
    value = match[2]
    if value in ("null", "None", '""', "''"):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match[1]}{quote}{REMOVED}{quote}"
