"""What every test leaves as it found it: logging, which programs that are run within the process configure."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logging_as_found() -> Iterator[None]:
    """A handler that stays would write to the output of a test that is over."""
    loggers = [logging.getLogger(), logging.getLogger("vrfwire")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        # pytest's own come and go with the phases of a test.
        for handler in [found for found in logger.handlers if found not in handlers]:
            if not type(handler).__module__.startswith("_pytest"):
                logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
