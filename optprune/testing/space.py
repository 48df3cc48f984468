"""What every space must do: the checks that a plug-in's author runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, get_args

import cloudpickle
import numpy as np
import numpy.typing as npt

from optprune.errors import OptpruneError
from optprune.formulation import BoundSpace, Problem, Space, metrics
from optprune.formulation.space import Kind
from optprune.surgery import ChannelGraph, Structure
from optprune.task import Task
from optprune.testing.choices import check_choices
from optprune.testing.conformance import ConformanceError, leaves_randomness_alone, require
from optprune.testing.networks import chain_task, residual_task

__all__ = ["check_space"]

_DRAWN = 40
"""Vectors that are drawn at random for most rules."""

_LISTED = 6_000
"""A box of so many vectors is decoded whole, to count its structures."""


def check_space(space: Space, *, tasks: Sequence[Task] | None = None) -> None:
    """Bind a space to small networks and check that it keeps the rules.

    Parameters
    ----------
    space : Space
        What to check.
    tasks : sequence of Task, optional
        The networks that it is bound to; by default a chain of linear layers (groups ``hidden0`` to
        ``hidden3`` of 8, 8, 9 and 9 units) and a residual convolutional network (groups ``stem``
        and ``inner`` of 8 and 12). A space with names of groups, or with wide steps, needs others.

    Raises
    ------
    ConformanceError
        With the rule that was broken.

    Notes
    -----
    The rules of the space: its ``repr`` is its configuration; it can be pickled; what it says in
    `minimum`, `frozen`, `keep_first` and `bounds` is kept, where it has them.

    Those of the bound space: names, bounds and kind agree, and every variable has a choice; any
    vector, also one outside of the bounds or between whole numbers, decodes to a structure that
    keeps at least one unit of every group, and widths that are among the `options`; a batch
    decodes as its rows do, always alike, and is not written to; `encode` turns a decoded structure
    into a vector that means it; samples lie in the box and follow from the generator alone;
    `smallest`, `full`, `uniform` and `keeping` give the vectors that they are named for (where
    nothing is bounded, `full` is the dense network); `cardinality` is the number of structures;
    importance is not asked for before it is needed; global generators are left alone.
    """
    who = f"space {space!r}"
    require(
        " object at 0x" not in repr(space),
        f"repr({type(space).__name__}) must be its configuration, by which a journal tells "
        "problems apart; make it a frozen dataclass.",
    )
    for name in ("score", "bind"):
        require(hasattr(space, name), f"{who} lacks `{name}`; see optprune.formulation.Space.")
    for task in tasks if tasks is not None else (chain_task(), residual_task()):
        check = _Check(f"{who} on the task {task.name!r}", space, task)
        with leaves_randomness_alone(check.who):
            check.all()


class _Check:
    """The rules of one space on one task."""

    def __init__(self, who: str, space: Space, task: Task) -> None:
        self.who = who
        try:
            self.problem = Problem(task, space=space, objectives=[metrics.macs])
            self.graph: ChannelGraph = self.problem.graph
            self.asked = 0
            self.space: BoundSpace = space.bind(self.graph, self._importance)
        except OptpruneError as error:
            raise ConformanceError(
                f"{who} cannot be bound: {error} If it is not made for this network, check it "
                "with tasks=[...] that it is made for."
            ) from error

    def _importance(self) -> npt.NDArray[np.float64]:
        self.asked += 1
        return self.problem.importance

    def all(self) -> None:
        """Check every rule; the later ones rely on the earlier."""
        self.require(
            self.asked == 0, "asks for the importance of units in `bind`; ask when it is needed."
        )
        self.box()
        self.options()
        points = self.samples()
        self.decoding(points)
        self.encoding(points)
        self.extremes()
        self.uniform()
        self.keeping(points)
        self.cardinality()
        check_choices(
            self.who,
            self.problem.space,
            self.graph,
            self.decode(self.corners()),
            ratios=self.space.kind == "continuous",
        )
        self.pickling(points)

    def require(self, holds: bool, message: str) -> None:
        """Raise unless something holds of the space."""
        require(holds, f"{self.who} {message}")

    def box(self) -> None:
        """Check names, kind and bounds of the variables."""
        space, n = self.space, self.space.n_variables
        known = get_args(Kind)
        self.require(space.kind in known, f"has `kind` {space.kind!r}, which is none of {known}.")
        self.require(n >= 1, "has no variable: nothing is decided.")
        names = space.names
        self.require(
            isinstance(names, tuple)
            and len(set(names)) == len(names) == n
            and all(isinstance(name, str) and name for name in names),
            f"must have a tuple of {n} different texts as `names`, one for each variable; it has "
            f"{names!r}.",
        )
        for name in ("lower", "upper"):
            self.vectors(f"`{name}`", getattr(space, name), None, inside=False)
        self.require(
            bool((space.lower < space.upper).all()),
            "has variables without a choice: `lower` must be below `upper`; leave out the groups "
            "that are decided already.",
        )
        if space.kind != "continuous":
            ends = np.stack([space.lower, space.upper])
            self.require(bool((ends == np.rint(ends)).all()), "has bounds that are not whole.")
        if space.kind == "binary":
            self.require(
                not space.lower.any() and bool((space.upper == 1).all()),
                "is of kind 'binary' and must go from 0 to 1.",
            )

    def options(self) -> None:
        """Check the widths that each group may have."""
        space, graph = self.space, self.graph
        for name in ("narrowest", "widest"):
            widths = getattr(space, name)
            self.require(
                widths.shape == (graph.n_groups,) and widths.dtype == np.int64,
                f"must have int64 of shape ({graph.n_groups},) as `{name}`, one for each group; it "
                f"has {widths.dtype} of shape {widths.shape}.",
            )
        self.require(
            bool(((space.narrowest >= 1) & (space.narrowest <= space.widest)).all())
            and bool((space.widest <= graph.widths).all()),
            f"must have 1 <= `narrowest` <= `widest` <= {graph.widths.tolist()}; it has "
            f"{space.narrowest.tolist()} and {space.widest.tolist()}.",
        )
        self.require(
            len(space.options) == graph.n_groups
            and all(
                len(widths) > 0
                and bool((np.diff(widths) > 0).all())
                and (widths[0], widths[-1]) == (low, high)
                for widths, low, high in zip(
                    space.options, space.narrowest, space.widest, strict=True
                )
            ),
            "must have as `options` the ascending widths of each group, from `narrowest` to "
            f"`widest`; it has {[np.asarray(widths).tolist() for widths in space.options]}.",
        )

    def samples(self) -> npt.NDArray[np.float64]:
        """Check random vectors, and return some."""
        first, again, other = (
            self.space.sample(np.random.default_rng(seed), _DRAWN) for seed in (1, 1, 2)
        )
        self.vectors("`sample`", first, _DRAWN)
        self.require(
            np.array_equal(first, again),
            "samples other vectors with an equal generator; draw from the one that is given.",
        )
        self.require(
            not np.array_equal(first, other),
            "samples the same vectors with another generator; draw from the one that is given.",
        )
        return first

    def corners(self) -> npt.NDArray[np.float64]:
        """Return vectors inside, on the edges and outside of the box, whole and fractional."""
        generator, space = np.random.default_rng(3), self.space
        span = space.upper - space.lower
        inside = space.lower + span * generator.random((_DRAWN, space.n_variables))
        ends = np.where(generator.random(inside.shape) < 0.5, space.lower, space.upper)
        outside = inside + span * generator.normal(0.0, 2.0, inside.shape)
        return np.concatenate([space.lower[None], space.upper[None], inside, ends, outside])

    def decoding(self, points: npt.NDArray[np.float64]) -> None:
        """Check what vectors mean."""
        space, everything = self.space, np.concatenate([points, self.corners()])
        given = everything.copy()
        structures, widths = self.decode(given), space.widths(given)
        self.require(np.array_equal(given, everything), "writes to the vectors that it decodes.")
        self.require(
            np.array_equal(widths, np.array([structure.widths for structure in structures]))
            and widths.dtype == np.int64,
            "says other `widths` of vectors than the structures have that they decode to.",
        )
        for group, allowed in zip(self.graph.groups, space.options, strict=True):
            found = set(widths[:, group.index].tolist()) - set(np.asarray(allowed).tolist())
            self.require(
                not found,
                f"decodes to widths of group {group.name!r} that are not among its `options`: "
                f"{sorted(found)}.",
            )
        self.require(structures == self.decode(everything), "decodes the same vectors otherwise.")
        rows = [self.decode(row[None])[0] for row in everything]
        self.require(
            rows == structures
            and np.array_equal(widths, np.concatenate([space.widths(r[None]) for r in everything])),
            "decodes a vector otherwise in a batch than alone.",
        )
        repaired = np.clip(everything, space.lower, space.upper)
        if space.kind != "continuous":
            repaired = np.rint(repaired)
        self.require(
            structures == self.decode(repaired),
            "decodes vectors outside of its bounds, or between whole numbers, otherwise than when "
            "they are clipped and rounded.",
        )

    def decode(self, points: npt.NDArray[np.float64]) -> list[Structure]:
        """Decode, and check that structures of the network come out."""
        try:
            structures = self.space.decode(points)
            for structure in structures:
                self.graph.check(structure)
        except OptpruneError as error:
            raise ConformanceError(
                f"{self.who} must decode every vector to a structure of the network: {error}"
            ) from error
        self.require(
            len(structures) == len(points),
            f"decodes {len(points)} vectors to {len(structures)} structures.",
        )
        return structures

    def encoding(self, points: npt.NDArray[np.float64]) -> None:
        """Check that structures become vectors that mean them."""
        structures = self.decode(np.concatenate([points, self.corners()]))
        encoded = [self.space.encode(structure) for structure in structures]
        for vector in encoded:
            self.vectors("`encode`", vector, None)
        self.require(
            self.decode(np.stack(encoded)) == structures,
            "encodes a structure that it decoded as a vector that means another.",
        )

    def extremes(self) -> None:
        """Check the vectors that keep the least and the most."""
        space = self.space
        for name, vector, widths in (
            ("smallest", space.smallest(), space.narrowest),
            ("full", space.full(), space.widest),
        ):
            self.vectors(f"`{name}`", vector, None)
            found = space.widths(vector[None])[0]
            self.require(
                np.array_equal(found, widths),
                f"has a vector `{name}` with the widths {found.tolist()}, not {widths.tolist()}.",
            )
        dense = self.graph.full()
        if np.array_equal(space.widest, self.graph.widths):
            whole = space.decode(np.stack([space.full(), space.encode(dense)]))
            self.require(whole == [dense, dense], "does not decode `full` to the dense network.")

    def uniform(self) -> None:
        """Check the vectors at which all groups keep the same ratio."""
        space = self.space
        ratios = np.concatenate([[1e-9], np.linspace(0.05, 1.0, 20)])
        vectors = space.uniform(ratios)
        self.vectors("`uniform`", vectors, len(ratios))
        self.require(
            np.array_equal(space.uniform(0.5), space.uniform([0.5]))
            and np.array_equal(space.uniform([0.5]), space.uniform([0.5, 1.0])[:1]),
            "gives other `uniform` vectors for one ratio than for several.",
        )
        widths = space.widths(vectors)
        self.require(
            np.array_equal(widths[0], space.narrowest)
            and np.array_equal(widths[-1], space.widest)
            and bool((np.diff(widths, axis=0) >= 0).all()),
            "must go from `narrowest` to `widest` in `uniform` as the ratio rises to 1; its widths "
            f"are {widths.tolist()}.",
        )

    def keeping(self, points: npt.NDArray[np.float64]) -> None:
        """Check the vectors at which groups keep as many units as is asked for."""
        space, graph = self.space, self.graph
        drawn = np.random.default_rng(4).integers(
            1, graph.widths, size=(_DRAWN, graph.n_groups), endpoint=True
        )
        asked = np.concatenate([space.widths(points), drawn])
        vectors = space.keeping(asked)
        self.vectors("`keeping`", vectors, len(asked))
        found = space.widths(vectors)
        for group, allowed in zip(graph.groups, space.options, strict=True):
            mine, wanted = found[:, group.index], asked[:, group.index]
            least = np.abs(np.asarray(allowed)[None] - wanted[:, None]).min(axis=1)
            wrong = np.flatnonzero(np.abs(mine - wanted) != least)
            self.require(
                len(wrong) == 0,
                f"has `keeping` vectors that do not keep the nearest of the `options`: "
                f"{[(int(wanted[i]), int(mine[i])) for i in wrong[:3]]} are asked and kept units "
                f"of group {group.name!r}.",
            )

    def cardinality(self) -> None:
        """Check the number of structures, by listing a small box."""
        space, count = self.space, self.space.cardinality
        if space.kind == "continuous":
            self.require(count == float("inf"), f"has `cardinality` {count}, not inf.")
            return
        self.require(count >= 2 and count == count // 1, f"has `cardinality` {count}.")
        if np.prod(space.upper - space.lower + 1.0) > _LISTED:
            return
        ranges = [np.arange(a, b + 1) for a, b in zip(space.lower, space.upper, strict=True)]
        found = len(set(self.decode(np.array(list(itertools.product(*ranges))))))
        self.require(
            found == count, f"has `cardinality` {count:g} and decodes to {found} structures."
        )

    def pickling(self, points: npt.NDArray[np.float64]) -> None:
        """Check that other processes decode alike."""
        space = self.problem.space
        try:
            copied, problem = cloudpickle.loads(cloudpickle.dumps((space, self.problem)))
        except Exception as error:
            raise ConformanceError(
                f"{self.who} cannot be pickled ({type(error).__name__}: {error}), so that no "
                "worker could evaluate."
            ) from error
        self.require(repr(copied) == repr(space), f"is {copied!r} when it was pickled.")
        self.require(
            problem.bound_space.decode(points) == self.problem.bound_space.decode(points),
            "decodes otherwise when it was pickled.",
        )

    def vectors(self, what: str, found: Any, n: int | None, *, inside: bool = True) -> None:
        """Check shape and values of one vector, or of n."""
        space = self.space
        shape = (space.n_variables,) if n is None else (n, space.n_variables)
        self.require(
            isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.float64,
            f"must give float64 of shape {shape} as {what}; it gives "
            f"{getattr(found, 'dtype', type(found).__name__)} of shape "
            f"{getattr(found, 'shape', None)}.",
        )
        self.require(bool(np.isfinite(found).all()), f"gives {what} that is not finite.")
        if inside:
            self.require(
                bool(((found >= space.lower) & (found <= space.upper)).all()),
                f"gives {what} outside of its bounds `lower` and `upper`.",
            )
            self.require(
                space.kind == "continuous" or bool((found == np.rint(found)).all()),
                f"is of kind {space.kind!r} and gives {what} with fractions.",
            )
