"""Symmetric matrices as rows of one matrix, so that one product compares all with all."""

from __future__ import annotations

from collections.abc import Callable

import torch

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
        self._places = down * samples + right
        self._weights = torch.full((len(down),), 2**0.5, dtype=torch.float64, device=device)
        self._weights[down == right] = 1
        self._back = down.new_empty((samples, samples))
        self._back[down, right] = self._back[right, down] = torch.arange(len(down), device=device)
        self.rows = torch.zeros((count, len(down)), dtype=torch.float64, device=device)

    def __len__(self) -> int:
        """Return the number of matrices."""
        return len(self.rows)

    def add(self, index: int, matrix: torch.Tensor) -> None:
        """Add a symmetric matrix of shape ``(samples, samples)`` to the one at `index`."""
        self.rows[index] += self._row(matrix)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return a copy of a matrix, shape ``(samples, samples)``."""
        return (self.rows[index] / self._weights).take(self._back)

    def apply(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace every matrix by a function of it, which must be symmetric too."""
        for index in range(len(self)):
            self.rows[index] = self._row(function(self[index]))

    def products(self) -> torch.Tensor:
        """Return the inner products of all matrices, shape ``(count, count)``, in one product."""
        return self.rows @ self.rows.T

    def _row(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return a symmetric matrix as a row."""
        return matrix.take(self._places) * self._weights
