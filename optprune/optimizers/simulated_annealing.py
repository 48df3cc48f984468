"""Simulated annealing: a walk through neighboring structures that cools down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.evaluated import Evaluated
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.suitability import check_one_objective
from optprune.optimizers.warm_start import WarmStart, as_warm_start

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Session

__all__ = ["SimulatedAnnealing"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedAnnealing:
    r"""Walk from neighbor to neighbor, and accept worse ones the more rarely the colder it gets.

    For one objective, with constraints, on integer, binary and continuous spaces: the method that
    needs least of a problem, and a plain baseline for all others. It evaluates one structure after
    the other and so cannot use more than one worker.

    Parameters
    ----------
    steps : int
        Moves of one cooling; afterwards another begins while there is budget.
    hot : float
        Temperature at the beginning, in standard deviations of the objective over the first
        structures.
    cold : float
        Temperature at the end, in the same unit; less than `hot`.
    reach : float
        How far a variable moves at the beginning, as a fraction of its range, in (0, 1]; for bits,
        the share of them that is flipped. It falls with the square root of the temperature, down
        to one width or one bit.
    first : int
        Structures from which the best is where the walk begins; evaluated as one batch.
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first among the `first` ones.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives.

    Notes
    -----
    With the objective :math:`f`, to be minimized, and the temperature :math:`T`, a neighbor that is
    worse by :math:`\Delta` is accepted with the probability :math:`e^{-\Delta / T}`. The
    temperature falls by a constant factor from `hot` to `cold` over `steps` moves. A move changes
    one variable of a network's widths or ratios, more with a probability of 1/2, 1/4, …; or flips
    bits.

    Feasibility first: a feasible structure is never left for an infeasible one; among infeasible
    ones the sum of violations takes the objective's place, with the standard deviation that it has
    among the first structures; one that failed is accepted only in the place of another.

    A neighbor that is known costs nothing, but counts as a move. The next cooling begins at a
    structure that was not evaluated yet; the search ends by itself when there is none. Moves,
    cooling and restarts are ours; the acceptance is Kirkpatrick's.

    References
    ----------
    S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi. Optimization by simulated annealing. Science
    220(4598), 1983. doi:10.1126/science.220.4598.671.
    """

    steps: int = 300
    hot: float = 0.5
    cold: float = 0.005
    reach: float = 0.3
    first: int = 10
    seeded_by: WarmStart | None = None
    name: str = "SimulatedAnnealing"

    def __post_init__(self) -> None:
        owner = "SimulatedAnnealing"
        check_at_least(owner, "steps", self.steps, 1)
        check_at_least(owner, "first", self.first, 1)
        hot, cold = (check_number(owner, name, getattr(self, name)) for name in ("hot", "cold"))
        if not 0 < cold < hot:
            raise ArgumentError(
                f"{owner}: `cold` must be greater than 0 and less than `hot`, not {self.cold!r} "
                f"with hot={self.hot!r}."
            )
        if not 0 < check_number(owner, "reach", self.reach) <= 1:
            raise ArgumentError(f"{owner}: `reach` must lie between 0 and 1, not {self.reach!r}.")
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start(owner, self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Cool down again and again until the session ends the search or the space is used up."""
        owner = "SimulatedAnnealing"
        check_one_objective(owner, problem)
        generator = session.generator
        evaluated = Evaluated(problem, session)
        points = starting_points(
            owner, problem, generator, evaluated.proposed, self.first, self.seeded_by
        )
        states = [_State(*values) for values in zip(*evaluated(points), strict=True)]
        units = _Units.of(states)
        moves = _Moves(problem.bound_space, generator)
        at = min(range(len(states)), key=lambda i: states[i].key)
        point, state = points[at], states[at]
        while True:
            self._cool(point, state, units, moves, evaluated)
            drawn = evaluated.proposed.draw(generator, 1)
            if not len(drawn):
                return
            point, state = drawn[0], _State.at(drawn[0], evaluated)

    def _cool(
        self, point: _Floats, state: _State, units: _Units, moves: _Moves, evaluated: Evaluated
    ) -> None:
        """Walk from a point through one cooling."""
        for step in range(self.steps):
            share = step / max(self.steps - 1, 1)
            temperature = self.hot * (self.cold / self.hot) ** share
            reach = self.reach * np.sqrt(temperature / self.hot)
            neighbor = moves.neighbor(point, reach)
            found = _State.at(neighbor, evaluated)
            rise = units.rise(state, found)
            if rise <= 0 or moves.generator.random() < np.exp(-rise / temperature):
                point, state = neighbor, found


class _State:
    """What a structure is worth: whether it failed, its violations, its objective."""

    def __init__(self, objectives: _Floats, violation: float, failed: bool) -> None:
        self.objective = float(objectives[0])
        self.violation = float(violation)
        self.failed = bool(failed)

    @classmethod
    def at(cls, point: _Floats, evaluated: Evaluated) -> _State:
        """Return the state of a point."""
        objectives, violations, failed = evaluated(point[None])
        return cls(objectives[0], violations[0], failed[0])

    @property
    def key(self) -> tuple[bool, float, float]:
        """What sorts from the best to the worst."""
        return self.failed, self.violation, self.objective


@dataclass(frozen=True)
class _Units:
    """What differences are measured in.

    Parameters
    ----------
    objective, violation : float
        Standard deviations over the first structures.
    """

    objective: float
    violation: float

    @classmethod
    def of(cls, states: list[_State]) -> _Units:
        """Return the units that follow from the first states."""
        measured = [state for state in states if not state.failed]
        return cls(
            _deviation([s.objective for s in measured if s.violation == 0]),
            _deviation([s.violation for s in measured if s.violation > 0]),
        )

    def rise(self, before: _State, after: _State) -> float:
        """Return how much worse it gets, in units of the temperature; infinite if never accepted.

        A rank that changes, from feasible to infeasible to failed, decides alone.
        """
        ranks = [(s.failed, s.violation > 0 and not s.failed) for s in (before, after)]
        if ranks[0] != ranks[1]:
            return np.inf if ranks[1] > ranks[0] else -np.inf
        if before.failed:
            return 0.0
        if before.violation > 0:
            return (after.violation - before.violation) / self.violation
        return (after.objective - before.objective) / self.objective


class _Moves:
    """Neighbors in a space.

    Parameters
    ----------
    space : BoundSpace
        The space.
    generator : numpy.random.Generator
        The source of randomness.
    """

    def __init__(self, space: BoundSpace, generator: np.random.Generator) -> None:
        self.generator = generator
        self._space = space
        self._free = np.flatnonzero(space.upper > space.lower)
        self._range = space.upper - space.lower
        # The least step along a ratio that is sure to change the width of some group.
        least = 1 / max(len(options) for options in space.options)
        self._least = np.ones(len(self._range)) if space.kind == "integer" else least * self._range

    def neighbor(self, point: _Floats, reach: float) -> _Floats:
        """Return a point near another.

        Parameters
        ----------
        point : ndarray of float64, shape (n_variables,)
            The other.
        reach : float
            How far variables move, as a fraction of their range.
        """
        generator, free = self.generator, self._free
        if self._space.kind == "binary":
            most = max(round(reach * len(free)), 1)
            flipped = generator.choice(free, size=generator.integers(1, most + 1), replace=False)
            moved = point.copy()
            moved[flipped] = self._space.lower[flipped] + self._space.upper[flipped]
            moved[flipped] -= point[flipped]
            return moved
        n_moved = min(generator.geometric(0.5), len(free))
        chosen = generator.choice(free, size=n_moved, replace=False)
        far = np.maximum(reach * self._range, self._least)
        step = far[chosen] * generator.uniform(0.0, 1.0, n_moved)
        if self._space.kind == "integer":
            step = np.ceil(step)
        step *= generator.choice([-1.0, 1.0], n_moved)
        moved = point.copy()
        # What would leave the range goes the other way.
        outside = point[chosen] + step
        low, high = self._space.lower[chosen], self._space.upper[chosen]
        step = np.where((outside < low) | (outside > high), -step, step)
        moved[chosen] = np.clip(point[chosen] + step, low, high)
        return moved


def _deviation(values: list[float]) -> float:
    """Return the standard deviation; 1.0 where there is none."""
    deviation = float(np.std(values)) if values else 0.0
    return deviation if deviation > 0 else 1.0
