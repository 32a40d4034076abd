"""Tests that need a kernel with VRF, MPLS and GRE; they run in the lab:

python -m lab run -- .venv/bin/pytest tests/kernel
"""

from __future__ import annotations

from tests.lab_fixtures import in_lab, left_as_found, namespace

__all__ = ["in_lab", "left_as_found", "namespace"]
