"""A comparison on disk: what it compares in one file, and a folder for each run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from optprune.compare.runs import write_whole
from optprune.errors import JournalMismatchError, LoadError, SaveError
from optprune.fingerprint import describe, digest
from optprune.formulation import Problem
from optprune.search import Budget, Optimizer
from optprune.search.solve import configuration
from optprune.search.summary import Summary

__all__ = ["MANIFEST", "Key", "Known", "Manifest", "open_folder", "read_manifest"]

MANIFEST = "comparison.json"
_FORMAT = 1

Key: TypeAlias = tuple[str, str, int]
"""A run: the names of its problem and its optimizer, and its seed."""


@dataclass(frozen=True)
class Known:
    """An optimizer, as far as a file can hold it.

    Parameters
    ----------
    configuration : str
        Its parameters in words, by which a journal knows its runs.
    fingerprint : str
        Digest of the configuration and of the source of its class.
    """

    configuration: str
    fingerprint: str

    @classmethod
    def of(cls, optimizer: Optimizer) -> Known:
        """Describe an optimizer."""
        words = configuration(optimizer)
        return cls(words, digest([words, describe(type(optimizer))]))


@dataclass(frozen=True)
class Manifest:
    """What is compared.

    Parameters
    ----------
    problems : mapping of str to Summary
        Names and directions of each problem, by its name.
    optimizers : mapping of str to Known
        By name.
    budget : Budget
        Of each run.
    runs : tuple of (str, str, int)
        All runs.
    """

    problems: Mapping[str, Summary]
    optimizers: Mapping[str, Known]
    budget: Budget
    runs: tuple[Key, ...]

    @classmethod
    def of(
        cls,
        problems: Mapping[str, Problem],
        optimizers: Mapping[str, Optimizer],
        seeds: Iterable[int],
        budget: Budget,
    ) -> Manifest:
        """Describe a comparison of everything with everything."""
        seeds = tuple(seeds)
        return cls(
            {name: Summary.of(problem) for name, problem in problems.items()},
            {name: Known.of(optimizer) for name, optimizer in optimizers.items()},
            budget,
            tuple((p, o, seed) for p in problems for o in optimizers for seed in seeds),
        )

    def joined(self, other: Manifest) -> Manifest:
        """Return this with what another has besides; they must agree."""
        return replace(
            self,
            problems={**self.problems, **other.problems},
            optimizers={**self.optimizers, **other.optimizers},
            runs=tuple(dict.fromkeys((*self.runs, *other.runs))),
        )

    def write(self, folder: Path) -> None:
        """Write it into a folder, whole or not at all.

        Raises
        ------
        SaveError
            If it cannot be written.
        """
        document = {
            "format": _FORMAT,
            "budget": asdict(self.budget),
            "problems": {name: known.to_dict() for name, known in self.problems.items()},
            "optimizers": {name: asdict(known) for name, known in self.optimizers.items()},
            "runs": [list(run) for run in self.runs],
        }
        write_whole(folder / MANIFEST, document)


def read_manifest(folder: Path) -> Manifest:
    """Read what a comparison in a folder compares.

    Raises
    ------
    LoadError
        If there is none, it is damaged, or it is written in an unknown format.
    """
    path = folder / MANIFEST
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LoadError(f"there is no comparison in {str(folder)!r}: {error}.") from error
    except ValueError as error:
        raise LoadError(f"{str(path)!r} is damaged: {error}.") from error
    try:
        if document["format"] != _FORMAT:
            raise LoadError(
                f"{str(path)!r} is written in format {document['format']!r}; this version of "
                f"optprune reads format {_FORMAT}. Install the version that wrote it."
            )
        return Manifest(
            problems={
                str(name): Summary.from_dict(known) for name, known in document["problems"].items()
            },
            optimizers={
                str(name): Known(str(known["configuration"]), str(known["fingerprint"]))
                for name, known in document["optimizers"].items()
            },
            budget=Budget(**document["budget"]),
            runs=tuple((str(p), str(o), int(seed)) for p, o, seed in document["runs"]),
        )
    except LoadError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{str(path)!r} is damaged: {error!r}.") from error


def open_folder(folder: Path, asked: Manifest) -> None:
    """Begin a comparison in a folder, or go on with the one that is there.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    asked : Manifest
        What is compared now; it is added to what was compared there before.

    Raises
    ------
    JournalMismatchError
        If the comparison there has another budget, or other problems or optimizers of the same
        names.
    LoadError
        If its description there cannot be read.
    SaveError
        If it cannot be written, or the folder holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise SaveError(f"folder: {str(folder)!r} cannot be used: {error}.") from error
    if not empty and not (folder / MANIFEST).exists():
        raise SaveError(
            f"folder: {str(folder)!r} exists and was not written by op.compare; it is left alone. "
            "Name another folder."
        )
    if empty:
        asked.write(folder)
        return
    there = read_manifest(folder)
    _check_agreement(folder, there, asked)
    joined = there.joined(asked)
    if joined != there:
        joined.write(folder)


def _check_agreement(folder: Path, there: Manifest, asked: Manifest) -> None:
    """Raise `JournalMismatchError` if two comparisons cannot be in one folder."""
    where = f"the comparison in {str(folder)!r}"
    if there.budget != asked.budget:
        raise JournalMismatchError(
            f"{where} has a budget of {_budget(there.budget)} for each run, not of "
            f"{_budget(asked.budget)}; runs of different budgets are not compared. Go on with "
            "that budget, or name another folder."
        )
    for name, summary in asked.problems.items():
        known = there.problems.get(name)
        if known is not None and known.fingerprint != summary.fingerprint:
            ours, theirs = summary.description, known.description
            parts = [part for part in ours if theirs.get(part) != ours[part]]
            different = "; ".join(f"{p}: {theirs.get(p)} there, {ours[p]} here" for p in parts)
            raise JournalMismatchError(
                f"{where} knows another problem as {name!r} ({different}). Go on with that "
                "problem, give this one another name (problems={'name': problem}), or name "
                "another folder."
            )
    for name, optimizer in asked.optimizers.items():
        found = there.optimizers.get(name)
        if found is not None and found != optimizer:
            same = found.configuration == optimizer.configuration
            what = (
                f"{optimizer.configuration}, of which the source has changed"
                if same
                else f"{found.configuration} there, {optimizer.configuration} here"
            )
            raise JournalMismatchError(
                f"{where} knows another optimizer as {name!r} ({what}). Go on with that one, give "
                "this one another name=, or name another folder."
            )


def _budget(budget: Budget) -> str:
    """Write a budget out."""
    return ", ".join(f"{value:g} {name}" for name, value in asdict(budget).items() if value)
