"""Proof by trial: what is removed must compute what is zeroed.

In float64, with healthy signals and non-trivial batch-norm statistics, channels of all groups are
removed at once and the result is compared with the network in which they are zero. On disagreement
the groups are bisected; the guilty ones are frozen with what went wrong. The number of trials is
bounded by the number of groups, never by a clock, so that a graph does not depend on the load of
the machine.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten

from optprune.surgery.caches import forget
from optprune.surgery.calling import Inputs, at_least_two, call, map_inputs, preserving_buffers
from optprune.surgery.graph import ChannelGraph
from optprune.surgery.labels import Reason
from optprune.surgery.reference import KeptStatistics, Precise
from optprune.surgery.slicing import Slicer, zero
from optprune.surgery.state import dense_state, empty_copy, install, slots
from optprune.surgery.structure import Structure

__all__ = ["TOLERANCE", "WHOLE_PASS", "Verifier"]

WHOLE_PASS = "the network's forward pass"
"""Where a disagreement is, when no line of code is known."""

TOLERANCE = 1e-8
"""Largest relative difference between removed and zeroed, in float64."""

_VARIANCES = ("aten.var", "aten.std")

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class _NotVerifiedError(Exception):
    """The bound on the number of trials is reached."""


@dataclass
class _Trial:
    """Outcome of one comparison: nothing, or why it failed."""

    reason: Reason | None


class Verifier:
    """Compares removed with zeroed for subsets of the groups of a graph.

    Parameters
    ----------
    network : nn.Module
        The network; it is copied.
    example : Tensor, tuple or dict
        Example inputs.
    graph : ChannelGraph
        The graph to verify.
    seed : int
        Seed of weights, statistics and structures.
    """

    def __init__(
        self,
        network: nn.Module,
        example: Inputs,
        graph: ChannelGraph,
        seed: int,
    ) -> None:
        self.graph = graph
        self._generator = np.random.default_rng(seed)
        noise = torch.Generator().manual_seed(seed)
        self._example = map_inputs(lambda tensor: _telling(_to_float64(tensor), noise), example)
        self._network, self._source = _prepared(network, self._example, graph.caches, seed)
        self._state = dense_state(self._network)
        self._modules = dict(self._network.named_modules())
        self._whole = True
        self._slicer = Slicer(self._network, graph)
        self._small: nn.Module | None = None
        units = [s.units for s in graph.statistics if s.operation.startswith(_VARIANCES)]
        varied = set[int]().union(*(array[array >= 0].tolist() for array in units))
        self._varied = {
            index
            for index, group in enumerate(graph.groups)
            if not varied.isdisjoint(range(group.start, group.start + group.width))
        }
        self._batch = at_least_two(self._example)
        self._trains: bool | None = None
        size = sum(tensor.numel() for tensor in self._network.parameters())
        self._draws = 4 if size < 10**6 else 2 if size < 10**7 else 1
        self.trials = 0
        self.limit = 8 + 2 * graph.n_groups

    def guilty(self) -> list[tuple[int, Reason]]:
        """Return the groups that must be frozen, and why.

        Returns
        -------
        list of (int, Reason)
            Index of the group and what went wrong.
        """
        everything = list(range(self.graph.n_groups))
        found: list[tuple[int, Reason]] = []
        try:
            kept = self._bisect(everything, found)
        except _NotVerifiedError:
            judged = {index for index, _ in found}
            text = f"it could not be verified within {self.limit} trials"
            reason = Reason(text, "verify", WHOLE_PASS)
            return [*found, *((index, reason) for index in everything if index not in judged)]
        assert_all = {index for index, _ in found} | set(kept)
        if assert_all != set(everything):
            raise RuntimeError("verification lost sight of a group; please report this.")
        return found

    def _bisect(self, groups: list[int], found: list[tuple[int, Reason]]) -> list[int]:
        """Return the largest part of `groups` that can be removed together, adding to `found`."""
        if not groups:
            return []
        trial = self.trial(groups)
        if trial.reason is None:
            return groups
        if len(groups) == 1:
            found.append((groups[0], trial.reason))
            return []
        middle = len(groups) // 2
        left = self._bisect(groups[:middle], found)
        right = self._bisect(groups[middle:], found)
        if not left or not right or self.trial(left + right).reason is None:
            return left + right
        together = left
        for group in right:
            trial = self.trial([*together, group])
            if trial.reason is None:
                together = [*together, group]
            else:
                found.append((group, trial.reason))
        return together

    def trial(self, groups: Sequence[int]) -> _Trial:
        """Remove units of some groups and compare with zeroing them.

        With about half of the units, several times in a small network, where little may depend on
        what is removed; and with a single one left in each group, so that code that asks for a
        width (an even one, one above a threshold) is found out.
        """
        if self.trials >= self.limit:
            raise _NotVerifiedError
        self.trials += 1
        if self._trains is None:
            # before the first comparison: the network is whole
            self._trains = self._training_error(self._network) is None
        half = self.graph.full()
        for _ in range(self._draws):
            half = self.random_structure(groups)
            reason = self._disagreement(half)
            if reason is not None:
                return _Trial(reason)
        if self._trains and self._small is not None:
            failed = self._training_error(self._small)
            if failed is not None:
                text = "the network cannot run without them in training mode"
                return _Trial(_reason_of_error(failed, text))
        where = " when a single one is left in each group"
        return _Trial(self._disagreement(self._least(half, groups), nested=True, where=where))

    def _disagreement(
        self, structure: Structure, nested: bool = False, where: str = ""
    ) -> Reason | None:
        """Compare removed with zeroed, and say what is wrong."""
        try:
            difference = self.compare(structure, nested)
        except Exception as error:  # noqa: BLE001  (the network's own code may raise anything)
            return _reason_of_error(error, f"the network cannot run without them{where}")
        if difference < TOLERANCE:
            return None
        text = (
            f"removing its channels is not the same as zeroing them{where} "
            f"(relative difference {difference:.1g})"
        )
        return Reason(text, "verify", WHOLE_PASS)

    def compare(self, structure: Structure, nested: bool = False) -> float:
        """Return how far removed is from zeroed.

        There is one copy of the network, which is zeroed in place and made whole again: of a large
        one, another copy would cost more than all passes together.

        Parameters
        ----------
        structure : Structure
            What is kept.
        nested : bool
            Whether it keeps nothing that the structure of the last comparison removes. The copy
            need not be made whole then: what is kept has its values.
        """
        with torch.no_grad():
            if not (nested or self._whole):
                for name, tensor in self._state.items():
                    tensor.copy_(self._source[name])
                self._whole = True
            self._small = self._slicer.load(structure, self._slicer.take(structure))
            with Precise():
                actual = call(self._small, self._example)
            self._whole = False
            zero(self._state, self.graph, structure)
            forget(self._modules, self.graph.caches)
            with KeptStatistics(self.graph, structure), preserving_buffers(self._network):
                expected = call(self._network, self._example)
        return _difference(expected, actual)

    def _least(self, half: Structure, groups: Sequence[int]) -> Structure:
        """Keep a single unit, of those that a structure keeps, in each of some groups.

        Two where a variance is taken over them: that of one value may be undefined.
        """
        kept = half.kept.copy()
        for index in groups:
            group = self.graph.groups[index]
            left = np.flatnonzero(kept[group.slice])
            number = min(len(left), 2 if index in self._varied else 1)
            chosen = self._generator.choice(left, number, replace=False)
            kept[group.slice] = False
            kept[group.start + chosen] = True
        return self.graph.structure(kept)

    def random_structure(self, groups: Sequence[int]) -> Structure:
        """Draw a structure that keeps about half of some groups and all of the others."""
        kept = np.ones(self.graph.n_units, dtype=np.bool_)
        for index in groups:
            group = self.graph.groups[index]
            n_removed = max(1, group.width // 2)
            chosen = self._generator.choice(group.width, n_removed, replace=False)
            kept[group.start + chosen] = False
        return self.graph.structure(kept)

    def _training_error(self, network: nn.Module) -> Exception | None:
        """Run a forward pass in training mode and return what it raised."""
        try:
            with (
                torch.no_grad(),
                torch.random.fork_rng(devices=[]),
                Precise(),
                preserving_buffers(network),
            ):
                call(network.train(), self._batch)
        except Exception as error:  # noqa: BLE001  (the network's own code may raise anything)
            return error
        finally:
            network.eval()
        return None


def _to_float64(tensor: torch.Tensor) -> torch.Tensor:
    """Move to the CPU, floating-point tensors as float64."""
    tensor = tensor.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def _telling(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Replace an input of one value only, which would hide most differences, by noise."""
    if not tensor.is_floating_point() or tensor.numel() < 2 or not _constant(tensor):
        return tensor
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


def _constant(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor has one value only; most are found out by their first row."""
    first = tensor.flatten()[0] if tensor.dim() < 2 else tensor[(0,) * tensor.dim()]
    row = tensor if tensor.dim() < 2 else tensor[0]
    return bool((row == first).all()) and bool((tensor == first).all())


def _prepared(
    network: nn.Module, example: Inputs, caches: Sequence[str], seed: int
) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Copy a network in float64 on the CPU, with healthy signals and telling statistics.

    Vectors (scales, shifts, statistics) are drawn anew, so that none is trivial; matrices and
    kernels stay, unless they are constant. Returned with it is where its values come from: the
    network itself, or what was drawn.
    """
    prepared = empty_copy(network)
    generator = torch.Generator().manual_seed(seed)
    source, state = {}, {}
    parameters = dict(network.named_parameters())
    for name, tensor in dense_state(network).items():
        value = source[name] = tensor.detach()
        if name in parameters and value.is_floating_point():
            if value.numel() == max((0, *value.shape)):
                noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
                positive = name.rpartition(".")[2] != "bias"
                source[name] = noise + 0.5 if positive else 0.4 * noise - 0.2
            elif value.numel() and _constant(value):
                fan = max(value.numel() // max(value.shape[:1], default=1), 1)
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                source[name] = noise * fan**-0.5
        state[name] = _float64_copy(source[name])
    modules = dict(prepared.named_modules())
    install(modules, slots(network), state)
    forget(modules, caches)
    prepared.eval()
    _calibrate(prepared, example, generator)
    buffers = {name: tensor.clone() for name, tensor in state.items() if name not in parameters}
    return prepared, source | buffers


def _float64_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the CPU, a floating-point one as float64."""
    tensor = tensor.cpu()
    if tensor.dtype in (torch.float32, torch.float64) and tensor.is_contiguous():
        # numpy asks for huge pages: large copies cost fewer page faults
        return torch.from_numpy(np.array(tensor.numpy(), dtype=np.float64))
    return tensor.to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)


def _calibrate(network: nn.Module, example: Inputs, generator: torch.Generator) -> None:
    """Set batch-norm statistics from the example and shake them."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    measured: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        # other buffers (tables that follow the input's size) are not to change
        with torch.no_grad(), Precise(), preserving_buffers(network):
            call(network, at_least_two(example))
            measured = [_running(norm) for norm in norms]
    except Exception:  # noqa: BLE001  (a batch of two may be too small for some networks)
        measured = []
    known = measured or [_running(norm) for norm in norms]
    for norm, momentum, (mean, variance) in zip(norms, momenta, known, strict=True):
        norm.eval()
        norm.momentum = momentum
        shake = torch.rand(mean.shape, generator=generator, dtype=torch.float64)
        # a variance of nearly nothing would blow the signal up
        variance = variance.clamp(min=1e-2) * (0.8 + 0.4 * shake)
        norm.get_buffer("running_var").copy_(variance)
        norm.get_buffer("running_mean").copy_(mean + variance.sqrt() * (0.4 * shake - 0.2))


def _running(norm: _BatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
    """Return copies of the running statistics."""
    return norm.get_buffer("running_mean").clone(), norm.get_buffer("running_var").clone()


def _difference(expected: Any, actual: Any) -> float:
    """Return the largest relative difference of two outputs; infinite when their shapes differ."""
    first = [leaf for leaf in tree_flatten(expected)[0] if isinstance(leaf, torch.Tensor)]
    second = [leaf for leaf in tree_flatten(actual)[0] if isinstance(leaf, torch.Tensor)]
    if [leaf.shape for leaf in first] != [leaf.shape for leaf in second]:
        return float("inf")
    worst = 0.0
    for one, two in zip(first, second, strict=True):
        if not one.numel():
            continue
        scale = max(float(one.abs().max()), 1e-30)
        difference = float((one - two).abs().max()) / scale
        worst = difference if not difference <= worst else worst
    return worst


def _reason_of_error(error: Exception, text: str) -> Reason:
    """Name the line of the network's code at which an error came up."""
    line = WHOLE_PASS
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith((_TORCH, _HERE, "<frozen")):
            line = f"{os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}"
    message = str(error).strip().splitlines()
    short = message[0] if message else type(error).__name__
    return Reason(f"{text} ({type(error).__name__}: {short[:160]})", "verify", line)
