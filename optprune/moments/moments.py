"""Streaming first and second moments of rows, and their cross moments with targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from optprune.errors import ArgumentError

__all__ = ["Moments"]

_BLOCK = (
    4096  # rows of one product; within it, single precision loses no more than its own rounding
)


@dataclass
class Moments:
    r"""Count, means, and centered second moments of rows and targets.

    Parameters
    ----------
    count : int
        Rows seen.
    mean : Tensor of float64
        Mean of the rows, shape ``(groups, columns)``.
    second : Tensor of float64
        :math:`\sum_n (x_n - \bar x)(x_n - \bar x)^T`, shape ``(groups, columns, columns)``.
    target_mean : Tensor of float64
        Mean of the targets, shape ``(groups, outputs)``.
    cross : Tensor of float64
        :math:`\sum_n (x_n - \bar x)(t_n - \bar t)^T`, shape ``(groups, columns, outputs)``.
    target_second : Tensor of float64
        :math:`\sum_n (t_n - \bar t)^2`, shape ``(groups, outputs)``.

    Notes
    -----
    Blocks are merged by the updates of Chan, Golub and LeVeque, so that rows far from zero lose no
    digits and the order of the batches does not matter. Products of a block are taken in the rows'
    own type around the block's own mean, and added up in float64.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub and R. J. LeVeque, Updating formulae and a pairwise algorithm
       for computing sample variances, Stanford STAN-CS-79-773, 1979.
    """

    count: int
    mean: torch.Tensor
    second: torch.Tensor
    target_mean: torch.Tensor
    cross: torch.Tensor
    target_second: torch.Tensor

    @classmethod
    def empty(
        cls, groups: int, columns: int, outputs: int, device: torch.device | str = "cpu"
    ) -> Moments:
        """Return the moments of no rows."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(
            0,
            zeros(groups, columns),
            zeros(groups, columns, columns),
            zeros(groups, outputs),
            zeros(groups, columns, outputs),
            zeros(groups, outputs),
        )

    @classmethod
    def of(cls, rows: torch.Tensor, targets: torch.Tensor) -> Moments:
        """Return the moments of some rows; see `add`."""
        made = cls.empty(rows.shape[1], rows.shape[2], targets.shape[2], rows.device)
        made.add(rows, targets)
        return made

    def add(self, rows: torch.Tensor, targets: torch.Tensor) -> None:
        """Add rows.

        Parameters
        ----------
        rows : Tensor
            Shape ``(n, groups, columns)``, float32 or float64.
        targets : Tensor
            Shape ``(n, groups, outputs)``.

        Raises
        ------
        ArgumentError
            If the shapes do not fit these moments, or each other.
        """
        if (
            rows.shape[1:] != self.mean.shape
            or targets.shape[1:] != self.target_mean.shape
            or len(rows) != len(targets)
        ):
            raise ArgumentError(
                f"rows and targets must have the shapes (n, {', '.join(map(str, self.mean.shape))})"
                f" and (n, {', '.join(map(str, self.target_mean.shape))}) of these moments, got "
                f"{tuple(rows.shape)} and {tuple(targets.shape)}."
            )
        for some, same in zip(torch.split(rows, _BLOCK), torch.split(targets, _BLOCK), strict=True):
            if len(some):
                self.merge(_block(some, same))

    def merge(self, other: Moments) -> None:
        """Add the rows that other moments have seen.

        Parameters
        ----------
        other : Moments
            Of as many groups, columns and outputs.
        """
        total = self.count + other.count
        if total == 0:
            return
        weight = self.count * other.count / total
        share = other.count / total
        apart = other.mean - self.mean
        targets_apart = other.target_mean - self.target_mean
        self.second += other.second
        self.second.baddbmm_(apart[:, :, None], apart[:, None, :], alpha=weight)
        self.cross += other.cross
        self.cross.baddbmm_(apart[:, :, None], targets_apart[:, None, :], alpha=weight)
        self.target_second += other.target_second + weight * targets_apart.square()
        self.mean += share * apart
        self.target_mean += share * targets_apart
        self.count = total

    @property
    def bytes(self) -> int:
        """Memory that the moments take, in bytes."""
        held = (self.mean, self.second, self.target_mean, self.cross, self.target_second)
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def _block(rows: torch.Tensor, targets: torch.Tensor) -> Moments:
    """Return the moments of one block of rows."""
    mean = rows.mean(0, dtype=torch.float64)
    target_mean = targets.mean(0, dtype=torch.float64)
    # around the mean as the rows' own type has it; what it lacks is put right below
    near, target_near = mean.to(rows.dtype), target_mean.to(targets.dtype)
    # products of many small groups are twice as fast when each group lies together
    centered = (rows - near).transpose(0, 1).contiguous()
    target_centered = (targets - target_near).transpose(0, 1).contiguous()
    count = len(rows)
    lack, target_lack = mean - near, target_mean - target_near
    second = (centered.mT @ centered).double()
    second.baddbmm_(lack[:, :, None], lack[:, None, :], alpha=-count)
    cross = (centered.mT @ target_centered).double()
    cross.baddbmm_(lack[:, :, None], target_lack[:, None, :], alpha=-count)
    target_second = target_centered.double().square().sum(1) - count * target_lack.square()
    return Moments(count, mean, second, target_mean, cross, target_second.clamp_min_(0))
