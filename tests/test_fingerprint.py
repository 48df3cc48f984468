"""Fingerprints say whether two things would behave the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from optprune.fingerprint import describe, digest, digest_arrays


def scaled(factor: float) -> Callable[[float], float]:
    def times(x: float) -> float:
        return factor * x

    return times


@dataclass(frozen=True)
class Method:
    rate: float
    function: Any = None


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, x: float) -> Any:
        return self.value * x


def first(x: float) -> float:
    return x + 1


def second(x: float) -> float:
    return x + 2


def test_things_that_behave_alike_are_described_alike() -> None:
    assert describe(scaled(2.0)) == describe(scaled(2.0))
    assert describe(Method(0.1, first)) == describe(Method(0.1, first))
    assert describe(Plain([1, 2])) == describe(Plain([1, 2]))
    assert describe({"b", "a", "c"}) == describe({"c", "b", "a"})
    assert describe(nn.MSELoss()) == describe(nn.MSELoss())
    assert describe(torch.ones(3)) == describe(torch.ones(3))


def test_things_that_behave_differently_are_told_apart() -> None:
    things = [
        first,
        second,
        scaled(2.0),
        scaled(3.0),
        functools.partial(first, 1),
        functools.partial(first, 2),
        Method(0.1),
        Method(0.2),
        Method(0.1, first),
        Method(0.1, scaled(2.0)),
        Plain(1),
        Plain(True),
        Plain(1.0),
        Plain(1).__call__,
        Plain(2).__call__,
        Plain(np.zeros(2)),
        Plain(np.zeros(3)),
        Plain(np.zeros(2, dtype=np.float32)),
        Plain(torch.zeros(2)),
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        ("a", "b,c"),
        ("a,b", "c"),
        ["a", "b,c"],
        {"a": 1},
        {"a": 2},
        eval("lambda x: x + 1"),
        eval("lambda x: x + 2"),
        eval("lambda x: x.real"),
        eval("lambda x: x.imag"),
        len,
        max,
        np.tanh,
        np.sinh,
        None,
        Method,
        Plain,
    ]
    described = [describe(thing) for thing in things]
    assert len(set(described)) == len(things)
    assert not any(" at 0x" in text for text in described)


def test_what_refers_to_itself_is_described() -> None:
    ring = Plain(None)
    ring.value = [ring]
    assert "(itself)" in describe(ring)


def test_digests_keep_parts_and_shapes_apart() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"]) != digest(["abc"])
    zeros = [np.zeros(4), np.zeros((2, 2)), torch.zeros(4), torch.zeros(4, dtype=torch.bfloat16)]
    assert len({digest_arrays({"a": x}) for x in zeros} | {digest_arrays({"b": zeros[0]})}) == 5
    strided = torch.arange(6.0).reshape(2, 3).T
    assert digest_arrays({"a": strided}) == digest_arrays({"a": strided.contiguous()})
