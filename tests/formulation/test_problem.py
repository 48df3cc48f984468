from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    GraphMismatchError,
    InfeasibleError,
    UnknownGroupError,
)
from optprune.formulation import Candidate, Masks, Metric, Proposal, Ratios, Widths, metric, metrics
from optprune.recovery import BatchNorm, Nothing
from optprune.scores import L1, ScoreContext
from optprune.surgery import ChannelGraph
from optprune.task import Task
from tests.formulation.cases import (
    Small,
    make_network,
    make_problem,
    make_task,
    narrowed,
    small_graph,
)


@dataclass(frozen=True)
class Drawn:
    """A score that draws from the global generator and tampers with its network."""

    def __call__(
        self, network: nn.Module, graph: ChannelGraph, context: ScoreContext
    ) -> np.ndarray[Any, Any]:
        context.meter.forward(5)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        return torch.rand(graph.n_units).numpy()


@dataclass(frozen=True)
class Returns:
    """A score that returns something it should not."""

    value: Any

    def __call__(
        self, network: nn.Module, graph: ChannelGraph, context: ScoreContext
    ) -> np.ndarray[Any, Any]:
        if isinstance(self.value, Exception):
            raise self.value
        return np.asarray(self.value)


@metric(needs="structure", version=1)
def total(candidate: Candidate) -> float:
    return float(candidate.widths.sum())


def test_a_problem_binds_space_metrics_and_constraints() -> None:
    problem = make_problem(
        space=Widths(step=2),
        objectives=[metrics.error, metrics.macs],
        subject_to=[metrics.macs <= 0.6, total >= 4],
    )
    assert problem.objective_names == ("error", "macs")
    assert (problem.n_objectives, problem.n_constraints) == (2, 2)
    assert [m.name for m in problem.metrics] == ["error", "macs", "total"]
    assert problem.bound_space.kind == "integer"
    assert problem.graph.n_groups == 2


def test_the_graph_is_traced_unless_it_is_given() -> None:
    problem = make_problem(graph=None)
    assert problem.graph.digest == small_graph().digest
    assert problem.fingerprint == make_problem().fingerprint


def test_the_reference_is_the_metrics_own_unless_it_is_given() -> None:
    problem = make_problem(objectives=[metrics.error, metrics.macs, metrics.loss])
    assert problem.reference.tolist()[:2] == [0.9, 1.0]
    assert np.isnan(problem.reference[2])
    changed = make_problem(reference={"error": 0.5})
    assert changed.reference.tolist() == [0.5, 1.0]
    with pytest.raises(ArgumentError, match="Did you mean 'error'"):
        make_problem(reference={"eror": 0.5})


def test_importance_is_computed_once_on_a_copy_and_counted() -> None:
    problem = make_problem(space=Widths(score=Drawn()))
    before = {k: v.clone() for k, v in problem.task.network.state_dict().items()}
    assert problem.setup_meter.forward_samples == 0
    state = torch.get_rng_state()
    first = problem.importance
    assert problem.importance is first
    assert problem.setup_meter.forward_samples == 5
    assert torch.equal(torch.get_rng_state(), state)
    after = problem.task.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@dataclass(frozen=True)
class Dispensable:
    """Says how well the network does without a unit."""

    higher_is_better = False

    def __call__(self, network: Any, graph: ChannelGraph, context: ScoreContext) -> Any:
        return np.arange(graph.n_units, dtype=float)


def test_units_with_high_scores_leave_first_where_the_score_says_so() -> None:
    problem = make_problem(space=Widths(score=Dispensable()))
    assert np.array_equal(problem.importance, -np.arange(problem.graph.n_units))
    structure = problem.bound_space.decode(problem.bound_space.uniform(0.5))[0]
    for group in problem.graph.groups:
        kept = structure.kept[group.slice]
        assert kept[: kept.sum()].all()


def test_importance_does_not_depend_on_anything_before_it() -> None:
    first = make_problem(space=Masks(score=Drawn())).importance
    torch.manual_seed(1234)
    assert np.array_equal(make_problem(space=Masks(score=Drawn())).importance, first)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], r"must return 14 numbers, one for each unit; got shape \(2,\)"),
        ([np.nan] * 14, "with NaN"),
        (KeyError("layer"), "raised KeyError"),
        (["a"] * 14, "raised ValueError"),
    ],
)
def test_a_score_that_returns_something_else_is_named(value: Any, message: str) -> None:
    problem = make_problem(space=Widths(score=Returns(value)))
    with pytest.raises(ArgumentError, match=rf"score Returns.*{message}"):
        _ = problem.importance


def test_other_scores_than_the_space_s_can_be_asked_for() -> None:
    problem = make_problem(space=Widths(score=L1()))
    assert np.array_equal(problem.scored(L1()), problem.importance)
    before = problem.task.network.first.weight.clone()
    drawn = problem.scored(Drawn())
    assert np.array_equal(problem.scored(Drawn()), drawn)
    assert not np.array_equal(drawn, problem.importance)
    assert torch.equal(problem.task.network.first.weight, before)
    assert problem.setup_meter.forward_samples >= 10
    with pytest.raises(ArgumentError, match="score Returns"):
        problem.scored(Returns([1.0]))


def test_evaluate_measures_every_metric() -> None:
    problem = make_problem(subject_to=[total >= 4])
    values = problem.evaluate(narrowed(3, 4))
    assert list(values) == ["error", "macs", "total"]
    assert values["total"] == 7.0
    assert values == problem.evaluate(Proposal(narrowed(3, 4)))


def test_network_is_what_evaluate_measures_and_shares_nothing() -> None:
    problem = make_problem(recovery=BatchNorm())
    task, proposal = problem.task, narrowed(3, 4)
    network = problem.network(proposal)
    assert isinstance(network, Small)
    assert not network.training
    predicted = task.predict(network, task.validation).argmax(dim=1)
    error = float((predicted != task.validation.labels).double().mean())
    assert error == problem.evaluate(proposal)["error"]
    weight = network.first.weight.clone()
    problem.evaluate(narrowed(2, 2))
    assert torch.equal(network.first.weight, weight)
    seen = problem.network(Proposal(proposal)).norm.running_mean
    assert torch.equal(seen, network.norm.running_mean)


@pytest.mark.parametrize("space", [Widths(), Widths(step=2), Masks(), Ratios()], ids=repr)
@pytest.mark.parametrize("bound", [0.75, 0.3, 0.15])
def test_uniform_is_the_widest_uniform_structure_under_a_bound(space: Any, bound: float) -> None:
    problem = make_problem(space=space)
    found = problem.uniform(metrics.macs <= bound)
    every = problem.bound_space.decode(problem.bound_space.uniform(np.linspace(0.01, 1, 400)))
    macs = problem.graph.costs.macs
    fitting = [s for s in every if float(macs(s.widths)[0]) <= bound * macs.dense]
    assert found == max(fitting, key=lambda s: s.kept.sum())


def test_uniform_takes_any_cost_and_keeps_all_where_all_fits() -> None:
    problem = make_problem()
    assert problem.uniform(metrics.macs <= 1.0) == problem.graph.full()
    found = problem.uniform(metrics.parameters.absolute <= 200)
    assert float(problem.graph.costs.parameters(found.widths)[0]) <= 200
    ours = metric(lambda c: float(c.widths.sum()), name="ours")
    for constraint in (metrics.macs >= 0.5, metrics.error <= 0.1, ours <= 7):
        with pytest.raises(ArgumentError, match="must be an upper bound on a cost"):
            problem.uniform(constraint)
    with pytest.raises(ArgumentTypeError, match=r"such as op.metrics.macs <= 0.5; got float"):
        problem.uniform(0.5)  # type: ignore[arg-type]
    with pytest.raises(InfeasibleError, match=r"satisfies macs <= 0.001: the narrowest has 0\."):
        problem.uniform(metrics.macs <= 0.001)


def test_a_problem_can_be_sent_to_another_process() -> None:
    problem = make_problem(subject_to=[total >= 4], space=Ratios())
    _ = problem.importance
    copied = pickle.loads(pickle.dumps(problem))
    assert copied.fingerprint == problem.fingerprint
    assert copied.evaluate(narrowed(3, 4)) == problem.evaluate(narrowed(3, 4))
    points = problem.bound_space.sample(np.random.default_rng(0), 4)
    assert copied.bound_space.decode(points) == problem.bound_space.decode(points)


# What cannot work is said at once.


@pytest.mark.parametrize(
    ("make", "reachable"),
    [
        (lambda least, most: metrics.macs <= least / 2, "smallest"),
        (lambda least, most: metrics.macs >= (most + 1) / 2, "largest"),
    ],
)
@pytest.mark.parametrize(
    "space",
    [
        Widths(step=2, bounds={"second": (2, 6)}),
        Masks(bounds={"second": (2, 6)}),
        Ratios(bounds={"second": (0.25, 0.75)}),
    ],
    ids=repr,
)
def test_a_constraint_that_cannot_be_met_names_what_is_reachable(
    space: Any, make: Any, reachable: str
) -> None:
    bound = make_problem(space=space).bound_space
    extremes = np.array([bound.narrowest, bound.widest])
    least, most = metrics.macs.population(small_graph(), extremes)  # type: ignore[misc]
    value = least if reachable == "smallest" else most
    with pytest.raises(InfeasibleError, match=rf"the {reachable} reachable value is {value:.6g}"):
        make_problem(space=space, subject_to=[make(least, most)])
    at_the_edge = metrics.macs <= least if reachable == "smallest" else metrics.macs >= most
    assert make_problem(space=space, subject_to=[at_the_edge]).n_constraints == 1


def test_an_absolute_constraint_that_cannot_be_met_is_refused_too() -> None:
    with pytest.raises(InfeasibleError, match=r"parameters\.absolute <= 3"):
        make_problem(subject_to=[metrics.parameters.absolute <= 3])


class Rigid(nn.Module):
    """A network of which only the outputs have channels."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(25, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(x.flatten(1))


def test_a_network_without_a_prunable_group_is_told_why() -> None:
    task = make_task()
    rigid = Task(Rigid().eval(), validation=(task.validation.inputs, task.validation.targets))
    with pytest.raises(ArgumentError, match=r"Rigid has no prunable group[\s\S]*classes.*output"):
        make_problem(task=rigid, graph=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": []}, "at least one metric"),
        ({"objectives": [len]}, r"got builtin_function_or_method.*@op\.metric"),
        ({"objectives": [metrics.macs <= 0.5]}, "it belongs in subject_to"),
        ({"objectives": [metrics.macs, metrics.macs]}, "'macs' is there twice"),
        ({"subject_to": [metrics.macs]}, "must be comparisons"),
        ({"subject_to": [metrics.macs == 0.5]}, "must be comparisons"),
        ({"subject_to": [metrics.macs <= 0.5, metrics.macs <= 0.4]}, "keep the tighter one"),
        ({"space": Widths}, r"space must be an instance: write Widths\(\)"),
        ({"space": "widths"}, r"space must have a method bind\(\)"),
        ({"recovery": Nothing}, r"recovery must be an instance: write Nothing\(\)"),
        ({"recovery": 3}, r"recovery must have a method recover\(\)"),
        ({"task": make_network()}, r"wrap the network and its data: op\.Task"),
        ({"graph": "graph"}, "graph must be a ChannelGraph"),
        ({"reference": {"error": float("nan")}}, "finite"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        make_problem(**changes)


def test_two_metrics_of_one_name_are_refused() -> None:
    other = Metric(name="macs", function=total.function, needs="structure")
    with pytest.raises(ArgumentError, match="two different metrics are called 'macs'"):
        make_problem(objectives=[metrics.macs], subject_to=[other <= 3])


def test_both_sides_of_a_metric_may_be_bounded() -> None:
    problem = make_problem(subject_to=[metrics.macs >= 0.3, metrics.macs <= 0.5])
    assert [str(constraint) for constraint in problem.constraints] == ["macs >= 0.3", "macs <= 0.5"]


def test_one_metric_and_one_constraint_need_no_list() -> None:
    problem = make_problem(objectives=metrics.loss, subject_to=metrics.macs <= 0.5)
    assert (problem.n_objectives, problem.n_constraints) == (1, 1)


def test_an_unknown_group_in_bounds_suggests_the_nearest() -> None:
    with pytest.raises(UnknownGroupError, match="Did you mean 'second'"):
        make_problem(space=Widths(bounds={"secnd": (1, 2)}))


def test_the_graph_of_another_network_is_refused() -> None:
    class Wider(Small):
        def __init__(self) -> None:
            super().__init__()
            self.classes = nn.Linear(8, 4)

    task = make_task()
    split = (task.validation.inputs, task.validation.targets)
    with pytest.raises(GraphMismatchError, match="classes"):
        make_problem(task=Task(Wider().eval(), validation=split))


# The fingerprint decides which journals may be continued.


def weights_changed() -> Task:
    task = make_task()
    with torch.no_grad():
        task.network.classes.bias[0] += 1e-3
    return task


def test_equal_problems_have_equal_fingerprints() -> None:
    def one() -> Any:
        return make_problem(
            space=Widths(step=2, score=L1(), bounds={"first": (2, 4)}),
            subject_to=[metrics.macs <= 0.6],
        )

    assert one().fingerprint == one().fingerprint
    assert one().description == one().description


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"space": Widths(step=2)}, "space"),
        ({"space": Widths(frozen=["first"])}, "space"),
        ({"space": Widths(minimum=2)}, "space"),
        ({"space": Widths(keep_first={"first": 2})}, "space"),
        ({"space": Widths(score=Drawn())}, "space"),
        ({"recovery": Drawn}, "recovery"),
        ({"objectives": [metrics.macs, metrics.error]}, "objectives"),
        ({"objectives": [metrics.error, metrics.macs, total]}, "objectives"),
        ({"subject_to": [metrics.macs <= 0.5]}, "constraints"),
        ({"task": weights_changed}, "network"),
        ({"task": lambda: make_task(train=None)}, "task"),
    ],
)
def test_the_fingerprint_follows_everything_that_decides_a_row(
    changes: dict[str, Any], part: str
) -> None:
    class Other:
        def recover(self, network: nn.Module, context: Any) -> None:
            return None

    if "task" in changes:
        changes = {"task": changes["task"]()}
    if "recovery" in changes:
        changes = {"recovery": Other()}
    base, changed = make_problem(), make_problem(**changes)
    assert changed.fingerprint != base.fingerprint
    assert changed.description[part] != base.description[part]


def test_defaults_written_out_do_not_change_the_fingerprint() -> None:
    written = make_problem(space=Widths(step=1, bounds=None, minimum=1, keep_first=None))
    assert written.fingerprint == make_problem(space=Widths()).fingerprint


def test_the_reference_point_does_not_change_the_fingerprint() -> None:
    assert make_problem(reference={"error": 0.5}).fingerprint == make_problem().fingerprint
