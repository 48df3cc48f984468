"""Particle swarm optimization of pymoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError
from optprune.optimizers.parameters import check_number
from optprune.optimizers.pymoo_moves import PymooMoves

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = ["ParticleSwarm"]


@dataclass(frozen=True)
class ParticleSwarm(PymooMoves):
    """Let points fly between the best that each has seen and the best of all.

    For one objective, with constraints, on integer and continuous spaces. Quick on smooth
    objectives; a swarm that has gathered in a local optimum stays there.

    Parameters
    ----------
    population : int
        Particles.
    start, seeded_by, name
        See `NSGA2`.
    inertia : float
        Fraction of its velocity that a particle keeps, at the start.
    cognitive, social : float
        How strongly a particle is drawn to the best that it has seen, and to the best of all, at
        the start.
    adaptive : bool
        Whether the three change with the distances between the particles (Zhan et al. 2009).
    speed : float
        The greatest velocity, as a fraction of each variable's range.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter is outside its range; in a search, if the problem has several objectives or
        its space consists of bits.

    Notes
    -----
    Feasible beats infeasible, less violation beats more. Whole numbers are moved as real ones and
    rounded where they are evaluated. Positions whose structure is known cost nothing; the session
    ends a search that proposes nothing new for a while.

    References
    ----------
    J. Kennedy, R. Eberhart. Particle swarm optimization. International Conference on Neural
    Networks, 1995. doi:10.1109/ICNN.1995.488968.

    Z.-H. Zhan, J. Zhang, Y. Li, H. S.-H. Chung. Adaptive particle swarm optimization. IEEE
    Transactions on Systems, Man, and Cybernetics B 39(6), 2009. doi:10.1109/TSMCB.2009.2015956.
    """

    name: str = "ParticleSwarm"
    inertia: float = 0.9
    cognitive: float = 2.0
    social: float = 2.0
    adaptive: bool = True
    speed: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = "ParticleSwarm"
        for name in ("inertia", "cognitive", "social"):
            value = getattr(self, name)
            if check_number(owner, name, value) < 0:
                raise ArgumentError(f"{owner}: `{name}` must be at least 0, not {value!r}.")
        if not 0 < check_number(owner, "speed", self.speed) <= 1:
            raise ArgumentError(
                f"{owner}: `speed` is a fraction of each variable's range, in (0, 1]; got "
                f"{self.speed!r}."
            )

    def _algorithm(
        self,
        problem: Problem,  # noqa: ARG002
        points: npt.NDArray[np.float64],
    ) -> Any:
        from pymoo.algorithms.soo.nonconvex.pso import PSO

        return PSO(
            pop_size=len(points),
            sampling=points,
            w=self.inertia,
            c1=self.cognitive,
            c2=self.social,
            adaptive=self.adaptive,
            max_velocity_rate=self.speed,
        )
