"""A rule of one's own, for an operation of one's own: without it frozen, with it pruned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import TraceWarning
from optprune.surgery import trace
from optprune.surgery.operation import Operation, Rule
from optprune.surgery.rules import register, registry
from optprune.surgery.tracing import Recorder
from optprune.testing import ConformanceError, check_rule, check_surgery

NAME = "optprune_tests.running"


@torch.library.custom_op("optprune_tests::running", mutates_args=())
def running(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Add up along a dimension, what came before counting half."""
    parts = [x.select(dim, 0)]
    for index in range(1, x.shape[dim]):
        parts.append(x.select(dim, index) + parts[-1] / 2)
    return torch.stack(parts, dim)


@running.register_fake
def _(x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.empty_like(x)


def _setup(ctx: Any, inputs: tuple[torch.Tensor, int], output: torch.Tensor) -> None:
    ctx.dim = inputs[1]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
    return running(grad.flip(ctx.dim), ctx.dim).flip(ctx.dim), None


running.register_autograd(_backward, setup_context=_setup)


class Network(nn.Module):
    """Two convolutions with the operation between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.head = nn.Linear(6, 4)
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = running(torch.relu(self.first(x)), self.dim)
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end what a test registers."""
    registry.rule_for(torch.ops.aten.add.Tensor)  # imports the rules that are shipped
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


def right(recorder: Recorder, operation: Operation) -> None:
    """Positions may add up, channels may not."""
    source, output = operation.tensors[0], operation.outputs[0]
    dim = operation.argument("dim") % source.dim()
    reason = operation.reason("each sum holds all that came before")
    recorder.set(
        output, [recorder.ledger.fix(layer, [dim], reason) for layer in recorder.layers(source)]
    )


def test_without_a_rule_it_is_frozen_with_the_reason() -> None:
    torch.manual_seed(0)
    graph = check_surgery(Network(2), EXAMPLE)
    assert [group.name for group in graph.groups] == ["second"]
    (frozen,) = [group for group in graph.frozen if group.name == "first"]
    assert frozen.reason == "optprune has no rule for this operation"
    assert frozen.operation == NAME
    assert "x = running(torch.relu(self.first(x)), self.dim)" in frozen.line
    with pytest.raises(ConformanceError, match=r"no rule is registered for 'optprune_tests.run"):
        check_rule(NAME, Network(2), EXAMPLE)


@pytest.mark.parametrize("dim", [2, -1])
def test_a_rule_of_ten_lines_makes_it_prunable_and_exact(dim: int) -> None:
    register(NAME)(right)
    torch.manual_seed(0)
    graph = check_rule(NAME, Network(dim), EXAMPLE, seeds=4, minimum_share=0.9)
    assert [group.name for group in graph.groups] == ["first", "second"]
    assert trace(Network(dim), EXAMPLE).digest == graph.digest


@pytest.mark.parametrize("dim", [1, -3])
def test_where_the_rule_says_so_channels_stay_for_its_reason(dim: int) -> None:
    register(NAME)(right)
    graph = check_surgery(Network(dim), EXAMPLE)
    (frozen,) = [group for group in graph.frozen if group.name == "first"]
    assert frozen.reason == "each sum holds all that came before"
    words = r"the rule for optprune_tests.running freezes all channels .*each sum holds all"
    with pytest.raises(ConformanceError, match=words):
        check_rule(NAME, Network(dim), EXAMPLE)


def fails(recorder: Recorder, operation: Operation) -> None:
    """Meet a tensor that its author did not think of."""
    raise IndexError("no such dimension")


def test_what_a_failing_rule_touches_stays_whole_and_one_is_told() -> None:
    register(NAME)(fails)
    with pytest.warns(TraceWarning, match=r"the rule for optprune_tests.running fails at .*report"):
        graph = trace(Network(2), EXAMPLE)
    assert [group.name for group in graph.groups] == ["second"]
    (frozen,) = [group for group in graph.frozen if group.name == "first"]
    assert frozen.reason == "the rule for this operation fails (IndexError: no such dimension)"
    assert "x = running(" in frozen.line


def hands_on(recorder: Recorder, operation: Operation) -> None:
    """Forget that sums along the channels mix them."""
    recorder.set(operation.outputs[0], recorder.layers(operation.tensors[0]))


def forgets(recorder: Recorder, operation: Operation) -> None:
    """Say nothing of the result."""


def raises(recorder: Recorder, operation: Operation) -> None:
    """Look for an operand that is not there."""
    recorder.layers(operation.tensors[1])


def miscounts(recorder: Recorder, operation: Operation) -> None:
    """Count parameters that nobody has."""
    hands_on(recorder, operation)
    recorder.cost("parameters", 1.0, recorder.layers(operation.tensors[0]))


def halves(recorder: Recorder, operation: Operation) -> None:
    """Hand on labels that are one channel off."""
    layers = recorder.layers(operation.tensors[0])
    recorder.set(operation.outputs[0], [layer.roll(1, 1) for layer in layers])


@pytest.mark.parametrize(
    ("wrong", "dim", "words"),
    [
        (hands_on, 1, r"with seed 1 \(widths: first 4 of 8, .* removed is not zeroed.*: first\."),
        (halves, 2, "removed is not zeroed, relative difference"),
        (forgets, 2, "the smaller network does not run"),
        (raises, 2, "raises IndexError"),
        (miscounts, 2, "its costs say"),
    ],
)
def test_a_wrong_rule_is_found(wrong: Rule, dim: int, words: str) -> None:
    register(NAME)(wrong)
    torch.manual_seed(0)
    with pytest.raises(ConformanceError, match=rf"(?s)the rule for {NAME}.*{words}"):
        check_rule(NAME, Network(dim), EXAMPLE)


def test_what_a_wrong_rule_promises_is_not_offered() -> None:
    register(NAME)(hands_on)
    torch.manual_seed(0)
    graph = check_surgery(Network(1), EXAMPLE)
    assert [group.name for group in graph.groups] == ["second"]
    (frozen,) = [group for group in graph.frozen if group.name == "first"]
    assert "removing its channels is not the same as zeroing them" in frozen.reason


def meets_no_channels() -> nn.Module:
    class Early(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.second(self.first(running(x, 2))).mean((2, 3)))

    return Early(2)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)), "never executes"),
        (meets_no_channels, "only meets tensors without channels"),
    ],
)
def test_a_network_that_does_not_put_the_rule_to_the_test_is_refused(
    build: Callable[[], nn.Module], words: str
) -> None:
    register(NAME)(right)
    with pytest.raises(ConformanceError, match=words):
        check_rule(NAME, build(), EXAMPLE)


def test_the_rules_that_are_shipped_pass_and_are_left_alone() -> None:
    before = dict(registry._RULES)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GLU(1), nn.Conv2d(4, 3, 3))
    for name in ("aten.convolution", "aten.glu"):
        graph = check_rule(name, network, EXAMPLE)
        assert graph.groups[0].width == 4
    assert before == registry._RULES


def test_a_rule_for_an_operation_serves_it_in_place_too() -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 2))
    register("aten.sigmoid")(hands_on)

    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[2](self.layers[0](x).sigmoid_())

    # sigmoid of what is zeroed is one half, but a consumer that is zeroed too does not see it
    assert check_rule("aten.sigmoid", InPlace(), torch.randn(2, 3)).groups[0].width == 8


@pytest.mark.parametrize(
    "name", ["celu", "elu_", "hardsigmoid_", "hardtanh_", "leaky_relu", "leaky_relu_", "selu_"]
)
def test_an_activation_needs_no_tag_of_pytorch(name: str) -> None:
    class Untagged:
        """An operation as older releases of PyTorch know it."""

        tags: tuple[torch.Tag, ...] = ()

        def __str__(self) -> str:
            return f"aten.{name}.default"

    assert registry.rule_for(Untagged()) is registry.rule_for(torch.ops.aten.add.Tensor)
    assert registry.rule_for(getattr(torch.ops.aten, name).default) is not registry.unknown
