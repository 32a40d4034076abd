"""Takes secrets out of texts that are to be given away. Pure.

Two ways, since neither is enough: secrets that are known (contents of the files that the configuration names) wherever
they stand, and what looks like one: private keys, passwords in URLs, values that are called a password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

REMOVED = "(removed)"
SHORTEST = 4
"""Characters of a known secret that is looked for; a shorter one would be found in every other word."""

_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_URL = re.compile(r"(?<=://)([^\s/:@\"']{0,128}):(?:[^\s\"'<>]{1,256}|[^\s/@\"']+)(?=@)")
"""Up to the last @: a password may hold / and @ that nobody has escaped."""
_URL_TOKEN = re.compile(r"(?<=https://|.http://)[^\s/:@\"']+(?=@)")
_WORDS = (
    r"(?:password|passwd|passphrase|(?<![a-z])(?:pass|pwd)(?![a-z])|secret|token|set_?credential"
    r"|(?:private|preshared|pre-shared|api|access|signing|encryption)[ _-]?key|psk)"
)
_TOLD = r"\"\"\".*?(?:\"\"\"|\Z)|\"(?:[^\"\\]|\\.)*\"|\"[^\n]*|'[^'\n]*'|\[[^\]]{0,4096}\]|[^\s,;}\]]+"
"""How a value is written: as in TOML and JSON, cut off perhaps; in a shell; in a list; plain."""
_NAMED = re.compile(
    rf"((?<![\w/.-])[\w.-]{{0,80}}{_WORDS}(?![\w-]*(?:file|path|dir(?:ectory)?)\b)[\w-]{{0,80}}[\"']?\s*[:=]\s*)({_TOLD})",
    re.DOTALL | re.IGNORECASE,
)
_OPTION = re.compile(r"(?i)((?<!\S)--?[\w-]{0,80}(?:password|passphrase|secret|token|api-key)\s+)(?![\s-])\S+")
_AUTHORIZATION = re.compile(r"(?i)(\b(?:proxy-)?authorization\s*[:=]\s*[\"']?(?:\w+\s+)?|\bbearer\s+)[^\s\"',]+")
_HASH = re.compile(
    r"\$(?:argon2\w*|scrypt|pbkdf2[\w-]*|y|2[aby]|[156])\$[^\s\"',]+|\bSCRAM-SHA-\d+\$[^\s\"',]+", re.ASCII
)


class Redactor:
    """Knows secrets: texts, of several lines perhaps."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = set[str]()
        for secret in secrets:
            for text in (secret.strip(), *map(str.strip, secret.splitlines())):
                # As it is, and as it stands in a JSON document.
                found.update((text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]))
        # The longest first, so that nothing is left of one that holds another.
        words = sorted((word for word in found if len(word) >= SHORTEST and not word.startswith("-----")), key=len)
        self._known = re.compile("|".join(map(re.escape, reversed(words)))) if words else None

    def clean(self, text: str) -> str:
        """The text without secrets."""
        text = _KEY.sub("(private key removed)", text)
        if self._known is not None:
            text = self._known.sub(REMOVED, text)
        text = _URL.sub(rf"\1:{REMOVED}", text)
        text = _URL_TOKEN.sub(REMOVED, text)
        text = _AUTHORIZATION.sub(rf"\1{REMOVED}", text)
        text = _OPTION.sub(rf"\1{REMOVED}", text)
        text = _NAMED.sub(_named, text)
        return _HASH.sub(REMOVED, text)


def _named(match: re.Match[str]) -> str:
    value = match[2]
    if value in ("null", "None", '""', "''"):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match[1]}{quote}{REMOVED}{quote}"
