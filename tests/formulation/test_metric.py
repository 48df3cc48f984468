from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, MetricError
from optprune.formulation import Candidate, Metric, Proposal, metric, metrics
from tests.formulation.cases import make_problem, narrowed


@metric(unit="units", needs="structure", version=2)
def narrowest(candidate: Candidate) -> int:
    return int(candidate.widths.min())


def plain(candidate: Candidate) -> float:
    return 1.0


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return Candidate(make_problem(), Proposal(narrowed(3, 4)))


def returning(value: Any) -> Metric:
    return metric(name="mine", needs="structure")(lambda _: value)


def test_the_decorator_keeps_the_functions_name_and_the_options() -> None:
    assert (narrowest.name, narrowest.unit, narrowest.version) == ("narrowest", "units", 2)
    assert (narrowest.direction, narrowest.needs) == ("minimize", "structure")


def test_the_decorator_works_without_options() -> None:
    made = metric(plain)
    assert (made.name, made.needs, made.function) == ("plain", "predictions", plain)


def test_a_metric_measures_a_candidate(candidate: Candidate) -> None:
    assert narrowest(candidate) == 3.0


@pytest.mark.parametrize(
    "value",
    [
        2,
        2.0,
        np.float32(2),
        np.array([[2.0]]),
        torch.tensor(2),
        torch.tensor([2.0], requires_grad=True),
        torch.tensor(2.0, dtype=torch.bfloat16),
    ],
    ids=repr,
)
def test_one_number_in_any_form_is_fine(candidate: Candidate, value: Any) -> None:
    result = returning(value)(candidate)
    assert type(result) is float
    assert result == 2.0


@pytest.mark.parametrize("value", [math.nan, math.inf, torch.tensor(math.nan)], ids=repr)
def test_a_value_that_is_not_finite_is_an_error(candidate: Candidate, value: Any) -> None:
    with pytest.raises(MetricError, match="metric 'mine' must return a finite number"):
        returning(value)(candidate)


@pytest.mark.parametrize("value", ["0.5", None, 1j, {"a": 1}], ids=repr)
def test_what_is_no_number_is_an_error(candidate: Candidate, value: Any) -> None:
    with pytest.raises(MetricError, match="metric 'mine' must return one number"):
        returning(value)(candidate)


@pytest.mark.parametrize("value", [np.zeros(3), torch.zeros(2, 2), np.array([])], ids=repr)
def test_the_wrong_shape_is_an_error_that_shows_it(candidate: Candidate, value: Any) -> None:
    with pytest.raises(MetricError, match="metric 'mine' must return one number, got an array"):
        returning(value)(candidate)


def test_what_a_function_raises_is_the_cause_of_ours(candidate: Candidate) -> None:
    @metric(name="mine", needs="structure")
    def broken(candidate: Candidate) -> float:
        raise KeyError("no such layer")

    with pytest.raises(MetricError, match="metric 'mine' raised KeyError") as caught:
        broken(candidate)
    assert isinstance(caught.value.__cause__, KeyError)


def test_random_metrics_depend_on_the_candidate_and_leave_the_generators_alone() -> None:
    problem = make_problem()
    noisy = metric(name="noisy", needs="structure")(
        lambda _: torch.rand(1).item() + random.random() + np.random.rand()  # noqa: NPY002
    )
    other = metric(name="other", needs="structure")(noisy.function)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002

    def measured(which: Metric, *widths: int, seed: int = 0) -> float:
        return which(Candidate(problem, Proposal(narrowed(*widths)), seed))

    first = measured(noisy, 3, 4)
    different = {measured(noisy, 3, 5), measured(noisy, 3, 4, seed=1), measured(other, 3, 4)}
    assert measured(noisy, 3, 4) == first
    assert len(different | {first}) == 4
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.array_equal(np.random.get_state()[1], state[2])  # noqa: NPY002


def test_a_decorated_metric_is_pickled_as_the_place_where_it_is_found(
    candidate: Candidate,
) -> None:
    copied = pickle.loads(pickle.dumps(narrowest))
    assert copied == narrowest
    assert copied(candidate) == narrowest(candidate)
    constraint = pickle.loads(pickle.dumps(narrowest >= 2))
    assert constraint == (narrowest >= 2)


@pytest.mark.parametrize("name", sorted(set(metrics.__all__) - {"Latency", "metric"}))
def test_the_built_in_metrics_can_be_pickled(name: str) -> None:
    made = getattr(metrics, name)
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_metric_of_a_local_function_says_so_when_it_is_pickled() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(returning(1.0))


def test_the_fingerprint_follows_name_version_source_and_closure() -> None:
    def threshold(at: float) -> Callable[[Candidate], float]:
        return lambda candidate: at

    def options(function: Callable[[Candidate], Any], **changes: Any) -> str:
        return metric(**{"name": "m", "version": 1, **changes})(function).fingerprint

    base = options(threshold(1.0))
    assert options(threshold(1.0)) == base
    others = {
        options(threshold(2.0)),
        options(threshold(1.0), version=2),
        options(threshold(1.0), name="n"),
        options(plain),
    }
    assert len(others | {base}) == 5


def test_absolute_is_for_fractions_only() -> None:
    assert metrics.macs.fraction
    assert not metrics.macs.absolute.fraction
    with pytest.raises(ArgumentError, match=r"latency has no \.absolute: it is in its own unit"):
        _ = metrics.latency.absolute


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "up"}, "direction of metric 'plain' must be one of 'minimize'"),
        ({"needs": "graph"}, "needs of metric 'plain' must be one of 'structure'"),
        ({"version": "two"}, "version of metric 'plain' must be an int"),
        ({"name": "seconds"}, "another column of the log"),
        ({"name": "width:conv"}, "another column of the log"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        metric(**options)(plain)


def test_decorating_what_is_no_function_is_an_error() -> None:
    with pytest.raises(ArgumentTypeError, match="its options are keywords"):
        metric("KiB")  # type: ignore[call-overload]
