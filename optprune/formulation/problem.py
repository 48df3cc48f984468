"""A problem: pruning a network, written as an optimization problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    InfeasibleError,
)
from optprune.fingerprint import describe, digest, digest_arrays
from optprune.formulation.arguments import (
    bound_constraints,
    bound_objectives,
    plug_in,
    reference_point,
    unique_metrics,
)
from optprune.formulation.candidate import Candidate
from optprune.formulation.constraint import Constraint
from optprune.formulation.metric import Metric, Needs
from optprune.formulation.metrics import Cost
from optprune.formulation.proposal import Proposal
from optprune.formulation.randomness import seeded
from optprune.formulation.space import BoundSpace, Space
from optprune.formulation.uniform import uniform_ratio
from optprune.formulation.widths import Widths
from optprune.meter import Meter
from optprune.recovery import Nothing, Recovery, Shared
from optprune.scores import Score, ScoreContext, importance_of
from optprune.surgery import ChannelGraph, Slicer, Structure, cut, trace
from optprune.task import Task

__all__ = ["Problem"]

IMPORTANCE_SEED = 0
"""Seed of a score that draws random numbers, whatever the seed of the search."""


class Problem:
    """What is decided, what is measured, and what must hold.

    Parameters
    ----------
    task : Task
        A trained network with its data.
    space : Space, default Widths()
        What is decided: `Widths`, `Masks` or `Ratios`.
    recovery : Recovery, default Nothing()
        What happens to the weights after removal.
    objectives : Metric or sequence of Metric
        What to minimize or maximize; the order is the order of columns.
    subject_to : Constraint or sequence of Constraint, default ()
        What must hold: comparisons such as ``op.metrics.macs <= 0.5``.
    device : str or torch.device, optional
        Moves the task there first; by default it stays where it is.
    graph : ChannelGraph, optional
        The network's graph, if it was traced already; by default it is traced here.
    reference : mapping of str to float, optional
        Coordinates of the reference point for the hypervolume by the objective's name, where
        they are to differ from the metrics' own.

    Attributes
    ----------
    bound_space : BoundSpace
        The space, bound to the graph: the box of vectors that optimizers see.
    objectives : tuple of Metric
        With their directions settled.
    constraints : tuple of Constraint
        With the directions of their metrics settled.
    slicer : Slicer
        Cuts the network; all candidates share its one module.
    metrics : tuple of Metric
        Objectives, then what only constraints use; each once.
    setup_meter : Meter
        Counts the passes over data that importance took, and whatever else is done once.
    shared : Shared
        What recoveries make once for all candidates, counted on `setup_meter`.

    Raises
    ------
    ArgumentTypeError
        If an argument is of a type that cannot be used.
    ArgumentError
        If the network has no prunable group (with the reasons), there is no objective, an
        objective or a constraint is there twice, two metrics share a name, or a metric does not
        fit the task.
    InfeasibleError
        If no structure of the space can meet a constraint on a cost.
    GraphMismatchError
        If `graph` is not that of the task's network.
    UnknownGroupError
        If the space names a group that is not there.
    TraceError
        If the network cannot be traced.
    """

    def __init__(
        self,
        task: Task,
        *,
        space: Space | None = None,
        recovery: Recovery | None = None,
        objectives: Metric | Sequence[Metric],
        subject_to: Constraint | Sequence[Constraint] = (),
        device: str | torch.device | None = None,
        graph: ChannelGraph | None = None,
        reference: Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(task, Task):
            raise ArgumentTypeError(
                f"task must be a Task, got {type(task).__name__}; wrap the network and its data: "
                "op.Task(network, validation=(inputs, targets))."
            )
        self.task = task if device is None else task.to(device)
        self.objectives = bound_objectives(objectives, self.task)
        self.constraints = bound_constraints(subject_to, self.task)
        self.metrics = unique_metrics(
            [*self.objectives, *(constraint.metric for constraint in self.constraints)]
        )
        self.space: Space = Widths() if space is None else plug_in(space, "space", "bind")
        self.recovery: Recovery = (
            Nothing() if recovery is None else plug_in(recovery, "recovery", "recover")
        )
        self._reference = reference_point(reference, self.objectives)
        self.setup_meter = Meter()
        self.shared = Shared(self.setup_meter)
        if graph is not None and not isinstance(graph, ChannelGraph):
            raise ArgumentTypeError(
                f"graph must be a ChannelGraph, got {type(graph).__name__}; make one with "
                "op.trace(network, example), or leave it out."
            )
        self.graph = trace(self.task.network, self.task.example) if graph is None else graph
        self.slicer = Slicer(self.task.network, self.graph)
        if not self.graph.groups:
            raise ArgumentError(_nothing_prunable(self.task.network, self.graph))
        self.bound_space: BoundSpace = self.space.bind(self.graph, self._importance)
        self._weights = _digest_of_weights(self.task.network)
        self._check_reachable()

    @cached_property
    def metrics_by_need(self) -> Mapping[Needs, tuple[Metric, ...]]:
        """The metrics that look at the structure, at the network, and at its predictions."""
        return {
            need: tuple(metric for metric in self.metrics if metric.needs == need)
            for need in get_args(Needs)
        }

    @cached_property
    def needs(self) -> Needs:
        """What the most demanding of the metrics looks at."""
        return [need for need, metrics in self.metrics_by_need.items() if metrics][-1]

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the objectives, of length ``n_objectives``."""
        return tuple(metric.name for metric in self.objectives)

    @property
    def n_objectives(self) -> int:
        """Number of objectives."""
        return len(self.objectives)

    @property
    def n_constraints(self) -> int:
        """Number of constraints."""
        return len(self.constraints)

    @property
    def reference(self) -> npt.NDArray[np.float64]:
        """The reference point for the hypervolume, shape (n_objectives,), in natural units.

        NaN for an objective that has none of its own: take the worst value seen.
        """
        return self._reference.copy()

    @cached_property
    def importance(self) -> npt.NDArray[np.float64]:
        """Importance of every unit by the space's score on the dense network, shape (n_units,).

        Computed once, when something first asks for it; see `scored`.

        Raises
        ------
        ArgumentError
            If the score raises, or returns anything but one number for each unit.
        """
        return self.scored(self.space.score)

    def scored(self, score: Score) -> npt.NDArray[np.float64]:
        """Score every unit of the dense network.

        Parameters
        ----------
        score : Score
            The space's own, or another one.

        Returns
        -------
        ndarray of float64, shape (n_units,), read-only
            Higher = kept longer. Computed on a copy of the network, counted on `setup_meter`. A
            score that draws random numbers has a fixed seed of its own, so importance does not
            depend on the seed of a search.

        Raises
        ------
        ArgumentError
            If the score raises, or returns anything but one number for each unit.
        """
        context = ScoreContext(task=self.task, seed=IMPORTANCE_SEED, meter=self.setup_meter)
        network = cut(self.task.network, self.graph, self.graph.full())
        with seeded(IMPORTANCE_SEED, self.task.device):
            importance = importance_of(score, network, self.graph, context)
        importance.flags.writeable = False
        return importance

    def evaluate(self, proposal: Proposal | Structure, *, seed: int = 0) -> dict[str, float]:
        """Measure every metric on one proposal, outside of any search.

        Parameters
        ----------
        proposal : Proposal or Structure
            What is kept, and from which weights it starts.
        seed : int, default 0
            As in `solve`.

        Returns
        -------
        dict of str to float
            Values by the metric's name, in natural units.

        Raises
        ------
        RecoveryError, MetricError
            What a search would write down as the reason of a failed candidate.
        GraphMismatchError
            If the structure belongs to another graph.
        """
        candidate = self._candidate(proposal, seed)
        return {metric.name: metric(candidate) for metric in self.metrics}

    def network(self, proposal: Proposal | Structure, *, seed: int = 0) -> nn.Module:
        """Cut and recover one proposal, outside of any search.

        Parameters
        ----------
        proposal : Proposal or Structure
            What is kept, and from which weights it starts.
        seed : int, default 0
            As in `solve`.

        Returns
        -------
        nn.Module
            Of the user's own class, in evaluation mode; it shares nothing with any other network.

        Raises
        ------
        RecoveryError
            If the recovery fails.
        GraphMismatchError
            If the structure belongs to another graph.
        """
        return self._candidate(proposal, seed).standalone()

    def uniform(self, constraint: Constraint) -> Structure:
        """Return the widest structure that meets a constraint with one keep-ratio for all groups.

        Parameters
        ----------
        constraint : Constraint
            An upper bound on a cost that follows from the widths: ``op.metrics.macs <= 0.5``.

        Returns
        -------
        Structure
            Every group keeps the largest ratio of its units at which the bound holds, as
            `BoundSpace.uniform` rounds it.

        Raises
        ------
        ArgumentError
            If the constraint is not an upper bound on such a cost.
        InfeasibleError
            If the narrowest uniform structure breaks it.
        """
        ratio = uniform_ratio(self.graph, self.bound_space, constraint)
        return self.bound_space.decode(self.bound_space.uniform(ratio))[0]

    def _candidate(self, proposal: Proposal | Structure, seed: int) -> Candidate:
        if isinstance(proposal, Structure):
            proposal = Proposal(proposal)
        return Candidate(self, proposal, seed)

    @property
    def fingerprint(self) -> str:
        """Digest (32 digits) of all that decides what a proposal's row holds.

        Covers the network and its data, the space, the recovery, the metrics (a function by name,
        version and source), the constraints, and the version of optprune.
        """
        return digest(part for name, (_, text) in self._parts.items() for part in (name, text))

    @property
    def description(self) -> dict[str, str]:
        """The parts of the fingerprint in words, each with a short digest."""
        return {name: f"{words} [{text[:8]}]" for name, (words, text) in self._parts.items()}

    def check_unchanged(self) -> None:
        """Raise if the network's weights are no longer those that the problem was made with.

        Importance, fingerprint and the rows of a journal belong to these weights.

        Raises
        ------
        ArgumentError
            If a weight or buffer has changed.
        """
        if _digest_of_weights(self.task.network) != self._weights:
            raise ArgumentError(
                "problem: the weights of the task's network have changed since the problem was "
                "made; make a new op.Problem (and, after a change of the network, a new op.Task)."
            )

    @cached_property
    def _parts(self) -> dict[str, tuple[str, str]]:
        """What the problem consists of: in words, and as a digest."""
        network = self.task.network
        release = version("optprune")
        return {
            "optprune": (release, release),
            "network": (
                type(network).__name__,
                digest((describe(type(network)), self.graph.digest, self._weights)),
            ),
            "task": (repr(self.task.name), self.task.fingerprint),
            "space": (repr(self.space), digest([describe(self.space)])),
            "recovery": (repr(self.recovery), digest([describe(self.recovery)])),
            "objectives": (
                ", ".join(self.objective_names),
                digest(metric.fingerprint for metric in self.objectives),
            ),
            "constraints": (
                ", ".join(map(str, self.constraints)) or "none",
                digest(
                    part
                    for c in self.constraints
                    for part in (c.metric.fingerprint, c.sense, repr(c.bound))
                ),
            ),
        }

    def _importance(self) -> npt.NDArray[np.float64]:
        """Give the importance of the units to the space when it asks."""
        return self.importance

    def _check_reachable(self) -> None:
        """Raise if a constraint on a cost is violated by every structure of the space."""
        for constraint in self.constraints:
            if not isinstance(constraint.metric.function, Cost):
                continue
            # Costs grow with every width, so their extremes are at the extremes of the space.
            upper = constraint.sense == "<="
            widths = self.bound_space.narrowest if upper else self.bound_space.widest
            value = float(constraint.metric.function.population(self.graph, widths[None])[0])
            if constraint.violation(value) > 0.0:
                raise InfeasibleError(
                    f"constraint {constraint} cannot be met by any structure of the space: the "
                    f"{'smallest' if upper else 'largest'} reachable value is {value:.6g}, with "
                    f"every group at its {'narrowest' if upper else 'widest'}. Move the bound, or "
                    "give the space other bounds or a smaller step."
                )

    def __getstate__(self) -> dict[str, Any]:
        # The shared module is made anew from the network, and so is what candidates share.
        state = dict(self.__dict__)
        del state["slicer"], state["shared"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.slicer = Slicer(self.task.network, self.graph)
        self.shared = Shared(self.setup_meter)

    def __repr__(self) -> str:
        parts = [
            f"{self.task!r}",
            f"space={self.space!r}",
            f"recovery={self.recovery!r}",
            f"objectives=[{', '.join(self.objective_names)}]",
        ]
        if self.constraints:
            parts.append(f"subject_to=[{', '.join(map(str, self.constraints))}]")
        return f"Problem({', '.join(parts)})"


def _digest_of_weights(network: nn.Module) -> str:
    """Return the digest of all tensors of a network's state."""
    state = network.state_dict()
    return digest_arrays({k: v for k, v in state.items() if isinstance(v, torch.Tensor)})


def _nothing_prunable(network: nn.Module, graph: ChannelGraph) -> str:
    """Say why nothing can be pruned."""
    text = f"the network {type(network).__name__} has no prunable group"
    if not graph.frozen:
        return f"{text}: it has no channels between its inputs and its outputs."
    shown = [
        f"{group.name} (width {group.width}): {group.reason}"
        + (f" [{group.operation}]" if group.operation else "")
        + (f" at {group.line}" if group.line else "")
        for group in graph.frozen[:10]
    ]
    more = f"\n  … and {len(graph.frozen) - 10} more" if len(graph.frozen) > 10 else ""
    return f"{text}; all are frozen:\n  " + "\n  ".join(shown) + more
