from __future__ import annotations

import random

import numpy as np
import torch

from optprune.formulation.randomness import seed_from, seeded

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def test_a_seed_depends_on_every_part_and_its_kind() -> None:
    parts: list[tuple[int | str, ...]] = [(1, "ab"), ("1", "ab"), (1, "a", "b"), (1,), (2, "ab")]
    seeds = {seed_from(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_inside_the_block_the_generators_are_seeded() -> None:
    with seeded(5, CPU):
        first = draw()
    draw()
    with seeded(5, CPU):
        assert draw() == first
    with seeded(6, CPU):
        assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_after_the_block_the_generators_are_where_they_were() -> None:
    with seeded(0, CPU):
        draw()
        expected = draw()
    with seeded(0, CPU):
        draw()
        with seeded(7, CPU):
            draw()
        assert draw() == expected
