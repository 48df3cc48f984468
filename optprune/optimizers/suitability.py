"""Checks whether a problem suits an optimizer, so that one that does not is refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optprune.errors import ArgumentError

if TYPE_CHECKING:
    from optprune.formulation import Problem

__all__ = [
    "check_no_bits",
    "check_no_constraints",
    "check_one_objective",
    "check_several_objectives",
]


def check_one_objective(owner: str, problem: Problem, *, several: str = "NSGA2") -> None:
    """Raise `ArgumentError` if a problem has several objectives; `several` is made for these."""
    if problem.n_objectives > 1:
        names = ", ".join(problem.objective_names)
        raise ArgumentError(
            f"{owner} minimizes one objective, this problem has {problem.n_objectives} ({names}). "
            "Keep one and bound the others (subject_to=[op.metrics.macs <= 0.5]), or search for "
            f"the front with {several}."
        )


def check_several_objectives(owner: str, problem: Problem) -> None:
    """Raise `ArgumentError` if a problem has one objective only."""
    if problem.n_objectives < 2:
        raise ArgumentError(
            f"{owner} spreads its members between two objectives or more, this problem has one "
            f"({problem.objective_names[0]}). Add an objective such as op.metrics.macs, or "
            "minimize the one with GA or NSGA2."
        )


def check_no_constraints(owner: str, problem: Problem) -> None:
    """Raise `ArgumentError` if a problem has constraints."""
    if problem.constraints:
        constraints = ", ".join(map(str, problem.constraints))
        raise ArgumentError(
            f"{owner} compares members by one weighted value and has no rule for constraints, "
            f"this problem has {problem.n_constraints} ({constraints}). Make what is bounded an "
            "objective, or use NSGA3, CTAEA or NSGA2."
        )


def check_no_bits(owner: str, problem: Problem) -> None:
    """Raise `ArgumentError` if a problem's space consists of bits."""
    if problem.bound_space.kind == "binary":
        raise ArgumentError(
            f"{owner} moves points by real distances, which say nothing about bits; this "
            f"problem's space is {problem.space!r:.80}. Use GA or NSGA2, or decide widths "
            "(op.Widths) or ratios (op.Ratios) instead of single units."
        )
