"""How to reach a PostgreSQL: what SQLAlchemy's engine and the listening connection have in common."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from runtime.errors import OperatorError

LOCK_CLASS = 0x76777265
"""First half of our advisory locks' keys: "vwre"."""
CHANNEL = "vrfwire_map"
"""Of LISTEN and NOTIFY. The payload is the id of the server that has committed, or LEFT."""
LEFT = "left"
"""The notice of a server that ends in good order: its sessions are to be ended by the others."""
CONNECT_TIMEOUT = 5.0
"""Seconds."""


class Database:
    """The database that a URL names. Its password is in nothing that this class gives but `arguments`."""

    def __init__(self, url: sa.URL, program: str, patience: float) -> None:
        """program: application_name, shown in pg_stat_activity. patience: seconds after which a peer that doesn't
        answer is given up. Raises OperatorError: the URL has parameters that can't be."""
        url = url.set(drivername="postgresql+psycopg")
        self._secrets = _secrets(url)
        self.what = f"PostgreSQL {url.host or _text(url.query.get('host', 'here'))}/{url.database or ''}"
        milliseconds = str(int(patience * 1000))
        defaults = {
            "application_name": program,
            "client_encoding": "UTF8",
            "connect_timeout": str(int(CONNECT_TIMEOUT)),
            "keepalives_idle": str(max(1, int(patience / 3))),
            "keepalives_interval": str(max(1, int(patience / 6))),
            "keepalives_count": "3",
            "tcp_user_timeout": milliseconds,
        }
        self._settings = {
            # A server that stops dead in a transaction must not keep the others from committing.
            "idle_in_transaction_session_timeout": milliseconds,
            "lock_timeout": milliseconds,
            # Nor one whose machine is gone, whose connection PostgreSQL would keep for hours.
            "tcp_keepalives_idle": defaults["keepalives_idle"],
            "tcp_keepalives_interval": defaults["keepalives_interval"],
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": milliseconds,
        }
        self._url = url.set(query={**defaults, **url.query})
        self.engine = sa.create_engine(self._url, poolclass=sa.NullPool, hide_parameters=True)
        sa.event.listen(self.engine, "connect", self._connected)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of psycopg's connect, for a connection beside the engine's."""
        _, arguments = self.engine.dialect.create_connect_args(self._url)
        return dict(arguments)

    def without_secrets(self, text: str) -> str:
        """The text with the password struck out, should it ever be in there."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def refuse(self, why: str, hint: str = "") -> OperatorError:
        """The error to raise when it can't be used."""
        return OperatorError(self.what, self.without_secrets(why), hint or "see [store] url, and PostgreSQL's log")

    def _connected(self, connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            for name, value in self._settings.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            # What is acknowledged has to be on disk; a stricter setting (remote_apply) stays.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            )
        connection.commit()


def _secrets(url: sa.URL) -> list[str]:
    """What must not be shown, as it is and as URLs write it; the longest first."""
    passwords = {str(url.password or ""), _text(url.query.get("password", ""))} - {""}
    return sorted(passwords | {quote(password, safe="") for password in passwords}, key=len, reverse=True)


def _text(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ",".join(value)
