"""Blocks of parameters listen to some observations: each is an analysis of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from optprune.errors import ArgumentTypeError
from optprune.training.assimilation import (
    Correlation,
    Gaussian,
    Mask,
    OutputBlocks,
    analysis,
)
from optprune.training.assimilation.analysis import FORMS
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import Block, check_localization
from optprune.training.assimilation.observation import Observed
from tests.training.assimilation.localized import OUTPUTS, SAMPLES, STD, Case, small, whole
from tests.training.assimilation.networks import generator


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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", [None, 0.5])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_one_block_of_all_parameters_may_list_them_in_any_order(
    form: Any, weight: float | None, order: str
) -> None:
    case = Case(small())
    wanted = case.plain(STD**2 / (weight or 1.0), form=form)
    block = whole(case, weight)[0]
    places = {
        "ascending": block.index,
        "descending": block.index.flip(0),
        "shuffled": block.index[torch.randperm(case.layout.size, generator=generator(2))],
    }
    blocks = [Block(places[order], block.weights)]
    kept = case.members.clone()
    out = torch.full_like(kept, torch.nan)
    assert case.by(blocks, form=form, out=out) is out
    assert torch.equal(case.members, kept)
    for found in (out, case.by(blocks, form=form), case.by(blocks, form=form, out=case.members)):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    silent = torch.full_like(kept, torch.nan)
    case.members = kept
    assert torch.equal(case.by([Block(places[order], torch.zeros(12))], out=silent), kept)


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
