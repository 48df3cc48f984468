"""Gradual pruning: prune a little, recover, score again what is left, prune further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from optprune.errors import ArgumentError, OptpruneError, RecoveryError
from optprune.formulation.arguments import plug_in
from optprune.formulation.candidate import Candidate
from optprune.formulation.metrics import macs
from optprune.formulation.problem import IMPORTANCE_SEED
from optprune.formulation.proposal import Proposal, Start
from optprune.formulation.randomness import seeded
from optprune.formulation.uniform import uniform_ratio
from optprune.optimizers.parameters import check_at_least, check_number
from optprune.recovery import Recovery
from optprune.scores import ScoreContext, importance_of
from optprune.search.threads import torch_threads
from optprune.surgery.state import dense_state

if TYPE_CHECKING:
    from optprune.formulation import BoundSpace, Problem
    from optprune.search import Session
    from optprune.surgery import Structure

__all__ = ["Rounds"]

_Floats = npt.NDArray[np.float64]
_State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rounds:
    r"""Prune in rounds: in each, a little leaves, the rest recovers, and is scored again.

    Pruning at once ranks all units on the dense network, where units that can stand in for each
    other all seem dispensable. Here the score looks at the network that the earlier rounds have
    left, with its recovered weights. All groups keep the same share of their units.

    Parameters
    ----------
    rounds : int, default 5
        How often something leaves. With 1, it is pruning at once.
    macs : float, default 0.5
        The MACs to reach in the last round, as a fraction of dense, in (0, 1).
    recovery : Recovery, optional
        What repairs the network between two rounds; the problem's own by default. What is measured
        is always repaired by the problem's.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a parameter cannot be used; in a search, if the score fails on a pruned network, or the
        space brings back units that had left.
    InfeasibleError
        In a search, if no structure of the space has so few MACs.
    RecoveryError
        In a search, if `recovery` fails, or a recovery gives the network tensors that the dense one
        lacks.

    Notes
    -----
    Gradual pruning [1]_ removes units on a schedule while the network trains. Here the schedule is
    geometric in the MACs, and ours: round r of R keeps the largest ratio of all groups at which the
    fraction of MACs is at most

    .. math:: m_r = \text{macs}^{\, r / R} ,

    so that every round asks for the same share of what is left. Widths follow from the space as in
    `optprune.optimizers.UniformWidths`, with its bounds and steps; rounds in which nothing would
    leave are left out. What has left never comes back: the structures are nested.

    The first round starts from the task's weights. Then the network of the last round, recovered,
    is put back into the dense shapes with zeros where units have left, which computes the same;
    scores are computed on it, and the next proposal starts from it. Normalizations over channels
    (layer, group) count these zeros while a score passes data through the network; what is measured
    is exact. The best ranking is the score's affair; a score of the weights alone follows what the
    recovery makes of them.

    A recovery has to go on from the weights that it finds, as
    `optprune.recovery.LeastSquares` does, which compares with the dense network in every round.

    Structures do not depend on how good they are: constraints and failures stop nothing. Where the
    problem's own recovery fails, the next round starts from the weights as they were cut.
    Each round but the last recovers twice, to be measured and to go on; both count on the session's
    meter, and so do the scores from the second round on. Only rows on the front keep the weights
    that they start from: have the MACs among the objectives, or bound, to get the last network.
    A seed matters only through a recovery that draws random numbers.

    References
    ----------
    .. [1] M. Zhu and S. Gupta, To prune, or not to prune: exploring the efficacy of pruning for
       model compression, 2017, arXiv:1710.01878.
    """

    rounds: int = 5
    macs: float = 0.5
    recovery: Recovery | None = None
    name: str = "Rounds"

    def __post_init__(self) -> None:
        owner = "Rounds"
        check_at_least(owner, "rounds", self.rounds, 1)
        if not 0 < check_number(owner, "macs", self.macs) < 1:
            raise ArgumentError(
                f"{owner}: `macs` is a fraction of the dense network's, between 0 and 1; got "
                f"{self.macs!r}."
            )
        if self.recovery is not None:
            plug_in(self.recovery, f"{owner}: `recovery`", "recover")

    def search(self, problem: Problem, session: Session) -> None:
        """Propose the structure of one round after another, from the weights of the last."""
        ratios = self._ratios(problem)
        space, last, start = problem.bound_space, problem.graph.full(), None
        for position, ratio in enumerate(ratios):
            structure = space.decode(space.uniform(ratio))[0]
            if (structure.kept & ~last.kept).any():
                raise ArgumentError(
                    f"Rounds: the space {problem.space!r} brings back units that an earlier round "
                    "has removed; at a smaller ratio no group may be wider, and units must be "
                    "ranked by the importance that the space is bound with."
                )
            proposal = Proposal(structure, start)
            session.evaluate([proposal])
            if position + 1 == len(ratios):
                return
            # as in every worker of an executor: to the bit the network that was measured
            with torch_threads(1):
                state = self._recovered(problem, session, proposal)
                importance = _importance(problem, session, structure, state)
            space = _bound(problem, importance)
            last, start = structure, Start.of(state)

    def _ratios(self, problem: Problem) -> list[float]:
        """Return the keep-ratio of every round in which something leaves, falling."""
        graph, space = problem.graph, problem.bound_space
        # the last first: where no structure has so few MACs, that is the bound to be told
        every = [
            uniform_ratio(graph, space, macs <= self.macs ** (number / self.rounds))
            for number in range(self.rounds, 0, -1)
        ]
        ratios, before = [], graph.widths
        for ratio in reversed(every):
            widths = space.widths(space.uniform(ratio))[0]
            if (widths != before).any():
                ratios.append(ratio)
                before = widths
        return ratios

    def _recovered(self, problem: Problem, session: Session, proposal: Proposal) -> _State:
        """Return the recovered weights of a proposal in the dense shapes, zeros elsewhere."""
        structure, slicer = proposal.structure, problem.slicer
        candidate = Candidate(
            problem, proposal, session.seed, session.meter, recovery=self.recovery
        )
        try:
            tensors = candidate.tensors
        except OptpruneError as error:
            if self.recovery is not None:
                raise RecoveryError(
                    f"Rounds: `recovery` failed on the network of widths "
                    f"{tuple(structure.widths.tolist())}: {error}"
                ) from error
            # its row says so
            start = None if proposal.start is None else proposal.start.state
            return slicer.scatter(structure, slicer.take(structure, start))
        added = dense_state(candidate.network).keys() - tensors.keys()
        if added:
            raise RecoveryError(
                f"Rounds: the recovery {candidate.recovery!r} gave the network the tensors "
                f"{sorted(added)[:3]}, which the dense network lacks, so that the next round "
                "cannot start from them. Let the dense network have them (a bias of zeros), or "
                "use another recovery."
            )
        return slicer.scatter(structure, tensors)


def _importance(problem: Problem, session: Session, structure: Structure, state: _State) -> _Floats:
    """Score a pruned network in the dense shapes; what has left is below all others."""
    graph = problem.graph
    context = ScoreContext(task=problem.task, seed=IMPORTANCE_SEED, meter=session.meter)
    copies = {name: tensor.clone() for name, tensor in state.items()}
    network = problem.slicer.load(graph.full(), copies)
    with seeded(IMPORTANCE_SEED, problem.task.device):
        importance = importance_of(problem.space.score, network, graph, context)
    kept = structure.kept
    importance[kept] = np.maximum(importance[kept], np.finfo(np.float64).min)
    importance[~kept] = -np.inf
    return importance


def _bound(problem: Problem, importance: _Floats) -> BoundSpace:
    """Return the problem's space with another ranking of the units."""
    return problem.space.bind(problem.graph, lambda: importance)
