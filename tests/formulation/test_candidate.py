from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import GraphMismatchError, RecoveryError
from optprune.formulation import Candidate, Problem, Proposal, Start, metrics
from optprune.meter import Meter
from optprune.recovery import RecoveryContext
from optprune.surgery import Structure, cut
from tests.formulation.cases import Small, make_network, make_problem, narrowed, small_graph


@dataclass(frozen=True)
class Shift:
    """Adds something to every weight, in place."""

    by: float = 1.0

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(self.by)


@dataclass(frozen=True)
class Replace:
    """Puts a new parameter in the place of one, and forgets the training mode."""

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        network.train()
        network.classes.bias = nn.Parameter(torch.full((3,), 7.0))


@dataclass(frozen=True)
class Noise:
    """Draws from torch's global generator, and from one of its own."""

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        generator = torch.Generator().manual_seed(context.seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape))
                parameter.add_(torch.randn(parameter.shape, generator=generator))


@dataclass(frozen=True)
class Broken:
    """Raises."""

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        raise ZeroDivisionError("no samples")


def candidate_of(problem: Problem, *widths: int, seed: int = 0, **options: Any) -> Candidate:
    return Candidate(problem, Proposal(narrowed(*widths)), seed, **options)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_network_is_the_users_class_with_the_kept_channels() -> None:
    candidate = candidate_of(make_problem(), 3, 4)
    expected = cut(make_network(), small_graph(), candidate.structure)
    assert type(candidate.network) is Small
    assert not candidate.network.training
    assert same(candidate.network.state_dict(), expected.state_dict())


def test_predictions_are_the_networks_outputs_on_validation() -> None:
    problem = make_problem()
    candidate = candidate_of(problem, 3, 4)
    small = cut(make_network(), small_graph(), candidate.structure)
    with torch.no_grad():
        expected = small(problem.task.validation.inputs)
    assert torch.allclose(candidate.predictions, expected, atol=1e-6)
    assert candidate.targets is problem.task.validation.targets


def test_predictions_are_made_once_and_counted_on_the_meter() -> None:
    meter = Meter()
    candidate = candidate_of(make_problem(), 3, 4, meter=meter)
    assert meter.forward_samples == 0
    assert candidate.predictions is candidate.predictions
    assert meter.forward_samples == len(candidate.targets) == 16


def test_nothing_is_made_before_it_is_asked_for() -> None:
    problem = make_problem(recovery=Broken())
    candidate = candidate_of(problem, 3, 4)
    assert metrics.macs(candidate) < 1.0
    assert candidate.widths.tolist() == [3, 4]


def test_candidates_do_not_disturb_each_other_nor_the_dense_network() -> None:
    problem = make_problem(recovery=Shift())
    dense = {k: v.clone() for k, v in problem.task.network.state_dict().items()}
    first, second = candidate_of(problem, 3, 4), candidate_of(problem, 6, 8)
    before = {k: v.clone() for k, v in first.network.state_dict().items()}
    assert second.network.first.out_channels == 6
    with torch.no_grad():
        second.network.first.weight.zero_()
    assert first.network.first.out_channels == 3
    assert same(first.network.state_dict(), before)
    assert not second.network.first.weight.any()
    assert same(problem.task.network.state_dict(), dense)


def test_a_second_candidate_of_the_same_structure_has_its_own_weights() -> None:
    problem = make_problem()
    structure = narrowed(3, 4)
    first = Candidate(problem, Proposal(structure))
    second = Candidate(problem, Proposal(structure))
    first.network.first.weight.data.zero_()
    assert second.network.first.weight.any()
    assert not first.network.first.weight.any()


def test_the_recovered_weights_are_kept_however_they_came_about() -> None:
    problem = make_problem(recovery=Replace())
    candidate, other = candidate_of(problem, 3, 4), candidate_of(problem, 2, 2)
    assert not candidate.network.training
    assert candidate.tensors["classes.bias"].tolist() == [7.0, 7.0, 7.0]
    assert other.network is candidate.network
    assert candidate.network.classes.bias.tolist() == [7.0, 7.0, 7.0]


def test_recovery_runs_once_and_another_one_may_be_given() -> None:
    problem = make_problem(recovery=Shift(1.0))
    candidate = candidate_of(problem, 6, 8)
    other = candidate_of(problem, 6, 8, recovery=Shift(2.0))
    dense = make_network().first.weight
    for _ in range(2):
        assert torch.equal(candidate.network.first.weight, dense + 1.0)
        assert torch.equal(other.network.first.weight, dense + 2.0)


def test_randomness_comes_from_seed_and_proposal_only() -> None:
    problem = make_problem(recovery=Noise())

    def weights(*widths: int, seed: int = 0) -> torch.Tensor:
        return candidate_of(problem, *widths, seed=seed).tensors["classes.bias"].clone()

    first = weights(3, 4)
    others = [weights(3, 5), weights(3, 4, seed=1)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(weights(3, 4), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(torch.equal(first, other) for other in others)


def test_a_start_replaces_the_tasks_weights() -> None:
    state = {k: v + 1 for k, v in make_network().state_dict().items()}
    candidate = Candidate(make_problem(), Proposal(narrowed(6, 8), Start.of(state)))
    assert torch.equal(candidate.network.first.weight, state["first.weight"])


def test_a_recovery_that_raises_is_named_each_time() -> None:
    candidate = candidate_of(make_problem(recovery=Broken()), 3, 4)
    for _ in range(2):
        with pytest.raises(RecoveryError, match=r"Broken\(\) raised ZeroDivisionError") as caught:
            _ = candidate.network
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_metric_lets_the_recoverys_error_through() -> None:
    with pytest.raises(RecoveryError, match="no samples"):
        metrics.error(candidate_of(make_problem(recovery=Broken()), 3, 4))


def test_a_standalone_network_is_independent() -> None:
    problem = make_problem()
    candidate = candidate_of(problem, 3, 4)
    alone = candidate.standalone()
    other = candidate_of(problem, 2, 2).network
    assert alone is not other
    assert same(alone.state_dict(), candidate.network.state_dict())
    candidate.network.first.weight.data.zero_()
    assert alone.first.weight.any()


def test_modes_that_a_metric_leaves_behind_do_not_stay() -> None:
    candidate = candidate_of(make_problem(), 3, 4)
    candidate.network.train()
    assert not candidate.network.training


def test_a_structure_of_another_graph_is_refused() -> None:
    foreign = Structure.from_kept("0" * 32, ["a"], [3], np.ones(3, dtype=bool))
    with pytest.raises(GraphMismatchError, match="another graph"):
        Candidate(make_problem(), Proposal(foreign))
