"""What two candidates have in common is fitted once, and comes out the same to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.meter import Meter
from optprune.recovery import LayerFit, LeastSquares, RecoveryContext
from optprune.recovery.layer_fit import FittedLayer
from optprune.recovery.wiring import wiring
from optprune.surgery import cut, trace
from optprune.task import Task
from tests.recovery.cases import cut_and_context, state, task


def refitted(
    the_task: Task, first: dict[str, int], then: dict[str, int]
) -> tuple[list[str], list[str]]:
    """Fit two candidates in turn; return what of the second was fitted and what taken over."""
    recovery = LeastSquares()
    _, context = cut_and_context(the_task, **first)
    recovery.recover(cut_and_context(the_task, **first)[0], context)
    network, following = cut_and_context(the_task, **then)
    fresh, alone = cut_and_context(the_task, **then)
    expected = recovery.fit(fresh, alone)
    fitted: list[str] = []
    plain = FittedLayer.fit

    def spy(layer: FittedLayer, *args: Any, **named: Any) -> LayerFit:
        fitted.append(layer.rows.name)
        return plain(layer, *args, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FittedLayer, "fit", spy)
        found = recovery.fit(network, replace(following, shared=context.shared))
    assert [repr(fit) for fit in found] == [repr(fit) for fit in expected]
    for name, value in state(fresh).items():
        assert torch.equal(state(network)[name], value), name
    called = wiring(the_task, the_task.network, Meter())
    return fitted, [name for name in called if name not in fitted]


def test_only_what_lies_behind_a_change_is_fitted_anew() -> None:
    the_task = task()
    fitted, taken = refitted(
        the_task, {"stem": 5, "inner": 7, "wide": 9}, {"stem": 5, "inner": 7, "wide": 4}
    )
    assert taken
    assert fitted
    order = list(wiring(the_task, the_task.network, Meter()))
    assert order == taken + fitted
    assert "wide" in fitted
    assert "inner" in taken


def test_a_change_in_front_leaves_nothing_to_take_over() -> None:
    fitted, taken = refitted(task(), {"stem": 5, "wide": 4}, {"stem": 4, "wide": 4})
    assert fitted
    assert not taken


def test_the_same_candidate_is_taken_over_whole() -> None:
    fitted, taken = refitted(task(), {"stem": 5, "wide": 4}, {"stem": 5, "wide": 4})
    assert taken
    assert not fitted


def test_other_units_of_the_same_number_are_fitted_anew() -> None:
    the_task = task()
    graph = trace(the_task.network, the_task.example)
    recovery, context = LeastSquares(), cut_and_context(the_task)[1]
    group = graph.group("wide")
    for gone in (group.start, group.start + 1):
        kept = np.ones(graph.n_units, dtype=np.bool_)
        kept[gone] = False
        structure = graph.structure(kept)
        network = cut(the_task.network, graph, structure)
        fresh = cut(the_task.network, graph, structure)
        recovery.recover(network, replace(context, structure=structure))
        recovery.recover(fresh, RecoveryContext(the_task, graph, structure, 0, Meter()))
        for name, value in state(fresh).items():
            assert torch.equal(state(network)[name], value), name


def test_weights_that_differ_before_the_fit_are_not_mistaken() -> None:
    the_task = task()
    recovery = LeastSquares()
    one, context = cut_and_context(the_task, stem=5, wide=6)
    recovery.recover(one, context)
    other, _ = cut_and_context(the_task, stem=5, wide=6)
    fresh, alone = cut_and_context(the_task, stem=5, wide=6)
    for network in (other, fresh):
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.get_buffer("running_mean").add_(0.1)
    recovery.recover(other, context)
    recovery.recover(fresh, alone)
    for name, value in state(fresh).items():
        assert torch.equal(state(other)[name], value), name
