"""A candidate: a proposal with its network, cut and recovered."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import OptpruneError, RecoveryError
from optprune.formulation.proposal import Proposal
from optprune.formulation.randomness import seed_from, seeded
from optprune.meter import Meter
from optprune.recovery import Recovery, RecoveryContext
from optprune.surgery import ChannelGraph, Structure
from optprune.surgery.state import dense_state, own_storage

if TYPE_CHECKING:
    from optprune.formulation.problem import Problem
    from optprune.task import Task

__all__ = ["Candidate"]


class Candidate:
    """A proposal with its network, which is made when something asks for it.

    The candidate owns all its tensors: neither recovery nor anything that is done to its network
    changes the dense one. What is random about it depends on the seed and the proposal only.

    Parameters
    ----------
    problem : Problem
        The problem.
    proposal : Proposal
        What is kept, and from which weights it starts.
    seed : int, default 0
        The run's seed.
    meter : Meter, optional
        Counts every pass over data; a new one by default.
    recovery : Recovery, optional
        What repairs the weights; the problem's by default.

    Raises
    ------
    GraphMismatchError
        If the proposal's structure belongs to another graph.

    Notes
    -----
    All candidates of a problem share one module, into which the tensors of the one that is asked
    for its network are put: do not keep the network while another candidate is used; `standalone`
    gives one to keep.
    """

    def __init__(
        self,
        problem: Problem,
        proposal: Proposal,
        seed: int = 0,
        meter: Meter | None = None,
        *,
        recovery: Recovery | None = None,
    ) -> None:
        problem.graph.check(proposal.structure)
        self.problem = problem
        self.proposal = proposal
        self.seed = seed_from(seed, proposal.digest)
        self.meter = Meter() if meter is None else meter
        self.recovery = problem.recovery if recovery is None else recovery
        self._tensors: dict[str, torch.Tensor] | None = None
        self._error: OptpruneError | None = None

    @property
    def task(self) -> Task:
        """The network and its data."""
        return self.problem.task

    @property
    def graph(self) -> ChannelGraph:
        """The groups of the dense network."""
        return self.problem.graph

    @property
    def structure(self) -> Structure:
        """What is kept."""
        return self.proposal.structure

    @property
    def widths(self) -> npt.NDArray[np.int64]:
        """Kept units of each group, shape (n_groups,), read-only."""
        return self.proposal.structure.widths

    @property
    def network(self) -> nn.Module:
        """The small network with its recovered weights, in evaluation mode.

        It is the user's own class, on the task's device, and shared: it holds this candidate's
        weights until another candidate's network is asked for.

        Raises
        ------
        RecoveryError
            If the recovery failed.
        """
        network = self.problem.slicer.load(self.structure, self.tensors)
        return network.eval() if network.training else network

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The recovered weights and buffers of the small network by their names.

        Raises
        ------
        RecoveryError
            If the recovery failed.
        """
        if self._error is not None:
            raise self._error
        if self._tensors is None:
            try:
                self._tensors = self._make()
            except OptpruneError as error:
                self._error = error
                raise
        return self._tensors

    @cached_property
    def predictions(self) -> torch.Tensor:
        """Outputs on the validation split, shape (n_samples, …), on the task's device."""
        with self.randomness("predictions"):
            return self.task.predict(self.network, self.task.validation, meter=self.meter)

    @property
    def targets(self) -> torch.Tensor:
        """Targets of the validation split, shape (n_samples, …), on the task's device."""
        return self.task.validation.labels

    def randomness(self, purpose: str) -> AbstractContextManager[None]:
        """Seed the global generators for a ``with`` block, by candidate and purpose.

        Parameters
        ----------
        purpose : str
            Different purposes get different random numbers.

        Returns
        -------
        context manager
            After it, torch's, numpy's and Python's generators are where they were before.
        """
        return seeded(seed_from(self.seed, purpose), self.task.device)

    def standalone(self) -> nn.Module:
        """Return an independent copy of the network, to keep.

        Returns
        -------
        nn.Module
            The user's own class, in evaluation mode.
        """
        network = copy.deepcopy(self.network)
        own_storage(network)
        return network

    def _make(self) -> dict[str, torch.Tensor]:
        """Cut and recover; return the small network's tensors."""
        start = self.proposal.start
        tensors = self.problem.slicer.take(self.structure, None if start is None else start.state)
        network = self.problem.slicer.load(self.structure, tensors)
        context = RecoveryContext(
            task=self.task,
            graph=self.graph,
            structure=self.structure,
            seed=seed_from(self.seed, "recovery"),
            meter=self.meter,
            shared=self.problem.shared,
        )
        try:
            with self.randomness("recovery"):
                self.recovery.recover(network, context)
        except OptpruneError:
            raise
        except Exception as error:
            raise RecoveryError(
                f"recovery {self.recovery!r} raised {type(error).__name__}: {error}"
            ) from error
        network.eval()
        # A recovery may have put new tensors in the place of those that it was given.
        tensors.update({k: v for k, v in dense_state(network).items() if k in tensors})
        return tensors

    def __repr__(self) -> str:
        return f"Candidate({self.structure!r})"
