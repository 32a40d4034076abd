"""[limits] of gateway.toml, and the values made of it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.arrivals import ArrivalSettings
from gateway.limits import LimitSettings, Rate
from runtime.config import between, option

BURST_TIME = 10.0
"""Seconds: so much of a rate may come at once."""
_MIB = 1024 * 1024


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError("must not be negative")
    return value


@dataclass(frozen=True, slots=True)
class LimitsSection:
    """[limits]"""

    stanza_rate: float = option(1000.0, check=_not_negative, help="stanzas a second of one host; 0: any")
    byte_rate: int = option(
        2 * _MIB, check=_not_negative, help="bytes a second of one host's requests and of their answers; 0: any"
    )
    work_share: float = option(
        0.25, check=_not_negative, help="part of a processor that the requests of one host may keep busy; 0: any"
    )
    flood_time: float = option(
        60.0, check=_not_negative, help="a host above these without a pause for so long is sent away; 0: never"
    )
    login_rate: float = option(10.0, check=_not_negative, help="logins a second of one host; 0: any")
    failure_rate: float = option(
        50.0, check=_not_negative, help="connections a second of one address that come to nothing; 0: any"
    )
    logins: int = option(64, check=between(1, 100_000), help="logins under way at a time, the others wait")
    idle_logins: int = option(2000, check=between(1, 1_000_000), help="connections that don't get on with their login")
    idle_logins_per_address: int = option(1000, check=between(1, 1_000_000), help="those of one address")
    stanza_size: int = option(_MIB, check=between(10_000, 64 * _MIB), help="bytes of one stanza")
    memory: int = option(
        1024 * _MIB, check=between(0, 1 << 40), help="bytes held for what hosts send and do not read; 0: any"
    )

    def settings(self) -> LimitSettings:
        """Rates."""
        return LimitSettings(
            stanzas=_rate(self.stanza_rate),
            octets=_rate(self.byte_rate),
            work=_rate(self.work_share),
            flood_time=self.flood_time,
            logins=_rate(self.login_rate),
            failures=_rate(self.failure_rate),
        )

    def arrivals(self, login_timeout: float) -> ArrivalSettings:
        """Of those that aren't sessions. login_timeout: seconds."""
        return ArrivalSettings(
            under_way=self.logins,
            idle=self.idle_logins,
            idle_of_address=self.idle_logins_per_address,
            silence=login_timeout,
        )


def _rate(per_second: float) -> Rate:
    return Rate(per_second, per_second * BURST_TIME)
