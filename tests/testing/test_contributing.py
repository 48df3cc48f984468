"""The examples of CONTRIBUTING.md keep the rules that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import optprune as op
from optprune.search import to_minimization
from optprune.testing import CASES, check_metric, check_optimizer, check_score

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def example(name):
    """Run the block of code that defines a name, and return what it defines."""
    block = next(b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if name in b)
    names = {"dataclass": dataclass, "np": np, "op": op, "to_minimization": to_minimization}
    exec(block, names)
    return names[name]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_optimizer(case):
    check_optimizer(example("HillClimber")(), cases=[case], seeded=False)


def test_the_metric():
    check_metric(example("widest"))


def test_the_score():
    check_score(example("PlainL1")())
