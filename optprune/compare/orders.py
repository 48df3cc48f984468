"""What is to be run: the setting that all runs of a comparison share, and one order for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optprune.formulation import Problem
    from optprune.search import Budget, Optimizer

__all__ = ["Order", "Setting"]


@dataclass(frozen=True)
class Setting:
    """What all runs share; a worker gets it once.

    Parameters
    ----------
    problems : mapping of str to Problem
        By name.
    optimizers : mapping of str to Optimizer
        By name.
    budget : Budget
        Of each run.
    """

    problems: Mapping[str, Problem]
    optimizers: Mapping[str, Optimizer]
    budget: Budget


@dataclass(frozen=True)
class Order:
    """One run.

    Parameters
    ----------
    problem, optimizer : str
        Their names.
    seed : int
        The seed.
    folder : Path
        Where its journal is kept, and what comes of it.
    """

    problem: str
    optimizer: str
    seed: int
    folder: Path
