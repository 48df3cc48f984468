"""In every round a little leaves, the rest recovers, and is scored again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import optprune as op
from optprune.errors import ArgumentError, ArgumentTypeError, InfeasibleError, RecoveryError
from optprune.formulation import Candidate, Masks, Problem, Proposal, Ratios, Widths, metrics
from optprune.formulation.space import Space
from optprune.optimizers import Rounds
from optprune.recovery import BatchNorm, FineTune, LeastSquares
from optprune.search import Budget, Journal, Session
from optprune.testing.networks import chain_task, residual_task
from optprune.training import SGD

WIDTHS = (16, 24, 20)


class Noting(Session):
    """A session that keeps the proposals."""

    def __init__(self, *arguments: Any, **changes: Any) -> None:
        super().__init__(*arguments, **changes)
        self.proposals: list[Proposal] = []

    def evaluate(self, points: Any) -> Any:
        self.proposals.extend(points)
        return super().evaluate(points)


@dataclass(frozen=True)
class Spy:
    """A score that keeps the networks that it is asked about."""

    score: Any = field(default_factory=op.scores.L1)
    seen: list[dict[str, torch.Tensor]] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, network, graph, context):
        self.seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return self.score(network, graph, context)


@dataclass(frozen=True)
class Changed:
    """A recovery that does something to the small network."""

    what: Callable[[nn.Module], None]

    def recover(self, network, context):
        self.what(network)


@dataclass(frozen=True)
class Formula:
    """A score that tells for a call what the units are worth."""

    function: Callable[[int, int], Any]
    calls: list[int] = field(default_factory=list, compare=False)

    def __call__(self, network, graph, context):
        self.calls.append(1)
        return self.function(graph.n_units, len(self.calls))


def chain_problem(space: Space | None = None, recovery=None, **changes) -> Problem:
    objectives = [metrics.loss, metrics.macs]
    return Problem(
        chain_task(WIDTHS), space=space, recovery=recovery, objectives=objectives, **changes
    )


def double_problem(recovery=None, space: Space | None = None) -> Problem:
    """Batch normalization and a residual stream, in double precision."""
    task = residual_task()
    task.network.double()
    splits = {
        name: (split.inputs.double(), split.labels)
        for name, split in (("train", task.train), ("validation", task.validation))
    }
    return Problem(
        op.Task(task.network, **splits),
        space=space,
        recovery=recovery,
        objectives=[metrics.loss, metrics.macs],
    )


def run(optimizer: Rounds, problem: Problem, seed: int = 0, journal: Journal | None = None):
    with Noting(problem, Budget(evaluations=100), seed=seed, journal=journal) as session:
        optimizer.search(problem, session)
    return session


def share(problem: Problem, widths) -> float:
    macs = problem.graph.costs.macs
    return float(macs(np.asarray(widths)[None])[0]) / macs.dense


def uniform_widths(problem: Problem) -> list[tuple[int, ...]]:
    """List the widths of the uniform structures, the narrowest first."""
    ratios = (np.arange(2000) + 0.5) / 2000
    space = problem.bound_space
    found = [space.widths(space.uniform(ratio))[0] for ratio in ratios]
    return list(dict.fromkeys(tuple(map(int, widths)) for widths in found))


SPACES = [
    Widths(),
    Widths(step=4),
    Widths(keep_first={"hidden1": 5}, frozen=["hidden2"]),
    Masks(bounds={"hidden0": (9, 12)}, keep_first={"hidden1": 3}),
    Ratios(),
]


@pytest.mark.parametrize("space", SPACES, ids=repr)
@pytest.mark.parametrize("score", [op.scores.L1(), op.scores.Random(), op.scores.Taylor()])
def test_structures_are_nested_and_widths_never_grow(space, score):
    problem = chain_problem(replace(space, score=score), FineTune(SGD(epochs=2)))
    kept = [p.structure.kept for p in run(Rounds(6, macs=0.4), problem).proposals]
    assert len(kept) > 2
    for before, after in pairwise(kept):
        assert not (after & ~before).any()
        assert after.sum() < before.sum()


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_bounds_of_the_space_hold(space):
    problem = chain_problem(space)
    proposals = run(Rounds(4, macs=0.45), problem).proposals
    widths = np.array([p.structure.widths for p in proposals])
    assert (widths >= problem.bound_space.narrowest).all()
    assert (widths <= problem.bound_space.widest).all()
    for pattern, first in (space.keep_first or {}).items():
        (group,) = problem.graph.match(pattern)
        for proposal in proposals:
            assert proposal.structure.kept[group.slice][:first].all()


@pytest.mark.parametrize("macs", [0.15, 0.5, 0.8])
@pytest.mark.parametrize("space", [Widths(), Widths(step=4), Ratios()], ids=repr)
def test_the_last_round_meets_the_macs_and_one_step_wider_does_not(macs, space):
    problem = chain_problem(space)
    last = tuple(run(Rounds(4, macs=macs), problem).proposals[-1].structure.widths.tolist())
    steps = uniform_widths(problem)
    assert share(problem, last) <= macs
    assert share(problem, steps[steps.index(last) + 1]) > macs


def test_every_round_keeps_about_the_same_share_of_the_macs():
    problem = Problem(chain_task((200, 300, 400)), objectives=[metrics.macs])
    proposals = run(Rounds(4, macs=0.25), problem).proposals
    shares = [share(problem, p.structure.widths) for p in proposals]
    assert shares == pytest.approx([0.25 ** (r / 4) for r in (1, 2, 3, 4)], rel=0.01)


@pytest.mark.parametrize("score", [op.scores.L1(), op.scores.Taylor(samples=16)], ids=repr)
def test_one_round_is_the_uniform_structure_of_the_dense_scores(score):
    problem = chain_problem(Widths(score=score), BatchNorm())
    (proposal,) = run(Rounds(1, macs=0.5), problem).proposals
    expected = problem.graph.structure_from_widths(proposal.structure.widths, problem.importance)
    assert proposal.structure == expected
    assert proposal.digest == expected.digest
    assert share(problem, proposal.structure.widths) <= 0.5


def test_rounds_in_which_nothing_would_leave_are_left_out():
    problem = Problem(chain_task((2, 3)), objectives=[metrics.macs])
    widths = [row.widths for row in run(Rounds(40, macs=0.4), problem).rows]
    assert len(widths) == len(set(widths)) < 6


@pytest.mark.parametrize(
    "recovery", [None, BatchNorm(), LeastSquares(), FineTune(SGD(epochs=2))], ids=repr
)
def test_what_a_round_starts_from_computes_what_the_last_one_computed(recovery):
    problem = double_problem(recovery)
    session = run(Rounds(4, macs=0.3), problem, seed=3)
    inputs = problem.task.validation.inputs
    assert session.proposals[0].start is None
    for before, after in pairwise(session.proposals):
        with torch.no_grad():
            candidate = Candidate(problem, before, session.seed)
            small = candidate.network(inputs)
            dense = op.cut(problem.task.network, problem.graph, problem.graph.full())
            dense.load_state_dict(after.start.state)
            found = dense(inputs)
        assert found.dtype == torch.float64
        assert small.std() > 1e-3
        assert torch.allclose(found, small, rtol=0, atol=1e-10)


def test_buffers_that_a_recovery_changed_are_handed_on():
    problem = double_problem(LeastSquares())
    first, second = run(Rounds(2, macs=0.3), problem).proposals
    candidate = Candidate(problem, first)
    kept = torch.tensor(first.structure.kept[problem.graph.group("stem").slice])
    mean = second.start.state["stem_norm.running_mean"]
    assert torch.equal(mean[kept], candidate.tensors["stem_norm.running_mean"])
    outer = second.start.state["outer_norm.running_mean"][kept]
    assert not torch.equal(outer, problem.task.network.outer_norm.running_mean[kept])


def test_scores_are_computed_on_the_network_that_is_left():
    spy = Spy()
    problem = chain_problem(Widths(score=spy), FineTune(SGD(epochs=2)))
    proposals = run(Rounds(3, macs=0.3), problem).proposals
    assert len(spy.seen) == 3
    dense = problem.task.network.state_dict()
    for name, tensor in spy.seen[0].items():
        assert torch.equal(tensor, dense[name])
    for seen, before, after in zip(spy.seen[1:], proposals, proposals[1:], strict=False):
        kept = before.structure.kept[problem.graph.group("hidden1").slice]
        assert (seen["hidden1.weight"].abs().sum(1) > 0).numpy().tolist() == kept.tolist()
        assert not torch.equal(seen["classes.bias"], dense["classes.bias"])
        for name, tensor in seen.items():
            assert torch.equal(tensor, after.start.state[name])
        expected = op.scores.L1()(_with(problem, seen), problem.graph, op.scores.ScoreContext())
        expected[~before.structure.kept] = -np.inf
        chosen = problem.graph.structure_from_widths(after.structure.widths, expected)
        assert chosen == after.structure


def _with(problem: Problem, state: dict[str, torch.Tensor]) -> nn.Module:
    network = op.cut(problem.task.network, problem.graph, problem.graph.full())
    network.load_state_dict(state)
    return network


def test_a_score_that_changes_its_network_does_not_change_the_next_start():
    @dataclass(frozen=True)
    class Careless:
        def __call__(self, network, graph, context):
            importance = op.scores.L1()(network, graph, context)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.zero_()
            return importance

    careless, careful = (
        run(Rounds(3, macs=0.3), chain_problem(Widths(score=score)))
        for score in (Careless(), op.scores.L1())
    )
    assert [p.digest for p in careless.proposals] == [p.digest for p in careful.proposals]


@pytest.mark.parametrize(
    "function",
    [
        lambda n, call: np.full(n, -np.inf),
        lambda n, call: np.zeros(n),
        lambda n, call: np.where(np.arange(n) % 3, -np.inf, np.inf),
        lambda n, call: np.arange(n) * (-1.0) ** call,
        lambda n, call: np.full(n, np.finfo(float).min),
    ],
)
def test_ties_and_infinite_scores_bring_nothing_back(function):
    problem = chain_problem(Widths(score=Formula(function)))
    kept = [p.structure.kept for p in run(Rounds(5, macs=0.2), problem).proposals]
    assert len(kept) == 5
    assert not any((b & ~a).any() for a, b in pairwise(kept))


def test_another_recovery_may_repair_between_rounds():
    problem = chain_problem()
    plain = run(Rounds(3, macs=0.3), problem)
    tuned = run(Rounds(3, macs=0.3, recovery=FineTune(SGD(epochs=2))), problem)
    first, second = tuned.proposals[:2]
    assert first.digest == plain.proposals[0].digest
    # what is measured is repaired by the problem's own
    assert tuned.rows[0].metrics == plain.rows[0].metrics
    expected = Candidate(problem, first, tuned.seed, recovery=FineTune(SGD(epochs=2))).tensors
    taken = problem.slicer.take(first.structure, second.start.state)
    assert taken.keys() == expected.keys()
    assert all(torch.equal(taken[name], expected[name]) for name in taken)


def test_passes_of_scores_and_of_recoveries_are_counted():
    problem = chain_problem(Widths(score=op.scores.Taylor(samples=10)), FineTune(SGD(epochs=2)))
    session = run(Rounds(3, macs=0.3), problem)
    rows = sum(row.backward_samples for row in session.rows)
    assert rows == 3 * 2 * 24
    assert session.meter.backward_samples == rows + 2 * (10 + 2 * 24)
    assert problem.setup_meter.backward_samples == 10


def test_the_dense_network_is_left_as_it_was():
    problem = double_problem(LeastSquares())
    before = {k: v.clone() for k, v in problem.task.network.state_dict().items()}
    run(Rounds(3, macs=0.3), problem)
    after = problem.task.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path, stop: int):
    optimizer = Rounds(4, macs=0.3)

    def problem() -> Problem:
        return chain_problem(Widths(score=op.scores.Taylor()), FineTune(SGD(epochs=2)))

    whole = run(optimizer, problem(), seed=5)
    path = tmp_path / "run.db"
    with (
        Journal(path) as journal,
        Noting(problem(), Budget(evaluations=stop), seed=5, journal=journal) as session,
        pytest.raises(op.errors.BudgetSpent),
    ):
        optimizer.search(session.problem, session)
    assert session.ran == stop
    with Journal(path) as journal:
        again = run(optimizer, problem(), seed=5, journal=journal)
    assert again.ran == 4 - stop
    assert [row.digest for row in again.rows] == [row.digest for row in whole.rows]
    assert [row.metrics for row in again.rows] == [row.metrics for row in whole.rows]
    assert again.meter.samples == whole.meter.samples


def test_networks_of_the_front_are_made_again_from_their_starts():
    problem = double_problem(LeastSquares())
    result = op.solve(problem, Rounds(3, macs=0.3), evaluations=10, progress=False)
    assert len(result.rows) == 3
    small = result.select(metrics.macs <= 0.3).network()
    assert sum(p.numel() for p in small.parameters()) < sum(
        p.numel() for p in problem.task.network.parameters()
    )


@pytest.mark.parametrize(
    "score",
    [
        op.scores.L2(),
        op.scores.Taylor(),
        op.scores.Activation(),
        op.scores.Compensation(),
        op.scores.Lasso(),
        op.scores.Oracle(),
    ],
    ids=repr,
)
def test_every_score_takes_a_network_of_which_units_are_zero(score):
    problem = double_problem(LeastSquares(), Widths(score=score))
    assert len(run(Rounds(3, macs=0.2), problem).rows) == 3


def test_a_failing_recovery_of_the_problem_is_told_by_its_rows_and_stops_nothing():
    def fails(network):
        if network.hidden0.out_features < 12:
            raise RuntimeError("too narrow")

    session = run(Rounds(4, macs=0.2), chain_problem(recovery=Changed(fails)))
    failed = [row.failed for row in session.rows]
    assert failed == sorted(failed)
    assert 0 < sum(failed) < len(failed) == 4
    structures = [p.structure for p in session.proposals]
    assert not any((b.kept & ~a.kept).any() for a, b in pairwise(structures))


def test_a_failing_recovery_of_its_own_is_told():
    def fails(network):
        raise RuntimeError("never")

    with pytest.raises(RecoveryError, match=r"Rounds: `recovery` failed .* never"):
        run(Rounds(2, recovery=Changed(fails)), chain_problem())


def test_a_recovery_that_adds_tensors_is_told():
    def adds(network):
        network.hidden0.register_buffer("extra", torch.zeros(1))

    with pytest.raises(RecoveryError, match=r"tensors \['hidden0.extra'\], which the dense"):
        run(Rounds(2), chain_problem(recovery=Changed(adds)))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n, call: np.zeros(n + (call > 1)), "one for each unit"),
        (lambda n, call: np.full(n, np.nan if call > 1 else 0.0), "with NaN"),
        (lambda n, call: np.zeros(n) if call == 1 else 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_score_that_fails_on_a_pruned_network_is_told(function, words):
    with pytest.raises(ArgumentError, match=words):
        run(Rounds(2), chain_problem(Widths(score=Formula(function))))


def test_a_space_that_brings_units_back_is_told():
    @dataclass(frozen=True)
    class Alternating(Widths):
        """A space that does not rank by what it is bound with."""

        def bind(self, graph, importance):
            return super().bind(graph, lambda: -importance())

    def falling(n, call):
        return np.arange(n) * 1.0

    with pytest.raises(ArgumentError, match="brings back units"):
        run(Rounds(2), chain_problem(Alternating(score=Formula(falling))))


def test_macs_that_no_structure_has_are_told():
    problem = chain_problem(Widths(bounds={"hidden0": (12, 16)}, frozen=["hidden1", "hidden2"]))
    with pytest.raises(InfeasibleError, match=r"satisfies macs <= 0.3: the narrowest has 0\."):
        run(Rounds(3, macs=0.3), problem)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"rounds": 0}, ArgumentError, "Rounds: `rounds` must be at least 1, not 0"),
        ({"rounds": 2.0}, ArgumentTypeError, "Rounds: `rounds` must be a whole number"),
        ({"macs": 1.0}, ArgumentError, "Rounds: `macs` is a fraction .* got 1.0"),
        ({"macs": 0}, ArgumentError, "Rounds: `macs` is a fraction .* got 0"),
        ({"macs": "half"}, ArgumentTypeError, "Rounds: `macs` must be a finite number"),
        ({"recovery": LeastSquares}, ArgumentTypeError, r"`recovery` must be an instance"),
        ({"recovery": 3}, ArgumentTypeError, r"`recovery` must have a method recover\(\)"),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong, kind, words):
    with pytest.raises(kind, match=words):
        Rounds(**wrong)
