"""The check of spaces passes what is shipped and finds each broken rule."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from optprune.formulation import Masks, Ratios, Widths
from optprune.scores import L2
from optprune.surgery import Structure
from optprune.testing import ConformanceError, check_space
from optprune.testing.networks import chain_task

CHAIN = [chain_task((5, 6))]


@pytest.mark.parametrize(
    "space",
    [Widths(), Widths(step=8, score=L2()), Masks(), Masks(minimum=3), Ratios(), Ratios(minimum=7)],
    ids=repr,
)
def test_shipped_spaces_keep_the_rules_on_any_network(space):
    check_space(space)


@pytest.mark.parametrize(
    "space",
    [
        Widths(step=2, bounds={"hidden0": (2, 4)}, keep_first={"hidden1": 3}),
        Widths(step=4, minimum=2),
        Widths(frozen=["hidden0"], bounds={"hidden1": (2, 2 + 3)}),
        Masks(bounds={"hidden0": (2, 3)}, keep_first={"hidden1": 2}),
        Masks(frozen=["hidden1"], minimum=2),
        Ratios(bounds={"hidden*": (0.2, 0.7)}, keep_first={"hidden0": 2}),
        Ratios(bounds={"hidden0": (0, 1)}, frozen=["hidden1"]),
    ],
    ids=repr,
)
def test_shipped_spaces_keep_what_they_say_of_groups(space):
    check_space(space, tasks=CHAIN)


def test_a_space_that_suits_no_default_network_is_told_to_bring_one():
    with pytest.raises(ConformanceError, match=r"cannot be bound: .*tasks=\[\.\.\.\]"):
        check_space(Widths(step=64))


class Altered:
    """A bound space of which some members are replaced."""

    def __init__(self, bound: Any, **members: Any) -> None:
        self.bound, self.members = bound, members

    def __getattr__(self, name: str) -> Any:
        if name in ("bound", "members"):  # while it is unpickled
            raise AttributeError(name)
        return self.members[name] if name in self.members else getattr(self.bound, name)


@dataclass(frozen=True)
class Faulty(Widths):
    """Widths with one fault."""

    fault: str = ""

    def bind(self, graph, importance):
        if self.fault == "eager":
            importance()
        if self.fault == "breaks its word":
            return replace(self, minimum=1, frozen=(), keep_first=None, bounds=None, fault="").bind(
                graph, importance
            )
        bound = Widths.bind(self, graph, importance)
        return Altered(bound, **FAULTS[self.fault](bound)) if self.fault in FAULTS else bound


def shifted(function, by=1):
    """Return a function whose result is moved by something."""
    return lambda *arguments: function(*arguments) + by


def written_to(bound):
    def decode(points):
        points[:] = np.rint(points)
        return bound.decode(points)

    return decode


def of_the_batch(bound):
    return lambda points: [bound.decode(points)[0]] * len(points)


def empty(bound):
    def decode(points):
        return [
            Structure(bound.graph.digest[::-1], s.names, s.sizes, s.packed)
            for s in bound.decode(points)
        ]

    return decode


def in_turn(bound):
    """Decode the same vectors to one thing and then to another."""
    calls = []

    def decode(points):
        calls.append(0)
        return bound.decode(points if len(calls) < 2 else bound.upper - points)

    return decode


def drawing(bound):
    def decode(points):
        random.random()
        return bound.decode(points)

    return decode


def by_the_batch(bound):
    """Return members that decode a lone vector otherwise than one among others."""

    def flipped(points):
        return bound.upper - points if len(points) == 1 else points

    return {
        "decode": lambda points: bound.decode(flipped(points)),
        "widths": lambda points: bound.widths(flipped(points)),
    }


def uniform_alone(bound):
    def uniform(ratio):
        return bound.uniform(ratio) if np.ndim(ratio) else bound.upper[None]

    return uniform


FAULTS = {
    "kind": lambda b: {"kind": "whole"},
    "names": lambda b: {"names": ("hidden",) * b.n_variables},
    "empty": lambda b: {"n_variables": 0},
    "bounds": lambda b: {"upper": b.upper.astype(np.int64)},
    "no choice": lambda b: {"lower": b.upper},
    "binary": lambda b: {"kind": "binary"},
    "half": lambda b: {"lower": b.lower + 0.5},
    "narrowest": lambda b: {"narrowest": b.narrowest - 1},
    "type of widths": lambda b: {"widest": b.widest.astype(float)},
    "options": lambda b: {"options": tuple(o[::-1] for o in b.options)},
    "fractions": lambda b: {"sample": shifted(b.sample, 0.5)},
    "unseeded": lambda b: {"sample": lambda g, n: b.sample(np.random.default_rng(), n)},
    "constant": lambda b: {"sample": lambda g, n: b.sample(np.random.default_rng(1), n)},
    "outside": lambda b: {"sample": shifted(b.sample, 99)},
    "global": lambda b: {"decode": drawing(b)},
    "short": lambda b: {"decode": lambda p: b.decode(p)[1:]},
    "gap": lambda b: {"options": tuple(np.delete(o, 1) for o in b.options)},
    "alone": by_the_batch,
    "one ratio": lambda b: {"uniform": uniform_alone(b)},
    "not finite": lambda b: {"keeping": lambda w: np.full((len(w), b.n_variables), np.nan)},
    "part": lambda b: {"cardinality": 29.5},
    "writes": lambda b: {"decode": written_to(b)},
    "mutable": lambda b: {"decode": in_turn(b)},
    "batch": lambda b: {"decode": of_the_batch(b)},
    "other graph": lambda b: {"decode": empty(b)},
    "wraps": lambda b: {
        "decode": lambda p: b.decode(np.asarray(p) % (b.upper + 1)),
        "widths": lambda p: b.widths(np.asarray(p) % (b.upper + 1)),
    },
    "widths": lambda b: {"widths": lambda p: b.widths(b.upper - p)},
    "encode": lambda b: {"encode": lambda s: b.upper - b.encode(s)},
    "flat": lambda b: {"encode": lambda s: b.encode(s)[None]},
    "smallest": lambda b: {"smallest": b.full},
    "full": lambda b: {"full": b.smallest},
    "uniform": lambda b: {"uniform": lambda r: np.tile(b.upper, (np.size(r), 1))},
    "keeping": lambda b: {"keeping": lambda w: np.tile(b.upper, (len(w), 1))},
    "cardinality": lambda b: {"cardinality": b.cardinality - 1},
    "infinite": lambda b: {"cardinality": float("inf")},
    "lock": lambda b: {"lock": threading.Lock()},
}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("eager", "asks for the importance of units in `bind`"),
        ("kind", "has `kind` 'whole'"),
        ("names", "2 different texts as `names`"),
        ("empty", "has no variable"),
        ("bounds", "float64 of shape (2,) as `upper`; it gives int64"),
        ("no choice", "`lower` must be below `upper`"),
        ("half", "bounds that are not whole"),
        ("binary", "must go from 0 to 1"),
        ("narrowest", "1 <= `narrowest` <= `widest` <= [5, 6]"),
        (
            "type of widths",
            "must have int64 of shape (2,) as `widest`, one for each group; it has float64",
        ),
        ("options", "must have as `options` the ascending widths"),
        ("fractions", "gives `sample` "),
        ("outside", "gives `sample` outside of its bounds"),
        ("unseeded", "other vectors with an equal generator"),
        ("constant", "same vectors with another generator"),
        ("writes", "writes to the vectors that it decodes"),
        ("mutable", "decodes the same vectors otherwise"),
        ("batch", "other `widths` of vectors"),
        ("widths", "other `widths` of vectors"),
        ("other graph", "must decode every vector to a structure of the network"),
        ("global", "changes the state of Python's global `random`"),
        ("short", "decodes 162 vectors to 161 structures"),
        ("gap", "of group 'hidden0' that are not among its `options`: [2]"),
        ("alone", "otherwise in a batch than alone"),
        ("one ratio", "other `uniform` vectors for one ratio than for several"),
        ("not finite", "gives `keeping` that is not finite"),
        ("part", "has `cardinality` 29.5."),
        ("wraps", "clipped and rounded"),
        ("encode", "means another"),
        ("flat", "float64 of shape (2,) as `encode`"),
        ("smallest", "has a vector `smallest` with the widths [5, 6], not [1, 1]"),
        ("full", "has a vector `full` with the widths [1, 1], not [5, 6]"),
        ("uniform", "must go from `narrowest` to `widest`"),
        ("keeping", "do not keep the nearest of the `options`"),
        ("cardinality", "has `cardinality` 29 and decodes to 30 structures"),
        ("infinite", "has `cardinality` inf"),
        ("lock", "cannot be pickled (TypeError"),
    ],
)
def test_a_faulty_space_is_named(fault, words):
    with pytest.raises(ConformanceError) as caught:
        check_space(Faulty(fault=fault), tasks=CHAIN)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"minimum": 3}, "says minimum=3 and decodes to 1 units of group 'hidden0'"),
        ({"frozen": ("hidden1",)}, "group 'hidden1' is frozen and decodes to fewer"),
        ({"keep_first": {"hidden0": 2}}, "removes one of these units of group 'hidden0'"),
        ({"bounds": {"hidden1": (2, 4)}}, "decodes to 1 to 6 units of group 'hidden1'"),
    ],
)
def test_a_space_that_breaks_its_word_is_named(said, words):
    with pytest.raises(ConformanceError) as caught:
        check_space(Faulty(fault="breaks its word", **said), tasks=CHAIN)
    assert words in str(caught.value)


@dataclass(frozen=True)
class Forgetful(Widths):
    """Is another space once it was pickled."""

    def __reduce__(self):
        return Forgetful, (self.step + 1,)


def test_a_space_that_is_another_when_it_was_pickled_is_named():
    with pytest.raises(ConformanceError, match=r"is Forgetful\(step=2, .* when it was pickled"):
        check_space(Forgetful(), tasks=CHAIN)


@dataclass(frozen=True)
class Countable(Ratios):
    """Says that the real numbers can be counted."""

    def bind(self, graph, importance):
        return Altered(Ratios.bind(self, graph, importance), cardinality=30.0)


def test_a_continuous_space_that_counts_its_vectors_is_named():
    with pytest.raises(ConformanceError, match=r"has `cardinality` 30.0, not inf"):
        check_space(Countable(), tasks=CHAIN)


def test_a_space_without_a_repr_is_told_to_be_a_dataclass():
    class Plain:
        def __repr__(self):
            return object.__repr__(self)

    with pytest.raises(ConformanceError, match="make it a frozen dataclass"):
        check_space(Plain())


def test_a_space_without_a_score_is_told_what_it_lacks():
    with pytest.raises(ConformanceError, match="lacks `score`"):
        check_space("widths")
