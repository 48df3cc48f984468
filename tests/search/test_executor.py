"""The serial executor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError
from optprune.formulation import Candidate
from optprune.optimizers import Random
from optprune.search import Serial, solve

from .cases import chain, custom


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (2, 2), (None, 3)])
def test_candidates_are_measured_with_the_threads_asked_for(
    threads: int | None, expected: int
) -> None:
    def count(candidate: Candidate) -> float:
        return float(torch.get_num_threads())

    problem = chain(objectives=[custom(count, "threads", needs="network")])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        result = solve(
            problem, Random(), evaluations=3, seed=0, executor=Serial(threads), progress=False
        )
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(result.log["threads"], [expected] * 3)


def test_one_thread_is_the_default() -> None:
    assert repr(Serial()) == "Serial(threads=1)"


def test_no_thread_is_refused() -> None:
    with pytest.raises(ArgumentError, match="threads must be at least 1"):
        Serial(threads=0)
