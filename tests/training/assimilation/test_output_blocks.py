"""The weights of an output listen to that output alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optprune.errors import TrainingError
from optprune.training.assimilation import (
    CrossEntropy,
    Ensemble,
    Gaussian,
    OutputBlocks,
    analysis,
)
from optprune.training.assimilation.analysis import FORMS
from optprune.training.assimilation.layout import Layout
from tests.training.assimilation.localized import (
    OUTPUTS,
    SAMPLES,
    STD,
    Case,
    covered,
    index_of,
    small,
    whole,
)


@pytest.mark.parametrize("form", ["etkf", "denkf"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_network_is_solved_as_one_regression_for_each_output(
    form: Any, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    case = Case(nn.Linear(4, OUTPUTS, bias=bias).double(), seed=seed)
    found = case.layout.unflatten(case.by(OutputBlocks(), form=form))
    given = case.layout.unflatten(case.members)
    for k in range(OUTPUTS):
        own = [value[:, k].reshape(len(case.members), -1) for value in given.values()]
        wanted = analysis(
            torch.cat(own, 1), case.predictions[..., k], case.targets[:, k], STD**2, form=form
        )
        new = [value[:, k].reshape(len(case.members), -1) for value in found.values()]
        assert torch.allclose(torch.cat(new, 1), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_other_layers_see_everything(form: Any) -> None:
    case = Case(small())
    found, plain = case.by(OutputBlocks(), form=form), case.plain(form=form)
    last = torch.arange(case.place("2.weight").start, case.layout.size)
    hidden = slice(0, int(last[0]))
    assert torch.allclose(found[:, hidden], plain[:, hidden], rtol=0, atol=1e-12)
    assert not torch.allclose(found[:, last], plain[:, last], atol=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_output_has_the_directions_of_all_members_for_itself(seed: int) -> None:
    """12 observations, 7 directions: together they cannot be met, 4 for each output can."""
    torch.manual_seed(seed)
    case = Case(nn.Linear(4, OUTPUTS).double(), n=8, seed=seed, observation=Gaussian(1e-5))
    left = []
    for blocks in (OutputBlocks(), whole(case)):
        found = case.by(blocks, form="etkf", solver="svd")
        network = Ensemble(case.ensemble.network, case.layout, found).mean_network()
        left.append(float((network(case.inputs) - case.targets).detach().norm()))
    assert left[0] < 1e-6 * left[1]


def test_a_block_has_the_row_and_the_bias_of_its_output() -> None:
    case = Case(small())
    blocks = OutputBlocks().blocks(case.layout, case.members, case.observed)
    weight, bias = case.place("2.weight").start, case.place("2.bias").start
    rows = [[*range(weight + 5 * k, weight + 5 * k + 5), bias + k] for k in range(OUTPUTS)]
    assert index_of(blocks) == [*rows, list(range(weight))]
    for k, block in enumerate(blocks[:OUTPUTS]):
        assert block.weights is not None
        assert block.weights.tolist() == [float(j == k) for j in range(OUTPUTS)] * SAMPLES
        assert block.weights.dtype == case.members.dtype
    assert blocks[-1].weights is None


def test_output_blocks_take_the_last_layer_or_the_one_that_is_named() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Identity())
    case = Case(network.double().eval())
    for layer, module in ((None, "2"), ("2", "2"), ("0", "0")):
        blocks = OutputBlocks(layer).blocks(case.layout, case.members, case.observed)
        first = case.place(f"{module}.weight").start
        assert int(blocks[0].index[0]) == first
        assert len(blocks) == OUTPUTS + 1
        assert covered(blocks) == list(range(case.layout.size))


def test_nothing_is_left_over_where_only_the_last_layer_varies() -> None:
    case = Case(small())
    layout = Layout.of(small(), "2.*", owner="test")
    blocks = OutputBlocks().blocks(layout, case.members[:, : layout.size], case.observed)
    assert len(blocks) == OUTPUTS
    assert covered(blocks) == list(range(layout.size))


def test_a_layer_that_does_not_give_the_outputs_is_refused() -> None:
    case = Case(small())
    for layer in ("0", "1", "head"):
        with pytest.raises(TrainingError, match=f"no layer '{layer}' among the parameters that"):
            OutputBlocks(layer).blocks(case.layout, case.members, case.observed)
    hidden = Layout.of(small(), "0.*", owner="test")
    with pytest.raises(TrainingError, match=REMEDY):
        OutputBlocks().blocks(hidden, case.members[:, : hidden.size], case.observed)


REMEDY = r"each of the 3 outputs\. Name the layer that gives the outputs by layer=…, or vary its"


def square(*last: nn.Module) -> nn.Sequential:
    """A network whose hidden layer is as wide as its outputs."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, OUTPUTS), nn.Tanh(), nn.Linear(OUTPUTS, OUTPUTS), *last]
    return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("parameters", ["0.*", "*.bias", ("0.*", "2.bias")], ids=str)
def test_a_hidden_layer_as_wide_as_the_outputs_is_not_taken_for_the_last(parameters: Any) -> None:
    case = Case(square())
    layout = Layout.of(square(), parameters, owner="test")
    members = case.members[:, : layout.size]
    with pytest.raises(TrainingError, match=f"last module with parameters is no .*{REMEDY}"):
        OutputBlocks().blocks(layout, members, case.observed)
    if "0.*" in parameters:
        assert len(OutputBlocks("0").blocks(layout, members, case.observed)) >= OUTPUTS


def test_a_layer_that_is_not_the_last_has_to_be_named() -> None:
    case = Case(square(nn.LayerNorm(OUTPUTS)))
    with pytest.raises(TrainingError, match=REMEDY):
        OutputBlocks().blocks(case.layout, case.members, case.observed)
    blocks = OutputBlocks("2").blocks(case.layout, case.members, case.observed)
    assert int(blocks[0].index[0]) == case.place("2.weight").start


class Tied(nn.Module):
    """A square layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(OUTPUTS, OUTPUTS)
        self.last = self.first


class Borrowed(nn.Module):
    """A last layer with the weight of the first, and a bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(OUTPUTS, OUTPUTS)
        self.last = nn.Linear(OUTPUTS, OUTPUTS)
        self.last.weight = self.first.weight


@pytest.mark.parametrize("kind", [Tied, Borrowed])
def test_a_weight_that_other_layers_use_too_is_not_taken(kind: Any) -> None:
    case = Case(small())
    layout = Layout.of(kind(), "*", owner="test")
    with pytest.raises(TrainingError, match=REMEDY):
        OutputBlocks().blocks(layout, case.members[:, : layout.size], case.observed)


def test_a_convolution_may_give_the_outputs() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, OUTPUTS, 2), nn.Tanh(), nn.Conv2d(OUTPUTS, 3, 1)
    )
    case = Case(nn.Sequential(*network, nn.Flatten()).double().eval())
    blocks = OutputBlocks().blocks(case.layout, case.members, case.observed)
    assert len(blocks) == OUTPUTS + 1
    assert int(blocks[0].index[0]) == case.place("3.weight").start


def test_output_blocks_bear_cross_entropy() -> None:
    case = Case(small(), observation=CrossEntropy())
    assert case.observed.n_outputs == OUTPUTS
    found = case.by(OutputBlocks(), form="etkf")
    assert bool(torch.isfinite(found).all())
