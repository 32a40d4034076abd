"""Parameters of requests, read with a clear error for what is missing or of another type."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.errors import ExitCode, OperatorError

MAX_SECONDS = 3600
"""Longest time that a request may ask for."""


def text(params: Mapping[str, object], key: str) -> str:
    """A text that must be there. Raises OperatorError (USAGE)."""
    value = optional(params, key)
    if value is None:
        raise _usage(f'"{key}" is missing')
    return value


def optional(params: Mapping[str, object], key: str) -> str | None:
    """A text that may be there. Raises OperatorError (USAGE)."""
    value = params.get(key)
    if value is not None and not isinstance(value, str):
        raise _usage(f'"{key}" is not a text')
    return value


def flag(params: Mapping[str, object], key: str, *, default: bool = False) -> bool:
    """A switch; default: when it isn't there. Raises OperatorError (USAGE)."""
    value = params.get(key, default)
    if not isinstance(value, bool):
        raise _usage(f'"{key}" is not true or false')
    return value


def count(params: Mapping[str, object], key: str, most: int) -> int | None:
    """A number from 1 to `most` that may be there. Raises OperatorError (USAGE)."""
    value = params.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _usage(f'"{key}" is not a number from 1 to {most}')
    return value


def seconds(params: Mapping[str, object], key: str, default: float) -> float:
    """A time from 0 to MAX_SECONDS. Raises OperatorError (USAGE)."""
    value = params.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise _usage(f'"{key}" is not a number from 0 to {MAX_SECONDS}')
    return float(value)


def _usage(why: str) -> OperatorError:
    return OperatorError("request", why, "", ExitCode.USAGE)
