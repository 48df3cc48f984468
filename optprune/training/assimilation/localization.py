"""Which observations move which parameters: localization by blocks of parameters.

A sampled covariance of n members is wrong by about 1 / sqrt(n) everywhere, and all blocks together
move in n - 1 directions only. A block that listens to fewer observations is spared what is noise
for it, and has its own n - 1 directions. An observation of weight w counts for a block as if the
variance of its error were divided by w (local analysis, Hunt, Kostelich and Szunyogh, Physica D
230, 2007, doi:10.1016/j.physd.2006.11.008): 1 is the plain analysis, 0 no influence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError, nearest
from optprune.training.assimilation.analysis import (
    Form,
    Solver,
    apply,
    check_positive,
    perturbations,
    transform,
)
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.observation import Observed

__all__ = ["Block", "Correlation", "Localization", "Mask", "OutputBlocks", "localized_analysis"]


@dataclass(frozen=True, eq=False)
class Block:
    """Parameters that share the weights of observations.

    Parameters
    ----------
    index : Tensor of int64, shape (n_block,)
        Places in the vector of parameters.
    weights : Tensor of float, shape (n_observations,), optional
        In [0, 1]; None for 1 everywhere.
    """

    index: torch.Tensor
    weights: torch.Tensor | None = None

    def heard(self) -> tuple[torch.Tensor | slice, torch.Tensor | float]:
        """Return which observations count, and factors on them in whitened units.

        Returns
        -------
        Tensor of bool, shape (n_observations,), or slice
            Those with a weight above 0.
        Tensor of float, shape (n_heard,), or float
            The roots of their weights: the variance of an error is divided by its weight.
        """
        if self.weights is None:
            return slice(None), 1.0
        places = self.weights > 0
        return places, self.weights[places].sqrt()


@runtime_checkable
class Localization(Protocol):
    """Divides the parameters into blocks, each with its weights of observations."""

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        """Return blocks of which each parameter is in at most one; those in none stay.

        Parameters
        ----------
        layout : Layout
            Where the parameters are.
        members : Tensor of float, shape (n_members, n_parameters)
            The ensemble before the analysis.
        observed : Observed
            The observations.

        Returns
        -------
        sequence of Block
            On the device of `members`.
        """
        ...


@dataclass(frozen=True)
class OutputBlocks:
    """The weights of output k in the last layer see output k alone: exact, as only it feels them.

    All other parameters see everything.

    Parameters
    ----------
    layer : str, optional
        Name of the module that gives the outputs; by default the network's last one with
        parameters, in the order of its modules, if that is a linear layer or a convolution.

    Raises
    ------
    TrainingError
        In a fit, if that layer's weight does not vary, or has no row for each output.

    Notes
    -----
    Exact where nothing mixes the outputs after that layer: neither the network, by a softmax for
    example, nor the observation, as `CrossEntropy` does and `BinaryCrossEntropy` does not; an
    approximation elsewhere.
    """

    layer: str | None = None

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        """Make a block for each output, and one for the rest; see `Localization.blocks`."""
        outputs = observed.n_outputs
        fitting = [
            module
            for module, parts in layout.layers().items()
            if any(len(shape) > 1 and shape[0] == outputs for shape, _ in parts.values())
        ]
        wanted = self.layer if self.layer is not None else layout.last_layer
        if wanted is None or wanted not in fitting:
            tried = (
                f"no layer {self.layer!r} among the parameters that vary"
                if self.layer is not None
                else "the network's last module with parameters is no linear layer or convolution "
                "that varies and"
            )
            raise TrainingError(
                f"OutputBlocks: {tried} has a weight with a row for each of the {outputs} outputs. "
                "Name the layer that gives the outputs by layer=…, or vary its parameters too."
            )
        rows = _rows(layout, wanted, outputs)
        inside = torch.cat(rows)
        rest = torch.ones(layout.size, dtype=torch.bool)
        rest[inside] = False
        count = observed.deviations.shape[1]
        places = torch.arange(count, device=members.device) % outputs
        blocks = [
            Block(index.to(members.device), (places == k).to(members.dtype))
            for k, index in enumerate(rows)
        ]
        if bool(rest.any()):
            blocks.append(Block(rest.nonzero()[:, 0].to(members.device)))
        return blocks


@dataclass(frozen=True)
class Correlation:
    r"""Observations count for a block where the sampled correlation is more than chance.

    Parameters
    ----------
    by : {"neuron", "layer", "parameter"}
        What a block is: the weights into one output of a layer and its bias, a layer, or each
        parameter alone.
    threshold : float, optional
        In (0, 1); by default :math:`3 / \sqrt{n}` for n members, three times the standard deviation
        of the sampled correlation of two independent numbers.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If an argument cannot be used.

    Notes
    -----
    An observation counts for a block when its correlation with any of the block's parameters is
    beyond the threshold. Costs 2 n p d operations for p parameters and d observations, and memory
    for the correlations of one block at a time. Up to nine members, nothing survives the default.
    """

    by: Literal["neuron", "layer", "parameter"] = "neuron"
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.by not in ("neuron", "layer", "parameter"):
            raise ArgumentError(
                f"Correlation: `by` must be 'neuron', 'layer' or 'parameter', not {self.by!r}."
            )
        if (
            self.threshold is not None
            and check_positive("Correlation", "threshold", self.threshold) >= 1
        ):
            raise ArgumentError(
                f"Correlation: `threshold` must be below 1, got {self.threshold!r}."
            )

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        """Make the blocks, and correlate each; see `Localization.blocks`."""
        limit = self.threshold if self.threshold is not None else 3 / len(members) ** 0.5
        seen = _standardized(observed.deviations)
        found = []
        for index in self._indices(layout):
            place = index.to(members.device)
            # From one member, not the mean: what does not vary is exactly zero then.
            moved = members[:, place] - members[0, place]
            varied = _standardized(moved - moved.mean(0))
            strongest = (varied.T @ seen).abs().amax(0)
            found.append(Block(place, (strongest > limit).to(members.dtype)))
        return found

    def _indices(self, layout: Layout) -> Iterator[torch.Tensor]:
        for module, parts in layout.layers().items():
            if self.by == "parameter":
                for _, place in parts.values():
                    yield from torch.arange(place.start, place.stop)[:, None]
            elif self.by == "layer":
                yield torch.cat([torch.arange(p.start, p.stop) for _, p in parts.values()])
            else:
                sizes = {shape[0] if shape else 1 for shape, _ in parts.values()}
                for size in sorted(sizes):
                    yield from _rows(layout, module, size)


@dataclass(frozen=True)
class Mask:
    """Weights of outputs that the user gives.

    Parameters
    ----------
    weights : mapping of str to array_like of float
        By names or patterns of parameters: shape (n_outputs,), for the whole parameter, or
        (rows, n_outputs), for each of its rows; in [0, 1]. A parameter that none matches sees
        everything; of several, the last counts.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If a weight is no number in [0, 1].
    TrainingError
        In a fit, if a shape does not fit or a pattern matches nothing.
    """

    weights: Mapping[str, object]

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping):
            raise ArgumentTypeError(
                f"Mask: `weights` must map names of parameters to weights, not {self.weights!r}."
            )
        held: dict[str, object] = {}
        for pattern in self.weights:
            if not isinstance(pattern, str):
                raise ArgumentTypeError(
                    f"Mask: `weights` must have names or patterns as keys, not {pattern!r}."
                )
            values = self._array(pattern)
            held[pattern] = _nested(values.tolist())
            if values.ndim not in (1, 2) or not ((values >= 0) & (values <= 1)).all():
                raise ArgumentError(
                    f"Mask: the weights of {pattern!r} must be numbers from 0 to 1 in one or two "
                    f"dimensions, got {self.weights[pattern]!r}."
                )
        # As tuples: arrays could be changed, and have no truth value when compared.
        object.__setattr__(self, "weights", held)

    def blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        """Make a block of all that has the same weights; see `Localization.blocks`."""
        for pattern in self.weights:
            if not any(fnmatchcase(name, pattern) for name in layout.names):
                raise TrainingError(
                    f"Mask: {pattern!r} matches no parameter that varies."
                    f"{nearest(pattern, layout.names)}"
                )
        alike: dict[tuple[float, ...] | None, list[torch.Tensor]] = {}
        for name, shape, place in layout.slices():
            index = torch.arange(place.start, place.stop, device=members.device)
            patterns = [p for p in self.weights if fnmatchcase(name, p)]
            if not patterns:
                alike.setdefault(None, []).append(index)
                continue
            values = self._array(patterns[-1])
            rows = 1 if values.ndim == 1 else (shape[0] if shape else 1)
            wanted = (rows, observed.n_outputs)
            if np.atleast_2d(values).shape != wanted:
                raise TrainingError(
                    f"Mask: the weights of {name!r} must have shape ({observed.n_outputs},) or "
                    f"({shape[0] if shape else 1}, {observed.n_outputs}), got {values.shape}."
                )
            for part, row in zip(index.reshape(rows, -1), np.atleast_2d(values), strict=True):
                alike.setdefault(tuple(row.tolist()), []).append(part)
        found = []
        for weights, parts in alike.items():
            given = None
            if weights is not None:
                row = torch.tensor(weights, dtype=members.dtype, device=members.device)
                given = row.repeat(observed.n_samples)
            found.append(Block(torch.cat(parts), given))
        return found

    def _array(self, pattern: str) -> np.ndarray:
        try:
            return np.asarray(self.weights[pattern], dtype=np.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentTypeError(
                f"Mask: the weights of {pattern!r} must be numbers, not {self.weights[pattern]!r}."
            ) from error


def localized_analysis(
    members: torch.Tensor,
    observed: Observed,
    blocks: Sequence[Block],
    *,
    inflation: float = 1.0,
    form: Form = "perturbed",
    solver: Solver = "cholesky",
    energy: float = 1.0,
    generator: torch.Generator | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Condition each block of parameters on the observations that count for it.

    Parameters
    ----------
    members : Tensor of float, shape (n_members, n_parameters)
        The ensemble; changed only where it is `out` too.
    observed : Observed
        The observations, in whitened units.
    blocks : sequence of Block
        Parameters in none of them stay as they are.
    inflation, form, solver, energy, generator, out
        See `optprune.training.assimilation.analysis`. All blocks see the same perturbations.

    Returns
    -------
    Tensor, shape (n_members, n_parameters)
        The conditioned ensemble.
    """
    scale = inflation**-0.5
    drawn = None
    if form == "perturbed":
        shape = observed.deviations.shape
        drawn = perturbations(*shape, like=observed.deviations, generator=generator)
    if out is None:
        out = members.clone()
    elif out is not members:
        out.copy_(members)
    for block in blocks:
        heard, root = block.heard()
        deviations = observed.deviations[:, heard] * (scale * root)
        if deviations.shape[1] == 0:
            continue
        innovations = observed.innovations[:, heard] * (scale * root)
        if drawn is not None:
            innovations += drawn[:, heard]
        matrix = transform(deviations, innovations, form=form, solver=solver, energy=energy)
        # All parameters at once need no copy; their order does not matter.
        if len(blocks) == 1 and len(block.index) == members.shape[1]:
            return apply(matrix, members, out=out)
        out[:, block.index] = apply(matrix, out[:, block.index])
    return out


def check_localization(owner: str, localization: object) -> None:
    """Raise unless something is None or a `Localization`.

    Raises
    ------
    ArgumentTypeError
        If it is neither.
    """
    wrong = isinstance(localization, type) or not isinstance(localization, Localization)
    if localization is not None and wrong:
        raise ArgumentTypeError(
            f"{owner}: `localization` must be OutputBlocks(), Correlation(), Mask(…), an object "
            f"with a method blocks, or None, not {localization!r}."
        )


def _nested(values: object) -> object:
    """Return nested lists as nested tuples."""
    return tuple(_nested(value) for value in values) if isinstance(values, list) else values


def _rows(layout: Layout, module: str, rows: int) -> list[torch.Tensor]:
    """Return the places of each row of a module's parameters that have so many rows."""
    parts = [
        torch.arange(place.start, place.stop).reshape(rows, -1)
        for shape, place in layout.layers()[module].values()
        if (shape[0] if shape else 1) == rows
    ]
    return [torch.cat([part[row] for part in parts]) for row in range(rows)]


def _standardized(deviations: torch.Tensor) -> torch.Tensor:
    """Return columns of length 1, zero where there is no deviation."""
    length = deviations.norm(dim=0)
    return deviations / torch.where(length > 0, length, torch.ones_like(length))
