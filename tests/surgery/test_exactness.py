"""Removed = zeroed, for every network of the list."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from optprune.errors import GraphMismatchError
from optprune.surgery import Slicer, Structure, cut, mask
from optprune.surgery.calling import call
from optprune.surgery.slicing import zero
from optprune.surgery.state import dense_state

from .conftest import Traced, traced_case
from .networks import SMALL, tensors
from .oracle import (
    check_attributes,
    check_removed_equals_zeroed,
    difference,
    normalize_kept,
    outputs,
    random_structure,
    repaired,
    state_of,
    structures,
    zeroed,
)


def doubled(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).double()


@pytest.mark.parametrize("how", ["half", "widths"])
def test_removed_equals_zeroed(traced: Traced, how: str) -> None:
    dense = doubled(traced.network)
    structure = random_structure(traced.graph, 1, how)
    small = cut(dense, traced.graph, structure)
    check_removed_equals_zeroed(traced.case, dense, small, traced.graph, structure)


@pytest.mark.parametrize("how", ["few", "one group"])
def test_removed_equals_zeroed_in_extreme_structures(small: Traced, how: str) -> None:
    dense = doubled(small.network)
    for seed in range(3):
        structure = random_structure(small.graph, seed, how)
        network = cut(dense, small.graph, structure)
        check_removed_equals_zeroed(small.case, dense, network, small.graph, structure)


def test_what_is_taken_lies_in_memory_as_before() -> None:
    traced = traced_case("plain")
    dense = copy.deepcopy(traced.network).to(memory_format=torch.channels_last)
    structure = random_structure(traced.graph, 3)
    last, first = (cut(each, traced.graph, structure) for each in (dense, traced.network))
    for one, two in zip(last.parameters(), first.parameters(), strict=True):
        assert torch.equal(one, two)
        if one.dim() == 4:
            assert one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", [case.name for case in SMALL])
def test_any_structure_is_exact(name: str) -> None:
    traced = traced_case(name)
    dense = doubled(traced.network)
    slicer = Slicer(dense, traced.graph)

    @settings(max_examples=6)
    @given(structures(traced.graph))
    def property_holds(structure: Structure) -> None:
        network = slicer.load(structure, slicer.take(structure))
        check_removed_equals_zeroed(traced.case, dense, network, traced.graph, structure)

    property_holds()


def test_any_structure_is_exact_for_other_weights_of_the_architecture(small: Traced) -> None:
    dense = small.case.network(seed=5).double()
    structure = random_structure(small.graph, 9)
    network = cut(dense, small.graph, structure)
    check_removed_equals_zeroed(small.case, dense, network, small.graph, structure)


def test_full_structure_changes_nothing(traced: Traced) -> None:
    dense = doubled(traced.network)
    same = cut(dense, traced.graph, traced.graph.full())
    found = state_of(same)
    for name, tensor in state_of(dense).items():
        assert torch.equal(found[name], tensor), name
    inputs = traced.case.example(batch=2, seed=3)
    assert difference(outputs(same, inputs), outputs(dense, inputs)) < 1e-12


def test_mask_zeroes_the_removed_slices_of_a_copy(traced: Traced) -> None:
    structure = random_structure(traced.graph, 2)
    masked = mask(traced.network, traced.graph, structure)
    expected = dict(zeroed(traced.network, traced.graph, structure).named_parameters())
    assert type(masked) is type(traced.network)
    for name, parameter in masked.named_parameters():
        assert torch.equal(parameter, expected[name]), name
        assert parameter.data_ptr() != traced.network.get_parameter(name).data_ptr(), name


def test_small_network_is_of_the_users_classes_and_knows_its_sizes(traced: Traced) -> None:
    structure = random_structure(traced.graph, 3)
    small = cut(traced.network, traced.graph, structure)
    assert type(small) is type(traced.network)
    for (name, module), (other_name, other) in zip(
        traced.network.named_modules(), small.named_modules(), strict=True
    ):
        assert name == other_name
        if not isinstance(module, nn.MultiheadAttention):
            assert type(other).__name__ == type(module).__name__, name
    check_attributes(small)
    assert not small.training


def test_small_network_trains(traced: Traced) -> None:
    inputs = traced.case.example(batch=4, seed=4)
    structure = random_structure(traced.graph, 4)
    with_gradient = []
    for network in (copy.deepcopy(traced.network), cut(traced.network, traced.graph, structure)):
        network.train()
        torch.manual_seed(0)
        loss = sum((t.square().mean() for t in tensors(call(network, inputs))), torch.zeros(()))
        loss.backward()
        before = [p.detach().clone() for p in network.parameters()]
        torch.optim.SGD(network.parameters(), lr=0.1).step()
        after = list(network.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
        with_gradient.append([n for n, p in network.named_parameters() if p.grad is not None])
    assert with_gradient[0] == with_gradient[1]


def test_small_network_shares_no_memory_with_the_dense_one(traced: Traced) -> None:
    structure = random_structure(traced.graph, 5)
    slicer = Slicer(traced.network, traced.graph)
    taken = slicer.take(structure)
    dense = {t.untyped_storage().data_ptr() for t in state_of(traced.network).values()}
    small = cut(traced.network, traced.graph, structure)
    for name, tensor in [*state_of(small).items(), *taken.items()]:
        assert tensor.untyped_storage().data_ptr() not in dense, name


def test_slicer_gives_the_same_as_cut(traced: Traced) -> None:
    slicer = Slicer(traced.network, traced.graph)
    inputs = traced.case.example(batch=2, seed=6)
    for seed, how in enumerate(["half", "widths", "half"]):
        structure = random_structure(traced.graph, seed, how)
        shell = slicer.load(structure, slicer.take(structure))
        small = cut(traced.network, traced.graph, structure)
        assert not shell.training
        check_attributes(shell)
        found, expected = state_of(shell), state_of(small)
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name
        with torch.no_grad():
            for a, b in zip(
                tensors(call(shell, inputs)), tensors(call(small, inputs)), strict=True
            ):
                assert torch.equal(a, b)


def test_slicer_takes_from_another_state(small: Traced) -> None:
    other = small.case.network(seed=3)
    structure = random_structure(small.graph, 7)
    slicer = Slicer(small.network, small.graph)
    taken = slicer.take(structure, other.state_dict())
    expected = state_of(cut(other, small.graph, structure))
    for name, tensor in taken.items():
        assert torch.equal(tensor, expected[name]), name
    loaded = state_of(slicer.load(structure, taken))
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name


def test_what_is_scattered_is_what_was_taken_with_zeros_in_between(small: Traced) -> None:
    slicer = Slicer(small.network, small.graph)
    for seed, how in enumerate(["half", "widths", "one group"]):
        structure = random_structure(small.graph, seed, how)
        expected = {name: tensor.clone() for name, tensor in dense_state(small.network).items()}
        zero(expected, small.graph, structure)
        taken = slicer.take(structure)
        found = slicer.scatter(structure, taken)
        assert list(found) == list(expected)
        for name, tensor in found.items():
            assert torch.equal(tensor, expected[name]), name
            assert tensor.dtype == expected[name].dtype, name
            assert tensor.stride() == expected[name].stride(), name
        again = slicer.take(structure, found)
        assert all(torch.equal(again[name], tensor) for name, tensor in taken.items())


def test_the_scattered_network_computes_what_a_trained_small_one_computes(small: Traced) -> None:
    dense = doubled(small.network)
    structure = random_structure(small.graph, 12)
    slicer = Slicer(dense, small.graph)
    other = slicer.take(structure, doubled(small.case.network(seed=4)).state_dict())
    network = slicer.load(structure, other)
    state = slicer.scatter(structure, other)
    with torch.no_grad():
        for name, tensor in (*dense.named_parameters(), *dense.named_buffers()):
            tensor.copy_(state[name])
    reference = zeroed(dense, small.graph, structure)  # for what has no quotient at zero
    normalize_kept(reference, dense, small.graph, structure, small.case)
    inputs = small.case.example(batch=3, seed=7)
    assert difference(outputs(network, inputs), outputs(reference, inputs)) < 1e-10


def test_what_is_scattered_shares_no_memory_and_lies_as_before() -> None:
    traced = traced_case("plain")
    dense = copy.deepcopy(traced.network).to(memory_format=torch.channels_last)
    slicer = Slicer(dense, traced.graph)
    for structure in (traced.graph.full(), random_structure(traced.graph, 3)):
        taken = slicer.take(structure)
        known = {t.untyped_storage().data_ptr() for t in taken.values()}
        known |= {t.untyped_storage().data_ptr() for t in state_of(dense).values()}
        for name, tensor in slicer.scatter(structure, taken).items():
            assert tensor.untyped_storage().data_ptr() not in known, name
            if tensor.dim() == 4:
                assert tensor.is_contiguous(memory_format=torch.channels_last), name


def test_tensors_of_another_structure_are_not_scattered() -> None:
    traced = traced_case("plain")
    slicer = Slicer(traced.network, traced.graph)
    structure = random_structure(traced.graph, 3, "half")
    taken = slicer.take(structure)
    with pytest.raises(GraphMismatchError, match=r"has shape .*, the structure has"):
        slicer.scatter(traced.graph.full(), taken)
    name = next(iter(taken))
    with pytest.raises(GraphMismatchError, match="is missing"):
        slicer.scatter(structure, {key: t for key, t in taken.items() if key != name})


def test_training_the_shell_changes_the_candidate_and_nothing_else(small: Traced) -> None:
    structure = random_structure(small.graph, 8)
    dense = {name: tensor.clone() for name, tensor in state_of(small.network).items()}
    slicer = Slicer(small.network, small.graph)
    first, second = slicer.take(structure), slicer.take(structure)
    untouched = {name: tensor.clone() for name, tensor in second.items()}
    shell = slicer.load(structure, first)
    with torch.no_grad():
        for tensor in state_of(shell).values():
            tensor.zero_()
    assert all(not tensor.any() for tensor in first.values())
    for name, tensor in untouched.items():
        assert torch.equal(second[name], tensor), name
    for name, tensor in state_of(small.network).items():
        assert torch.equal(tensor, dense[name]), name


def test_surgery_leaves_the_dense_network_as_it_was(traced: Traced) -> None:
    network = traced.case.network()
    network.train()
    next(network.children(), network).eval()
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in state_of(network).items()}
    objects = {name: id(tensor) for name, tensor in state_of(network).items()}
    structure = random_structure(traced.graph, 10)
    cut(network, traced.graph, structure)
    mask(network, traced.graph, structure)
    slicer = Slicer(network, traced.graph)
    shell = slicer.load(structure, slicer.take(structure)).train()
    call(shell, traced.case.example())
    assert {name: id(tensor) for name, tensor in state_of(network).items()} == objects
    for name, tensor in state_of(network).items():
        assert torch.equal(tensor, before[name]), name
        assert tensor.grad is None
    assert [module.training for module in network.modules()] == modes
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_shared_parameters_stay_shared() -> None:
    for name in ("two_names", "used_twice", "two_module_names", "tied_embedding"):
        traced = traced_case(name)
        small = cut(traced.network, traced.graph, random_structure(traced.graph, 11))

        def sharing(network: nn.Module) -> list[list[str]]:
            names: dict[int, list[str]] = {}
            for key, parameter in network.named_parameters(remove_duplicate=False):
                names.setdefault(id(parameter), []).append(key)
            return list(names.values())

        assert sharing(small) == sharing(traced.network)


def test_the_oracle_notices_a_wrong_unit() -> None:
    traced = traced_case("residual_identity")
    dense = doubled(traced.network)
    kept = random_structure(traced.graph, 12).kept.copy()
    structure = repaired(traced.graph, kept)
    group = traced.graph.groups[0]
    other = kept.copy()
    other[group.slice] = ~other[group.slice]
    wrong = cut(dense, traced.graph, repaired(traced.graph, other))
    with pytest.raises(AssertionError):
        check_removed_equals_zeroed(traced.case, dense, wrong, traced.graph, structure)
