from __future__ import annotations

import pytest
import torch

from optprune.errors import ArgumentTypeError
from optprune.formulation import Proposal, Start
from tests.formulation.cases import make_network, narrowed


def test_without_a_start_the_digest_is_that_of_the_structure() -> None:
    assert Proposal(narrowed(3, 4)).digest == narrowed(3, 4).digest


def test_the_digest_follows_structure_and_start() -> None:
    state = make_network().state_dict()
    other = {name: tensor + 1 for name, tensor in state.items()}
    digests = {
        Proposal(structure, start).digest
        for structure in (narrowed(3, 4), narrowed(3, 5))
        for start in (None, Start.of(state), Start.of(other))
    }
    assert len(digests) == 6


def test_equal_weights_make_equal_starts() -> None:
    state = make_network().state_dict()
    copied = {name: state[name].clone() for name in reversed(state)}
    assert Start.of(state) == Start.of(copied)
    assert hash(Start.of(state)) == hash(Start.of(copied))
    assert Proposal(narrowed(3, 4), Start.of(state)) == Proposal(narrowed(3, 4), Start.of(copied))


def test_what_is_no_structure_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="structure must be a Structure, got list"):
        Proposal([3, 4])  # type: ignore[arg-type]


def test_weights_without_a_digest_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"Start\.of\(state_dict\)"):
        Proposal(narrowed(3, 4), {"a": torch.zeros(1)})  # type: ignore[arg-type]
