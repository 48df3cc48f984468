"""A network, what a trace finds in it, and that all of it is exact."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from torch import nn

from optprune.surgery import Structure, cut, trace
from optprune.testing import removed_versus_zeroed

from .conftest import Traced
from .networks import Case
from .networks.case import Draw, image
from .oracle import (
    check_attributes,
    check_removed_equals_zeroed,
    random_structure,
    size_of,
    split_name,
    units_of,
)

IMAGE = image(3, 8, 8)


WORDS = image(6, 5)


class Found:
    """A network, its graph, and whether dimensions are prunable."""

    def __init__(self, build: Callable[[], nn.Module], inputs: Draw, *, tried: bool = False):
        case = Case("trap", build, inputs)
        network = case.network()
        self.graph = trace(network, case.example())
        self.traced = Traced(case, network, self.graph)
        self.widths = {group.name: group.width for group in self.graph.groups}
        # the labels know it all: nothing had to be found out by trial
        assert tried or not [g for g in self.graph.frozen if g.operation == "verify"]
        self._check_exact()

    def _check_exact(self) -> None:
        case, network, graph = self.traced.case, self.traced.network, self.graph
        for seed in (11, 12) if graph.n_groups else ():
            assert removed_versus_zeroed(network, case.example(3, 5), graph, seed) < 1e-8
        for seed, how in enumerate(("half", "few", "widths")):
            structure = random_structure(graph, seed, how)
            dense = copy.deepcopy(network).double()
            small = cut(dense, graph, structure)
            check_attributes(small)
            if not graph.statistics:
                check_removed_equals_zeroed(case, dense, small, graph, structure)
            parameters = sum(parameter.numel() for parameter in small.parameters())
            assert graph.costs.parameters(structure.widths)[0] == parameters

    def units(self, dimension: str) -> np.ndarray:
        size = size_of(self.traced.network, dimension)
        return units_of(self.graph, dimension, size)

    def goes(self, *dimensions: str) -> bool:
        """Whether all of these can be narrowed, each of their indices."""
        return all((self.units(dimension) >= 0).all() for dimension in dimensions)

    def stays(self, *dimensions: str) -> bool:
        """Whether none of these has an index that can go."""
        return all((self.units(dimension) < 0).all() for dimension in dimensions)

    def why(self, dimension: str) -> str:
        """What is said of a dimension that stays: reason, operation, line."""
        tensor, dim = split_name(dimension)
        return " | ".join(
            f"{group.reason}, {group.operation}, {group.line}"
            for group in self.graph.frozen
            if any((m.tensor, m.dim) == (tensor, dim) for m in group.members)
        )

    def together(self, first: str, *others: str) -> bool:
        """Whether dimensions leave index by index."""
        return all(np.array_equal(self.units(first), self.units(other)) for other in others)

    def half(self) -> tuple[nn.Module, Structure]:
        structure = random_structure(self.graph, 5, "half")
        return cut(self.traced.network, self.graph, structure), structure
