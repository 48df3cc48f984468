"""SciPy's dual annealing: a heavy-tailed walk that cools down, with local descents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.optimizers.evaluated import INFEASIBLE, Evaluated
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.optimizers.scipy_calls import call, randomness
from optprune.optimizers.starting_points import starting_points
from optprune.optimizers.suitability import check_no_bits, check_one_objective
from optprune.optimizers.unit_box import UnitBox
from optprune.optimizers.warm_start import WarmStart, as_warm_start

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["DualAnnealing"]

_Floats = npt.NDArray[np.float64]

# The visiting distribution and its temperature are made for boxes of about this side.
SIDE = 10.0
# Sweeps over all variables without a new structure after which the walk counts as frozen.
BARREN = 10
# Iterations after which SciPy would end by itself; the session ends the search long before.
FOREVER = 10**9


class _Frozen(Exception):
    """Nothing new has come for a while."""


@dataclass(frozen=True)
class DualAnnealing:
    """Walk with long jumps that become rare, descending from where it gets better, with SciPy.

    For one objective with many local optima, with constraints, on integer and continuous spaces of
    up to a few dozen groups: a sweep of the walk evaluates two structures for each group, one after
    the other, so that it cannot use more than one worker.

    Parameters
    ----------
    first : int
        Structures from which the best is where the walk begins; evaluated as one batch.
    temperature : float
        Temperature at the beginning, above 0.01 and at most 50,000: the higher, the longer the
        jumps stay long. See the notes for its unit.
    visit : float
        Shape of the jumps' distribution, above 1 and at most 3: the higher, the heavier its tail.
    accept : float
        Shape of the acceptance of worse structures, above -10,000 and at most -5: the lower, the
        fewer are accepted.
    local_search : bool
        Whether the walk descends to a local optimum where it has found something better.
    seeded_by : WarmStart, optional
        A structure, a result (its front), an optimizer with a method ``select``, such as
        ``HSICAllocation(targets=(0.7, 0.5, 0.3))``, or several of these: their structures come
        first among the `first` ones.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives or a
        space of bits.

    Notes
    -----
    SciPy's function calls the objective itself; the exception that ends a search passes through it.
    Every variable runs from 0 to 10, whole numbers in cells of equal width. The objective is
    divided by its standard deviation over the feasible structures among the first ones, so that a
    temperature means the same whatever the objective's unit.

    SciPy's own local search follows gradients, and widths have none: a structure does not change
    when a variable moves a little. Ours moves one variable at a time, up and down, by a quarter of
    its range, then by an eighth, and so on down to one width, as long as it gets better.

    Feasibility first: infeasible structures are worse than feasible ones, by the sum of their
    violations, and those that failed are the worst; from a feasible structure none of these is
    accepted.

    Structures known before cost nothing. After ten sweeps without a new one the walk is frozen:
    another begins at a structure not evaluated yet, and the search ends by itself when there is
    none.

    References
    ----------
    Y. Xiang, D. Y. Sun, W. Fan, X. G. Gong. Generalized simulated annealing algorithm and its
    application to the Thomson model. Physics Letters A 233, 1997.
    doi:10.1016/S0375-9601(97)00474-X.
    """

    first: int = 10
    temperature: float = 5230.0
    visit: float = 2.62
    accept: float = -5.0
    local_search: bool = True
    seeded_by: WarmStart | None = None
    name: str = "DualAnnealing"

    def __post_init__(self) -> None:
        owner = "DualAnnealing"
        check_at_least(owner, "first", self.first, 1)
        for name, low, high, rule in (
            ("temperature", 0.01, 5e4, "above 0.01 and at most 50,000"),
            ("visit", 1.0, 3.0, "above 1 and at most 3"),
            ("accept", -1e4, -5.0, "above -10,000 and at most -5"),
        ):
            if not low < check_number(owner, name, getattr(self, name)) <= high:
                raise ArgumentError(
                    f"{owner}: `{name}` must be {rule}, not {getattr(self, name)!r}."
                )
        if not isinstance(self.local_search, bool):
            raise ArgumentTypeError(
                f"{owner}: `local_search` must be True or False, not {self.local_search!r}."
            )
        if self.seeded_by is not None:
            object.__setattr__(self, "seeded_by", as_warm_start(owner, self.seeded_by))

    def search(self, problem: Problem, session: Session) -> None:
        """Begin one walk after another until the session ends the search."""
        owner = "DualAnnealing"
        check_one_objective(owner, problem)
        check_no_bits(owner, problem)
        generator = session.generator
        evaluated, box = Evaluated(problem, session), UnitBox(problem.bound_space)
        points = starting_points(
            owner, problem, generator, evaluated.proposed, self.first, self.seeded_by
        )
        while len(points):
            best = points[int(evaluated.scalars(points).argmin())]
            self._walk(best, evaluated, box, generator)
            points = evaluated.proposed.draw(generator, 1)

    def _walk(
        self, start: _Floats, evaluated: Evaluated, box: UnitBox, generator: np.random.Generator
    ) -> None:
        """Walk from a point until nothing new comes of it."""
        from scipy.optimize import dual_annealing

        unit = evaluated.spread()
        patience = BARREN * 2 * box.n

        def energy(place: _Floats) -> float:
            if evaluated.idle >= patience:
                evaluated.idle = 0
                raise _Frozen
            value = float(evaluated.scalars(box.points(place[None] / SIDE))[0])
            return value / unit if value < INFEASIBLE else value

        try:
            call(
                dual_annealing,
                energy,
                bounds=[(0.0, SIDE)] * box.n,
                maxiter=FOREVER,
                maxfun=float("inf"),
                initial_temp=self.temperature,
                visit=self.visit,
                accept=self.accept,
                no_local_search=not self.local_search,
                minimizer_kwargs={"method": partial(_descend, least=box.finest * SIDE)},
                x0=box.units(start[None])[0] * SIDE,
                **randomness(dual_annealing, generator),
            )
        except _Frozen:
            return


def _descend(
    function: Callable[[_Floats], float], start: npt.ArrayLike, *, least: float, **_: Any
) -> Any:
    """Move along one variable at a time, by steps that are halved down to `least`.

    Parameters
    ----------
    function : callable
        What is minimized.
    start : array_like of shape (n,)
        Where it begins, in a box from 0 to `SIDE`.
    least : float
        The smallest step.
    **_
        What else SciPy hands to a method of ``scipy.optimize.minimize``.

    Returns
    -------
    scipy.optimize.OptimizeResult
        With ``x`` and ``fun``.
    """
    from scipy.optimize import OptimizeResult

    place = np.array(start, dtype=np.float64)
    value, step = function(place), SIDE / 4
    while step >= least:
        before = value
        for variable in range(len(place)):
            for way in (step, -step):
                trial = place.copy()
                trial[variable] = min(max(trial[variable] + way, 0.0), SIDE)
                found = function(trial)
                if found < value:
                    place, value = trial, found
                    break
        if not value < before:
            step /= 2
    result: Any = OptimizeResult()
    result.x, result.fun = place, value
    return result
