"""The version of vrfwire."""

from __future__ import annotations

VERSION = "0.1.0"
"""As in pyproject.toml (a test compares them); a constant, because reading package metadata costs start-up time."""
