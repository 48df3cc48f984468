"""One thread, fixed seeds: every test gives the same result anywhere, in any order."""

from __future__ import annotations

import random
import signal

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "optprune",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("optprune")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    # A shell's background job ignores Ctrl-C, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    torch.manual_seed(0)
