"""The checks of metrics, scores and recoveries pass what is shipped and find each broken rule."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from optprune.formulation import Metric, metric, metrics
from optprune.recovery import BatchNorm, Nothing
from optprune.scores import L1, L2, Random
from optprune.testing import ConformanceError, check_metric, check_recovery, check_score

SHIPPED = [
    metrics.error,
    metrics.loss,
    metrics.score,
    metrics.macs,
    metrics.parameters,
    metrics.activation_memory,
    metrics.macs.absolute,
]


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.name)
def test_shipped_metrics_keep_the_rules(shipped):
    check_metric(shipped)


def test_latency_keeps_the_rules_but_does_not_repeat():
    check_metric(metrics.latency, repeatable=False)


@pytest.mark.parametrize("score", [L1(), L2(), Random()], ids=repr)
def test_shipped_scores_keep_the_rules(score):
    check_score(score)


@pytest.mark.parametrize("recovery", [Nothing(), BatchNorm()], ids=repr)
def test_shipped_recoveries_keep_the_rules(recovery):
    check_recovery(recovery)


counter = itertools.count()


@metric(needs="structure")
def peeks(candidate):
    return next(candidate.network.parameters()).numel()


@metric(needs="network")
def predicts(candidate):
    return candidate.predictions.mean()


@metric(needs="structure")
def counts_calls(candidate):
    return next(counter)


@metric(needs="structure")
def is_not_finite(candidate):
    return float("inf")


@metric(needs="network")
def changes_the_weights(candidate):
    with torch.no_grad():
        next(candidate.network.parameters()).zero_()
    return 0.0


@metric(needs="network")
def changes_the_dense_network(candidate):
    with torch.no_grad():
        next(candidate.task.network.parameters()).mul_(0.5)
    return 0.0


class Disagrees:
    def population(self, graph, widths):
        return widths.sum(axis=1) + 1.0

    def __call__(self, candidate):
        return candidate.widths.sum()


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (peeks, "uses the candidate's network"),
        (predicts, "uses the candidate's predictions"),
        (counts_calls, "other values when the same"),
        (is_not_finite, "finite"),
        (changes_the_weights, "of the candidate"),
        (changes_the_dense_network, "which it may only read"),
        (Metric("disagrees", Disagrees(), needs="structure"), "`population` gives"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_faulty_metric_is_named(faulty, words):
    with pytest.raises(ConformanceError, match=words):
        check_metric(faulty)


@dataclass(frozen=True)
class FaultyScore:
    fault: str

    def __call__(self, network, graph, context):
        values = np.ones(graph.n_units)
        if self.fault == "short":
            return values[1:]
        if self.fault == "not finite":
            values[3] = np.nan
        if self.fault == "unseeded":
            return np.random.default_rng().random(graph.n_units)
        if self.fault == "uncounted":
            context.task.predict(network, context.task.validation, meter=type(context.meter)())
        if self.fault == "writes":
            with torch.no_grad():
                next(network.parameters()).mul_(2)
        if self.fault == "gradients":
            context.task.outputs(network, context.task.example).sum().backward()
            context.meter.forward(2)
        return values


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("short", "one number for each unit"),
        ("not finite", r"not finite to units \[3\]"),
        ("unseeded", "other numbers for the same seed"),
        ("uncounted", "through the network and counts 0"),
        ("writes", "which it may only read"),
        ("gradients", "leaves gradients"),
    ],
)
def test_a_faulty_score_is_named(fault, words):
    with pytest.raises(ConformanceError, match=words):
        check_score(FaultyScore(fault))


@dataclass(frozen=True)
class FaultyRecovery:
    fault: str

    def recover(self, network, context):
        weight = next(network.parameters())
        with torch.no_grad():
            if self.fault == "not finite":
                weight.fill_(float("nan"))
            if self.fault == "unseeded":
                weight.add_(next(counter))
            if self.fault == "dense":
                next(context.task.network.parameters()).mul_(2)
            if self.fault == "type":
                network.double()
            if self.fault == "uncounted":
                network(context.task.example)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("not finite", "not finite"),
        ("unseeded", "other weights"),
        ("dense", "which it may only read"),
        ("type", "names, shapes or types"),
        ("uncounted", "through the network and counts 0"),
    ],
)
def test_a_faulty_recovery_is_named(fault, words):
    with pytest.raises(ConformanceError, match=words):
        check_recovery(FaultyRecovery(fault))
