"""Symmetric matrices as rows of one matrix, so that one product compares all with all."""

from __future__ import annotations

from collections.abc import Callable

import torch

from optprune.dependence.gram import kernel_of_distances

__all__ = ["GramStack"]


class GramStack:
    r"""Symmetric matrices of one size, each held as its upper triangle.

    Parameters
    ----------
    count : int
        Matrices; all are zero at first.
    samples : int
        Their size.
    device : torch.device
        Where they are held, in float64.

    Notes
    -----
    What lies off the diagonal is multiplied by :math:`\sqrt 2`: the inner product of two rows is
    that of the matrices, with half the memory (:math:`4 n (n + 1)` bytes a matrix) and half the
    time.
    """

    def __init__(self, count: int, samples: int, device: torch.device | str = "cpu") -> None:
        self.samples = samples
        down, right = torch.triu_indices(samples, samples, device=device)
        self._pairs = down, right
        self._places = down * samples + right
        self._diagonal = torch.nonzero(down == right).squeeze(1)
        self._weights = torch.full((len(down),), 2**0.5, dtype=torch.float64, device=device)
        self._weights[self._diagonal] = 1
        self._back = down.new_empty((samples, samples))
        self._back[down, right] = self._back[right, down] = torch.arange(len(down), device=device)
        self.rows = torch.zeros((count, len(down)), dtype=torch.float64, device=device)

    def __len__(self) -> int:
        """Return the number of matrices."""
        return len(self.rows)

    def add(self, index: int, matrix: torch.Tensor) -> None:
        """Add a symmetric matrix of shape ``(samples, samples)`` to the one at `index`."""
        self.rows[index].addcmul_(matrix.take(self._places), self._weights)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return a copy of a matrix, shape ``(samples, samples)``."""
        return self._get(self.rows[index])

    def apply(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace every matrix by a function of it, which must be symmetric too.

        The function may change its argument, which is a copy.
        """
        matrix = self.rows.new_empty((self.samples, self.samples))
        for row in self.rows:
            self._put(row, function(self._get(row, out=matrix)))

    def to_gaussian(self) -> None:
        """Replace all matrices of inner products by Gaussian kernels; see `gram.to_gaussian`."""
        down, right = self._pairs
        squared, other = torch.empty_like(self._weights), torch.empty_like(self._weights)
        for row in self.rows:
            size = row[self._diagonal]
            torch.take(size, down, out=squared)
            squared.add_(torch.take(size, right, out=other)).sub_(row, alpha=2**0.5)
            squared[self._diagonal] = 0
            torch.mul(kernel_of_distances(squared, float(size.mean())), self._weights, out=row)

    def products(self) -> torch.Tensor:
        """Return the inner products of all matrices, shape ``(count, count)``, in one product."""
        return self.rows @ self.rows.T

    def _get(self, row: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return a row as a symmetric matrix."""
        matrix = torch.take(row, self._back, out=out).div_(2**0.5)
        matrix.diagonal().copy_(row[self._diagonal])
        return matrix

    def _put(self, row: torch.Tensor, matrix: torch.Tensor) -> None:
        """Write a symmetric matrix into a row."""
        torch.take(matrix, self._places, out=row).mul_(self._weights)
