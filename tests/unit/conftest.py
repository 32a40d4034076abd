"""Settings of property tests: how fast the machine is at the moment is no property of the code under test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("vrfwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vrfwire")
