"""Blocks of parameters listen to some observations: each is an analysis of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.training.assimilation import (
    Correlation,
    CrossEntropy,
    Ensemble,
    Gaussian,
    Mask,
    OutputBlocks,
    analysis,
)
from optprune.training.assimilation.analysis import FORMS
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import (
    Block,
    check_localization,
    localized_analysis,
)
from optprune.training.assimilation.observation import Observed

STD = 0.5
ERRORS = Gaussian(STD)
SAMPLES, OUTPUTS = 4, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(seed: int = 0) -> nn.Sequential:
    """A network with a hidden layer, 4 inputs and 3 outputs, in double precision."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, OUTPUTS)).double().eval()


class Case:
    """An ensemble of a network with what it predicts and what is observed."""

    def __init__(
        self, network: nn.Module, n: int = 12, seed: int = 0, observation: Any = ERRORS
    ) -> None:
        drawn = generator(seed)
        dtype = next(network.parameters()).dtype
        self.ensemble = Ensemble.draw(network, n, generator=drawn)
        self.layout, self.members = self.ensemble.layout, self.ensemble.members
        self.inputs = torch.randn(SAMPLES, 4, generator=drawn, dtype=dtype)
        self.targets = torch.randn(SAMPLES, OUTPUTS, generator=drawn, dtype=dtype)
        self.predictions = self.ensemble.forward(self.inputs)
        with torch.no_grad():
            self.center = self.ensemble.mean_network()(self.inputs)
        targets = self.targets if isinstance(observation, Gaussian) else self.targets.argmax(1)
        self.observed: Observed = observation.observe(self.predictions, self.center, targets)

    def plain(self, covariance: float | torch.Tensor = STD**2, **changes: Any) -> torch.Tensor:
        """Return the members after an analysis without blocks."""
        arguments = {"generator": generator(9)} | changes
        return analysis(
            self.members,
            self.predictions.flatten(1),
            self.targets.flatten(),
            covariance,
            **arguments,
        )

    def by(self, localization: Any, **changes: Any) -> torch.Tensor:
        """Return the members after an analysis by blocks."""
        blocks = localization
        if not isinstance(localization, list):
            blocks = localization.blocks(self.layout, self.members, self.observed)
        arguments = {"generator": generator(9)} | changes
        return localized_analysis(self.members, self.observed, blocks, **arguments)

    def place(self, name: str) -> slice:
        return next(place for found, _, place in self.layout.slices() if found == name)


def whole(case: Case, weight: float | None = None) -> list[Block]:
    count = case.observed.deviations.shape[1]
    weights = None if weight is None else torch.full((count,), weight, dtype=torch.float64)
    return [Block(torch.arange(case.layout.size), weights)]


# the analysis by blocks


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_weights_of_one_are_no_localization(form: Any, seed: int) -> None:
    case = Case(small(), seed=seed)
    wanted = case.plain(form=form)
    ones = torch.ones(SAMPLES * OUTPUTS, dtype=torch.float64)
    odd = torch.arange(case.layout.size) % 2 == 1
    parts = [Block(odd.nonzero()[:, 0], ones), Block((~odd).nonzero()[:, 0])]
    for blocks in (whole(case), whole(case, 1.0), parts, Mask({"*": [1.0] * OUTPUTS})):
        assert torch.allclose(case.by(blocks, form=form), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_weights_of_zero_change_nothing(form: Any, dtype: torch.dtype) -> None:
    case = Case(small().to(dtype))
    for blocks in (whole(case, 0.0), [], Mask({"*": [0.0] * OUTPUTS})):
        found = case.by(blocks, form=form)
        assert torch.equal(found, case.members)
        assert found is not case.members


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", ["cholesky", "svd"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_weight_divides_the_variance_of_the_error(form: Any, solver: Any, seed: int) -> None:
    case = Case(small(), seed=seed)
    weights = torch.rand(SAMPLES * OUTPUTS, generator=generator(seed), dtype=torch.float64)
    found = case.by([Block(torch.arange(case.layout.size), weights)], form=form, solver=solver)
    wanted = case.plain(STD**2 / weights, form=form, solver=solver)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_inflation_multiplies_the_variance_of_the_error(form: Any) -> None:
    case = Case(small())
    found = case.by(OutputBlocks(), form=form, inflation=4.0)
    case.observed = Gaussian(2 * STD).observe(case.predictions, case.center, case.targets)
    assert torch.allclose(case.by(OutputBlocks(), form=form), found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_each_block_is_the_analysis_of_what_it_hears(seed: int) -> None:
    case = Case(small(), seed=seed)
    heard = torch.rand(SAMPLES * OUTPUTS, generator=generator(seed)) < 0.5
    index = torch.randperm(case.layout.size, generator=generator(seed))[:11]
    found = case.by([Block(index, heard.double())], form="etkf")
    wanted = analysis(
        case.members[:, index],
        case.predictions.flatten(1)[:, heard],
        case.targets.flatten()[heard],
        STD**2,
        form="etkf",
    )
    assert torch.allclose(found[:, index], wanted, rtol=0, atol=1e-12)
    others = torch.ones(case.layout.size, dtype=torch.bool)
    others[index] = False
    assert torch.equal(found[:, others], case.members[:, others])


def test_all_blocks_see_the_same_perturbations() -> None:
    case = Case(small())
    case.members = case.members[:, :1].repeat(1, case.layout.size)
    heard = (torch.arange(SAMPLES * OUTPUTS) < 5).double()
    blocks = [Block(torch.tensor([k]), heard) for k in range(case.layout.size)]
    found = case.by(blocks)
    assert torch.allclose(found, found[:, :1].expand_as(found), rtol=0, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "localization",
    [OutputBlocks(), Correlation("layer", 0.1), Mask({"0.*": [0.5, 0, 1]})],
    ids=lambda localization: type(localization).__name__,
)
def test_results_go_where_they_are_wanted_and_inputs_stay(form: Any, localization: Any) -> None:
    case = Case(small())
    kept = [
        case.members.clone(),
        case.observed.deviations.clone(),
        case.observed.innovations.clone(),
    ]
    found = case.by(localization, form=form)
    assert not torch.equal(found, case.members)
    given = [case.members, case.observed.deviations, case.observed.innovations]
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
    out = torch.empty_like(case.members)
    assert case.by(localization, form=form, out=out) is out
    assert torch.equal(out, found)
    members = case.members
    assert case.by(localization, form=form, out=members) is members
    assert torch.equal(members, found)


@pytest.mark.parametrize("form", ["etkf", "denkf"])
@pytest.mark.parametrize(
    "localization",
    [OutputBlocks(), Correlation("parameter", 0.3), Mask({"*": [0.5, 0, 1]})],
    ids=lambda localization: type(localization).__name__,
)
def test_permuting_members_permutes_results(form: Any, localization: Any) -> None:
    case = Case(small())
    found = case.by(localization, form=form)
    order = torch.randperm(len(case.members), generator=generator(3))
    seen = case.observed
    case.members = case.members[order]
    case.observed = Observed(seen.deviations[order], seen.innovations[order], seen.center, OUTPUTS)
    assert torch.allclose(case.by(localization, form=form), found[order], rtol=0, atol=1e-11)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "localization",
    [OutputBlocks(), Correlation(), Mask({"*": [0.5, 0, 1]})],
    ids=lambda localization: type(localization).__name__,
)
def test_single_precision_is_kept_and_close_to_double(form: Any, localization: Any) -> None:
    case = Case(small(), n=30)
    given, wanted = case.observed, case.by(localization, form=form)
    case.members = case.members.float()
    case.observed = Observed(
        given.deviations.float(), given.innovations.float(), given.center.float(), OUTPUTS
    )
    found = case.by(localization, form=form)
    assert found.dtype == torch.float32
    if form != "perturbed":  # a generator draws other numbers in each type
        assert torch.allclose(found.double(), wanted, rtol=0, atol=1e-5)


# output blocks


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


def index_of(blocks: Sequence[Block]) -> list[list[int]]:
    return [sorted(block.index.tolist()) for block in blocks]


def covered(blocks: Sequence[Block]) -> list[int]:
    found: list[int] = torch.cat([block.index for block in blocks]).sort().values.tolist()
    return found


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


def test_output_blocks_take_the_last_layer_that_fits_or_the_one_that_is_named() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.LayerNorm(3))
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
    with pytest.raises(TrainingError, match=r"each of the 3 outputs\. Name the layer, or vary"):
        OutputBlocks().blocks(hidden, case.members[:, : hidden.size], case.observed)


def test_output_blocks_bear_cross_entropy() -> None:
    case = Case(small(), observation=CrossEntropy())
    assert case.observed.n_outputs == OUTPUTS
    found = case.by(OutputBlocks(), form="etkf")
    assert bool(torch.isfinite(found).all())


# correlation


def parameters(count: int) -> Layout:
    """Return the layout of a layer with one weight for each of its outputs."""
    return Layout.of(nn.Linear(1, count, bias=False), "*", owner="test")


def seen(deviations: torch.Tensor) -> Observed:
    centered = deviations - deviations.mean(0)
    return Observed(centered, -centered, torch.zeros_like(centered[0]), 1)


def heard(blocks: Sequence[Block]) -> torch.Tensor:
    return torch.stack([b.weights for b in blocks if b.weights is not None])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_depends_is_heard_and_what_does_not_is_mostly_cut_off(seed: int) -> None:
    drawn = generator(seed)
    members = torch.randn(100, 60, generator=drawn)
    predictions = members[:, :5] + 0.3 * torch.randn(100, 5, generator=drawn)
    found = heard(Correlation("parameter").blocks(parameters(60), members, seen(predictions)))
    assert found.shape == (60, 5)
    assert torch.equal(found[:5].diagonal(), torch.ones(5))
    found[:5].fill_diagonal_(0)
    # 295 pairs that are independent, each beyond three standard deviations with 0.27 %
    assert int(found.sum()) <= 5


@pytest.mark.parametrize("by", ["neuron", "layer", "parameter"])
@pytest.mark.parametrize("threshold", [0.05, 0.3, None])
def test_a_block_hears_what_one_of_its_parameters_correlates_with(
    by: Any, threshold: float | None
) -> None:
    case = Case(small(), n=40)
    limit = 3 / math.sqrt(40) if threshold is None else threshold
    both = torch.cat([case.members, case.predictions.flatten(1)], 1)
    correlations = both.T.corrcoef()[: case.layout.size, case.layout.size :].abs()
    for block in Correlation(by, threshold).blocks(case.layout, case.members, case.observed):
        wanted = correlations[block.index].amax(0) > limit
        assert block.weights is not None
        assert torch.equal(block.weights, wanted.double())


def test_correlations_have_no_units() -> None:
    case = Case(small(), n=40)
    unit = heard(Correlation().blocks(case.layout, case.members, case.observed))
    scales = 10 ** torch.linspace(-6, 6, case.layout.size, dtype=torch.float64)
    moved = 3 + case.members * scales
    assert torch.equal(heard(Correlation().blocks(case.layout, moved, case.observed)), unit)


def test_what_has_no_spread_hears_nothing_and_is_not_heard() -> None:
    members = torch.randn(100, 4, generator=generator())
    members[:, 1] = 0.1
    predictions = members.clone()
    predictions[:, 2] = 0.7
    found = heard(Correlation("parameter", 0.5).blocks(parameters(4), members, seen(predictions)))
    assert torch.equal(found, torch.tensor([1.0, 0, 0, 1]).diag())


def test_nine_members_or_fewer_hear_nothing_by_default() -> None:
    for n in (2, 5, 9):
        case = Case(small(), n=n)
        assert not heard(Correlation().blocks(case.layout, case.members, case.observed)).any()
        assert torch.equal(case.by(Correlation()), case.members)


class Odd(nn.Module):
    """Layers with parameters of all numbers of dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.conv = nn.Conv2d(2, 6, 3, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(4, 3, bias=False)


@pytest.mark.parametrize("by", ["neuron", "layer", "parameter"])
@pytest.mark.parametrize("network", [small, Odd])
def test_blocks_are_a_partition_of_the_parameters(by: Any, network: Any) -> None:
    layout = Layout.of(network(), "*", owner="test")
    members = torch.randn(12, layout.size, generator=generator())
    blocks = Correlation(by).blocks(layout, members, seen(members[:, :3]))
    assert covered(blocks) == list(range(layout.size))
    if by == "parameter":
        assert len(blocks) == layout.size
    if by == "layer":
        assert len(blocks) == len(layout.layers())


def test_a_neuron_is_the_weights_into_it_and_its_bias() -> None:
    case = Case(small())
    blocks = Correlation("neuron").blocks(case.layout, case.members, case.observed)
    assert index_of(blocks)[:5] == [[*range(4 * k, 4 * k + 4), 20 + k] for k in range(5)]
    assert len(blocks) == 5 + OUTPUTS


@pytest.mark.parametrize("threshold", [0, -0.1, 1, 1.0, 2.0, math.nan, math.inf])
def test_a_threshold_lies_between_zero_and_one(threshold: float) -> None:
    with pytest.raises(ArgumentError, match="Correlation: `threshold` must be"):
        Correlation(threshold=threshold)


@pytest.mark.parametrize("threshold", ["0.1", True, [0.1]])
def test_a_threshold_is_a_number(threshold: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="Correlation: `threshold` must be a number"):
        Correlation(threshold=threshold)


@pytest.mark.parametrize("by", ["weight", None, 3, ["layer"]])
def test_other_kinds_of_blocks_are_named(by: Any) -> None:
    with pytest.raises(ArgumentError, match="`by` must be 'neuron', 'layer' or 'parameter', not"):
        Correlation(by)


# masks


def test_a_mask_of_the_last_layer_can_be_output_blocks() -> None:
    case = Case(small())
    mask = Mask({"2.*": np.eye(OUTPUTS)})
    for form in FORMS:
        wanted = case.by(OutputBlocks(), form=form)
        assert torch.allclose(case.by(mask, form=form), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_outputs_divide_their_variances(form: Any) -> None:
    case = Case(small())
    weights = torch.tensor([0.25, 1.0, 0.5], dtype=torch.float64)
    variances = (STD**2 / weights).repeat(SAMPLES)
    found = case.by(Mask({"*": weights}), form=form)
    assert torch.allclose(found, case.plain(variances, form=form), rtol=0, atol=1e-10)


def test_a_parameter_that_no_pattern_matches_sees_everything() -> None:
    case = Case(small())
    found, plain = case.by(Mask({"0.weight": [0, 0, 0]})), case.plain()
    place = case.place("0.weight")
    assert torch.equal(found[:, place], case.members[:, place])
    assert torch.allclose(found[:, place.stop :], plain[:, place.stop :], rtol=0, atol=1e-12)


def test_of_several_patterns_the_last_counts() -> None:
    case = Case(small())
    mask = Mask({"*": [1, 1, 1], "2.*": [1, 0, 0], "*.bias": [0, 0, 1]})
    blocks = mask.blocks(case.layout, case.members, case.observed)
    found = {int(b.index[0]): b.weights.tolist() for b in blocks if b.weights is not None}
    assert found == {
        case.place("0.weight").start: [1, 1, 1] * SAMPLES,
        case.place("0.bias").start: [0, 0, 1] * SAMPLES,
        case.place("2.weight").start: [1, 0, 0] * SAMPLES,
        case.place("2.bias").start: [0, 0, 1] * SAMPLES,
    }


def test_rows_have_weights_of_their_own_and_all_parameters_a_block() -> None:
    case = Case(small())
    rows = torch.rand(5, OUTPUTS, generator=generator(), dtype=torch.float64)
    blocks = Mask({"0.weight": rows}).blocks(case.layout, case.members, case.observed)
    assert covered(blocks) == list(range(case.layout.size))
    for k, block in enumerate(blocks[:5]):
        assert block.index.tolist() == list(range(4 * k, 4 * k + 4))
        assert block.weights is not None
        assert torch.equal(block.weights, rows[k].repeat(SAMPLES))


@pytest.mark.parametrize(
    ("weights", "pattern"),
    [
        ([1, 1], "0.weight"),
        ([1, 1, 1, 1], "*"),
        (np.ones((4, 3)), "0.weight"),
        (np.ones((5, 2)), "0.weight"),
        (np.ones((1, 3)), "0.weight"),
        (np.ones((3, 3)), "*"),
    ],
)
def test_shapes_that_do_not_fit_are_named(weights: Any, pattern: str) -> None:
    case = Case(small())
    words = r"weights of '0.weight' must have shape \(3,\) or \(5, 3\), got"
    with pytest.raises(TrainingError, match=words):
        Mask({pattern: weights}).blocks(case.layout, case.members, case.observed)


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    case = Case(small())
    with pytest.raises(TrainingError, match=r"'0\.wieght' matches no .* mean '0\.weight'"):
        Mask({"0.wieght": [1, 1, 1]}).blocks(case.layout, case.members, case.observed)


@pytest.mark.parametrize(
    "weights",
    [
        [0, 1.01],
        [-0.01, 1],
        [0.5, math.nan],
        [None, 1],
        [math.inf, 0],
        0.5,
        [[[1.0]]],
        np.full((2, 3), 2.0),
    ],
)
def test_weights_outside_zero_and_one_are_refused(weights: Any) -> None:
    with pytest.raises(
        ArgumentError, match=r"of '0\.weight' must be numbers from 0 to 1 in one or"
    ):
        Mask({"*": [1, 1], "0.weight": weights})


@pytest.mark.parametrize(
    "weights", ["half", [[1, 0], [1]], object, torch.ones(2, requires_grad=True)], ids=str
)
def test_weights_that_are_no_numbers_are_refused(weights: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"the weights of '0\.weight' must be numbers, not"):
        Mask({"0.weight": weights})


@pytest.mark.parametrize("weights", [[1, 0], None, "0.weight", {3: [1.0, 0]}], ids=str)
def test_a_mask_is_a_mapping_by_names(weights: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="Mask: `weights` must"):
        Mask(weights)


def test_equal_masks_are_equal_and_do_not_follow_the_array() -> None:
    given = np.array([[1.0, 0.5], [0.0, 1.0]])
    masks = [Mask({"a": value}) for value in (given, given.tolist(), torch.from_numpy(given))]
    given[0, 0] = 0.25
    assert masks[0] == masks[1] == Mask({"a": [[1, 0.5], [0, 1]]})
    assert masks[0] != Mask({"a": given})
    assert repr(masks[0]) == "Mask(weights={'a': ((1.0, 0.5), (0.0, 1.0))})"


class Own:
    """A localization of a user: nothing moves."""

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> list[Block]:
        return []


@pytest.mark.parametrize("wrong", [0.5, "outputs", OutputBlocks, {"*": [1.0]}], ids=str)
def test_what_is_no_localization_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentTypeError, match=r"EKI: `localization` must be OutputBlocks\(\)"):
        check_localization("EKI", wrong)


@pytest.mark.parametrize(
    "localization",
    [None, Own(), OutputBlocks(), Correlation(), Mask({})],
    ids=lambda localization: type(localization).__name__,
)
def test_what_localizes_is_taken(localization: object) -> None:
    check_localization("EKI", localization)
