"""MPLS label values (RFC 3032, section 2.1)."""

from __future__ import annotations

LABEL_MIN = 16
"""Labels 0 to 15 are reserved (RFC 3032, RFC 7274) and never carried in a VPN route."""
LABEL_MAX = 0xFFFFF
"""The label field has 20 bits."""


class LabelError(ValueError):
    """A number is no usable label."""


def check_label(value: int) -> int:
    """Return value when it can be the label of a VPN route, else raise LabelError."""
    if not LABEL_MIN <= value <= LABEL_MAX:
        raise LabelError(f"label {value} is outside {LABEL_MIN}..{LABEL_MAX}")
    return value
