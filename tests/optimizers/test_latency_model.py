"""Latencies that are posynomials are found again; others say how far off the fit is."""

from __future__ import annotations

import numpy as np
import pytest

from optprune.errors import ArgumentError, ArgumentTypeError
from optprune.formulation import Masks, Metric, Problem, Ratios, Widths, metrics
from optprune.meter import Meter
from optprune.optimizers.latency_model import LatencyModel, fit_latency
from optprune.testing.networks import residual_task


def problem(space: object = None) -> Problem:
    return Problem(residual_task(), space=space, objectives=[metrics.macs])  # type: ignore[arg-type]


def timed(function: object) -> Metric:
    """Return a metric that tells a latency from the widths alone."""
    return Metric("time", function, unit="ms", needs="structure", version=1)  # type: ignore[arg-type]


def posynomial(candidate) -> float:
    costs = candidate.graph.costs
    return float(0.5 + 2e-5 * costs.macs(candidate.widths)[0] + 1e-4 * costs.activation_bytes(
        candidate.widths
    )[0])  # fmt: skip


def stepped(candidate) -> float:
    return 1.0 + float(np.ceil(candidate.widths / 4).sum())


@pytest.mark.parametrize("space", [Widths(), Masks(), Ratios()], ids=repr)
def test_a_posynomial_is_found_again(space) -> None:
    the_problem = problem(space)
    model = fit_latency(the_problem, timed(posynomial))
    assert model.worst < 1e-6
    assert model.widths.shape == (49, the_problem.graph.n_groups)
    np.testing.assert_allclose(model.polynomial(model.widths), model.measured, rtol=1e-6)
    assert (model.polynomial.coefficients >= 0).all()
    assert model.polynomial.unit == "ms"


def test_what_is_no_posynomial_is_told_by_its_error_on_what_was_held_out() -> None:
    model = fit_latency(problem(), timed(stepped))
    assert 0.005 < model.error < 0.3
    assert model.error < model.worst
    fitted = np.abs(model.polynomial(model.widths) - model.measured) / model.measured
    assert np.median(fitted) <= model.error * 1.5


def test_the_seed_decides_what_is_measured() -> None:
    first, again, other = (fit_latency(problem(), timed(stepped), seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.widths, again.widths)
    assert first.error == again.error
    assert not np.array_equal(first.widths, other.widths)


def test_a_true_clock_counts_its_passes() -> None:
    meter = Meter()
    latency = metrics.Latency(repeats=2, warmup=0)
    model = fit_latency(problem(), latency, structures=8, meter=meter)
    assert isinstance(model, LatencyModel)
    assert meter.forward_samples == 9 * 2
    assert np.isfinite(model.error)
    assert (model.measured > 0).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'time' must give positive numbers"):
        fit_latency(problem(), timed(lambda _: -1.0))
    with pytest.raises(ArgumentError, match="structures"):
        fit_latency(problem(), timed(posynomial), structures=7)
    with pytest.raises(ArgumentTypeError, match="folds"):
        fit_latency(problem(), timed(posynomial), folds=2.5)  # type: ignore[arg-type]
