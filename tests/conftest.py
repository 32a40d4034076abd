"""Settings of property tests: how fast the machine is at the moment is no property of the code under test, and the same
commit has the same result. `pytest --hypothesis-profile explore` tries examples that weren't tried before."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow]
settings.register_profile("vrfwire", deadline=None, suppress_health_check=_SLOW, derandomize=True)
settings.register_profile("explore", deadline=None, suppress_health_check=_SLOW)
settings.load_profile("vrfwire")
