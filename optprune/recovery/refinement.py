"""Refinement: a layer is fitted to what the activation behind it lets through.

A ReLU makes zero of whatever is negative, and so a layer that should answer -1 may as well answer
-5. For each row and output there is a set of answers that the activation turns into what it makes
of the dense answer z: z alone between the bounds, everything beyond a bound where z lies beyond it.
The fit is to come as close to these sets as it can.

That is done by majorization. The nearest point of each set to the present answer is a target; a
linear fit to these targets comes closer to them, and the distance to the sets is smaller still, as
another of their points may now be the nearest. No step increases the distance, with a ridge or
without. All steps share the rows and with them the factored system: each costs two products of n
rows with d columns and o outputs.

The asymmetric nonlinear reconstruction is that of X. Zhang, J. Zou, K. He and J. Sun, Accelerating
very deep convolutional networks for classification and detection, TPAMI 2016, arXiv:1505.06798; the
alternation here is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch

from optprune.errors import RecoveryError
from optprune.moments import Moments
from optprune.recovery.solving import Solution, System

__all__ = ["Refinement"]

MEMORY = 2**30
"""Bytes that the rows of a layer may take, with what is kept of its answers."""

_BLOCK = 4096  # rows of one product, as for the moments


@dataclass(frozen=True)
class _Block:
    """Some rows, and how far the answers to them are above the dense network's.

    Parameters
    ----------
    rows : Tensor
        Shape ``(n, groups, columns)``; ``(groups, n, columns)`` and centered once they are refined.
    excess : Tensor
        The present answers less those wanted, shape ``(groups, n, outputs)``; changed in place.
    lower, upper : Tensor
        Between these the activation turns the excess into nothing; of the same shape.
    """

    rows: torch.Tensor
    excess: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor


@dataclass
class Refinement:
    """The rows of one layer, which the activation behind it makes another problem of.

    Parameters
    ----------
    clip : tuple of float
        Bounds of the activation.
    slope : Tensor or None
        Slope of the normalization between layer and activation, shape ``(outputs,)``; 0 where the
        normalization passes on nothing.
    """

    clip: tuple[float, float]
    slope: torch.Tensor | None
    _blocks: list[_Block] = field(default_factory=list)

    @staticmethod
    def fits(samples: int, rows: torch.Tensor, outputs: int, seen: int) -> bool:
        """Tell whether the rows of all samples can be kept, going by those of `seen` samples."""
        each = rows.numel() + 3 * rows.shape[0] * outputs
        return each * rows.element_size() * samples <= MEMORY * seen

    def add(self, rows: torch.Tensor, lacking: torch.Tensor, dense: torch.Tensor) -> None:
        """Keep rows.

        Parameters
        ----------
        rows : Tensor
            Shape ``(n, groups, columns)``; not copied.
        lacking : Tensor
            What the layer's present answer lacks, shape ``(n, groups, outputs a group)``.
        dense : Tensor
            What reaches the activation in the dense network, of the same shape.
        """
        low, high = self.clip
        below, above = dense <= low, dense >= high
        one = torch.where(below, -math.inf, torch.where(above, high - dense, 0.0))
        other = torch.where(above, math.inf, torch.where(below, low - dense, 0.0))
        if self.slope is not None:
            slope = self.slope.to(dense.dtype).view(dense.shape[1:])
            steep = slope != 0
            safe = torch.where(steep, slope, 1.0)
            one, other = one / safe, other / safe
            one, other = torch.minimum(one, other), torch.maximum(one, other)
            one = torch.where(steep, one, -math.inf)
            other = torch.where(steep, other, math.inf)
        parts = (rows, -lacking, one, other)
        for some, *answers in zip(*(torch.split(part, _BLOCK) for part in parts), strict=True):
            excess, lower, upper = (part.transpose(0, 1).contiguous() for part in answers)
            self._blocks.append(_Block(some, excess, lower, upper))

    def refine(
        self, moments: Moments, system: System, linear: Solution, times: int
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Go on from the linear fit.

        Parameters
        ----------
        moments : Moments
            Of the rows that were added.
        system : System
            Their normal equations.
        linear : Solution
            The fit to what lacked when they were added.
        times : int
            Refinements, at most: it ends with the first that lowers the distance of no output.

        Returns
        -------
        weight : Tensor of float64
            What is to be added to the weights, shape ``(groups, outputs, columns)``.
        shift : Tensor of float64
            The intercept, shape ``(groups, outputs)``.
        made : int
            Refinements made.
        """
        near = moments.mean.to(self._blocks[0].rows.dtype)
        # one at a time: the rows that were added go when the last of their blocks is replaced
        for position, block in enumerate(self._blocks):
            centered = (block.rows - near).transpose(0, 1).contiguous()
            self._blocks[position] = replace(block, rows=centered)
        weight, shift = linear.weight, linear.shift
        step = (weight, shift)
        for made in range(times):
            lacking = self._moved(moments, *step)
            before = lacking.target_second / lacking.count + lacking.target_mean.square()
            try:
                found = system.solve(lacking)
            except RecoveryError:
                return weight, shift, made
            lower = found.errors < before
            if not bool(lower.any()):
                return weight, shift, made
            step = (
                torch.where(lower[:, :, None], found.weight, 0.0),
                torch.where(lower, found.shift, 0.0),
            )
            weight, shift = weight + step[0], shift + step[1]
        return weight, shift, times

    def _moved(self, moments: Moments, weight: torch.Tensor, shift: torch.Tensor) -> Moments:
        """Change the layer, and return the moments with what its answers lack then as targets."""
        dtype = self._blocks[0].rows.dtype
        near = moments.mean.to(dtype)
        constant = shift + (weight @ near.double()[:, :, None])[:, :, 0]
        change, constant = weight.to(dtype).mT, constant.to(dtype)[:, None]
        cross = torch.zeros_like(moments.cross)
        total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
        for block in self._blocks:
            centered = block.rows
            block.excess.baddbmm_(centered, change).add_(constant)
            lacking = block.excess.clamp(block.lower, block.upper).sub_(block.excess)
            cross += centered.mT @ lacking
            total += lacking.sum(1, dtype=torch.float64)
            squares += lacking.square().sum(1, dtype=torch.float64)
        mean = total / moments.count
        # around the mean of the rows as it is, not as their own type has it
        cross -= (moments.count * (moments.mean - near))[:, :, None] * mean[:, None]
        return Moments(
            count=moments.count,
            mean=moments.mean,
            second=moments.second,
            target_mean=mean,
            cross=cross,
            target_second=(squares - moments.count * mean.square()).clamp_min(0),
        )
