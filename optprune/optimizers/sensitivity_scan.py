"""The sensitivity scan: each group alone, over its widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optprune.optimizers.binary_structural_search import GroupRatios
from optprune.optimizers.parameters import check_at_least

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Session

__all__ = ["SensitivityScan"]


@dataclass(frozen=True)
class SensitivityScan:
    """Narrow one group at a time, over evenly spaced keep-ratios, all others full.

    It shows which groups can lose most of their units at no cost, and which cannot lose any:
    ``result.sensitivity()`` gives the table, ``op.plots.sensitivity`` draws it.

    Parameters
    ----------
    levels : int, default 8
        Keep-ratios of each group: 1/levels, 2/levels, …, less 1 itself.
    name : str
        The name in results and comparisons.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If `levels` is not a whole number of at least 2.

    Notes
    -----
    The full structure comes first, then the groups in the network's order, one batch a ratio, the
    widest first: stopped anywhere, all groups are known down to about the same ratio. No seed has
    any influence.
    """

    levels: int = 8
    name: str = "SensitivityScan"

    def __post_init__(self) -> None:
        check_at_least("SensitivityScan", "levels", self.levels, 2)

    def search(self, problem: Problem, session: Session) -> None:
        """Propose the full structure, then each group alone at one ratio after another."""
        ratios = GroupRatios(problem)
        whole = np.ones(ratios.n_groups)
        session.evaluate([ratios.structure(whole)])
        seen = set()
        for level in range(self.levels - 1, 0, -1):
            batch = []
            for group in ratios.free:
                narrowed = whole.copy()
                narrowed[group] = level / self.levels
                structure = ratios.structure(narrowed)
                if structure.digest not in seen:
                    seen.add(structure.digest)
                    batch.append(structure)
            if batch:
                session.evaluate(batch)
