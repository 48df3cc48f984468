"""A comparison: what several optimizers found on several problems with several seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from optprune.compare.anytime import Trajectories, anytime, trajectories, values_at
from optprune.compare.arguments import named_problems
from optprune.compare.blocks import Direction
from optprune.compare.ioh import write_ioh
from optprune.compare.page import as_html, as_page, as_plain_text
from optprune.compare.pictures import Kind, draw
from optprune.compare.ranks import Ranks, ranks
from optprune.compare.run_rows import Cost
from optprune.compare.runs import Run, load_run, run_folder, save_run
from optprune.compare.statistics import pairwise
from optprune.compare.storing import MANIFEST, Known, Manifest, read_manifest
from optprune.compare.tables import log_of, runs_of, summary_of
from optprune.compare.within import within
from optprune.errors import ArgumentError, InfeasibleError, SaveError, nearest
from optprune.folders import whole_folder
from optprune.search import Budget

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from optprune.formulation import Constraint, Problem
    from optprune.search import Result
    from optprune.search.choice import Choice
    from optprune.search.summary import Summary

__all__ = ["Comparison"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `optprune.compare` found; it makes it.

    Parameters
    ----------
    entries : tuple of Run
        Every run, failed ones too: by problem, then by optimizer, then by seed.
    problems : mapping of str to Summary
        Names and directions of each problem, by its name.
    optimizers : mapping of str to Known
        Configuration of each optimizer, by its name.
    budget : Budget
        Of each run.

    Notes
    -----
    Figures and tests take every run as it is: one that failed or ended early has found what it had
    found by then. An optimizer that needs few evaluations, or none, stands at what it cost: its
    passes over data are in ``samples``, its time in ``seconds``.
    """

    entries: tuple[Run, ...]
    problems: Mapping[str, Summary]
    optimizers: Mapping[str, Known]
    budget: Budget

    @cached_property
    def log(self) -> pd.DataFrame:
        """Every evaluated proposal.

        Columns ``problem``; ``optimizer``; ``seed``; ``index`` (its number in the run, from 0);
        ``evaluations`` (``index + 1``); ``seconds`` (of the run's clock) and ``samples`` (forward
        plus backward, those of the optimizer itself included), both from the run's beginning until
        it was there; ``feasible``; ``failed``; and one for each metric (NaN where a problem lacks
        it or it was not measured).
        """
        return log_of(self.entries, self.problems)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every run.

        Columns ``problem``; ``optimizer``; ``seed``; ``evaluations``, ``seconds`` and ``samples``
        of all of it; ``front`` (how many candidates it has); ``failed``; and ``reason`` (why it
        ended, or failed).
        """
        return runs_of(self.entries)

    def result(self, problem: str, optimizer: str, seed: int) -> Result:
        """Return the result of a run, as `solve` would have returned it.

        Parameters
        ----------
        problem, optimizer : str
            Their names.
        seed : int
            The seed.

        Raises
        ------
        ArgumentError
            If there is no such run, or it failed.
        """
        self._check_name("problem", problem, self.problems)
        self._check_name("optimizer", optimizer, self.optimizers)
        own = [e for e in self.entries if (e.problem, e.optimizer) == (problem, optimizer)]
        found = next((entry for entry in own if entry.seed == seed), None)
        if found is None:
            raise ArgumentError(
                f"there is no run of {optimizer!r} on {problem!r} with seed {seed!r}; its seeds "
                f"are {', '.join(str(entry.seed) for entry in own) or 'none'}."
            )
        if found.result is None:
            raise ArgumentError(
                f"the run of {optimizer!r} on {problem!r} with seed {seed} failed: {found.reason}"
            )
        return found.result

    def best(self, problem: str | None = None) -> Choice:
        """Return the feasible candidate that is best in the first objective, over all runs.

        Parameters
        ----------
        problem : str, optional
            On which problem; needed where there are several.

        Raises
        ------
        InfeasibleError
            If no run found a feasible one.
        ArgumentError
            If there is no such problem, or several and none was named.
        """
        name = self.named(problem)
        best: Choice | None = None
        sign = self.problems[name].signs[0]
        objective = self.problems[name].objectives[0]
        for entry in self.entries:
            if entry.problem == name and entry.result is not None and entry.result.front_indices:
                choice = entry.result.best
                value = choice.row.metrics[objective] * sign
                if best is None or value < best.row.metrics[objective] * sign:
                    best = choice
        if best is None:
            raise InfeasibleError(f"no run on {name!r} found a feasible candidate; see .runs.")
        return best

    def trajectories(
        self,
        problem: str | None = None,
        *,
        cost: Cost = "evaluations",
        measure: str | None = None,
    ) -> Trajectories:
        """Return how good every run had become at what cost.

        Parameters
        ----------
        problem : str, optional
            On which problem; needed where there are several.
        cost : {"evaluations", "seconds", "samples"}
            What it is drawn against.
        measure : str, optional
            An objective, for the best value so far, or ``"hypervolume"``; by default the objective
            where there is one, and the hypervolume where there are several.

        Raises
        ------
        ArgumentError
            If there is no such problem, cost or measure.
        """
        name = self.named(problem)
        known = self.problems[name]
        if measure is None:
            measure = known.objectives[0] if len(known.objectives) == 1 else "hypervolume"
        if measure in known.objectives:
            names = [measure]
        elif measure == "hypervolume" and len(known.objectives) > 1:
            names = list(known.objectives)
        else:
            possible = [*known.objectives, *["hypervolume"] * (len(known.objectives) > 1)]
            raise ArgumentError(
                f"measure must be one of {', '.join(possible)} on {name!r}; got {measure!r}."
                f"{nearest(measure, possible)}"
            )
        directions = [
            cast(Direction, known.directions[known.objectives.index(each)]) for each in names
        ]
        return trajectories(
            self.log,
            self.runs,
            problem=name,
            objectives=names,
            directions=directions,
            cost=cost,
            reference=known.references if len(names) > 1 else None,
        )

    def anytime(
        self,
        problem: str | None = None,
        *,
        cost: Cost = "evaluations",
        measure: str | None = None,
    ) -> pd.DataFrame:
        """Return median and quartiles over the seeds of every optimizer, against cost.

        Parameters and errors are those of `trajectories`.

        Returns
        -------
        pandas.DataFrame
            Columns ``optimizer``, ``cost``, ``lower``, ``median``, ``upper``, ``runs``, ``found``
            and ``running``; see `optprune.compare.anytime.anytime`.
        """
        return anytime(self.trajectories(problem, cost=cost, measure=measure))

    def values(self, *, cost: Cost = "evaluations", at: float | None = None) -> pd.DataFrame:
        """Return what every run had reached: the best value, or the hypervolume.

        Parameters
        ----------
        cost : {"evaluations", "seconds", "samples"}
            In what `at` is counted.
        at : float, optional
            The cost at which to look; by default the end of every run.

        Returns
        -------
        pandas.DataFrame
            One row a run: ``problem``, ``optimizer``, ``seed``, ``value`` (in the measure's own
            unit and direction; NaN where there is none).
        """
        return values_at([self.trajectories(name, cost=cost) for name in self.problems], at)

    def statistics(
        self, *, cost: Cost = "evaluations", at: float | None = None, alpha: float = 0.05
    ) -> pd.DataFrame:
        """Compare every two optimizers by their paired runs on all problems.

        Parameters
        ----------
        cost, at
            When to look, as in `values`.
        alpha : float
            The level, for all comparisons together.

        Returns
        -------
        pandas.DataFrame
            One row for each two optimizers, with effect sizes, p-values after Holm's correction
            and a verdict in plain words; see `optprune.compare.statistics.pairwise`.

        Raises
        ------
        ArgumentError
            If there are fewer than two optimizers, or an argument is out of range.
        """
        return pairwise(self.values(cost=cost, at=at), self._directions(), alpha=alpha)

    def ranks(
        self, *, cost: Cost = "evaluations", at: float | None = None, alpha: float = 0.05
    ) -> Ranks:
        """Rank the optimizers over all problems and seeds.

        Parameters and errors are those of `statistics`.

        Returns
        -------
        Ranks
            See `optprune.compare.ranks.ranks`.
        """
        return ranks(self.values(cost=cost, at=at), self._directions(), alpha=alpha)

    def summary(self) -> pd.DataFrame:
        """Return one row for every problem and optimizer.

        Returns
        -------
        pandas.DataFrame
            ``problem``; ``optimizer``; ``measure`` (the objective, or the hypervolume of several);
            ``median``, ``lower`` and ``upper`` (quartiles over the runs at their end; NaN where
            too few have a value); ``runs``; ``failed`` (how many of them); and the medians over
            the runs of ``evaluations``, ``seconds`` and ``samples``.
        """
        ends = {}
        for name in self.problems:
            found = self.trajectories(name)
            ends[name] = anytime(found, grid=[max(run.end for run in found.runs)])
        return summary_of(self.runs, ends)

    def within(self, *constraints: Constraint, objective: str | None = None) -> pd.DataFrame:
        """Return the best value that every optimizer found within each of several bounds.

        Parameters
        ----------
        *constraints : Constraint
            Bounds such as ``op.metrics.macs <= 0.5``, each a case of its own.
        objective : str, optional
            What is best; by default the first objective of each problem.

        Returns
        -------
        pandas.DataFrame
            One row for each problem, bound and optimizer: ``problem``; ``within`` (the bound);
            ``optimizer``; ``objective``; ``median``, ``lower`` and ``upper`` (quartiles over the
            runs; a run that found nothing within the bound counts as worse than all others, and a
            quartile among such runs is NaN); ``found`` (runs that found something) and ``runs``.

        Raises
        ------
        ArgumentError
            If there is no bound, no such objective, or a bounded metric was not measured.
        ArgumentTypeError
            If something else than a comparison of a metric with a number is given.
        """
        return within(self.log, self.runs, self.problems, constraints, objective)

    def plot(
        self,
        problem: str | None = None,
        *,
        kind: Kind | None = None,
        cost: Cost = "evaluations",
        measure: str | None = None,
        ax: Axes | None = None,
        **options: Any,
    ) -> Axes:
        """Draw the comparison.

        Parameters
        ----------
        problem : str, optional
            On which problem.
        kind : {"anytime", "attainment", "targets", "ranks"}, optional
            ``"anytime"``: how good every optimizer had become at what cost, median and quartiles;
            the default on one problem. ``"attainment"``: the trade-off between two objectives that
            half of the runs attained. ``"targets"``: the share of targets reached at what cost, on
            all problems unless one is named; the default on several. ``"ranks"``: average ranks on
            all problems.
        cost, measure
            As in `trajectories`.
        ax : matplotlib.axes.Axes, optional
            Where to draw.
        **options
            Handed to the function of that name in `optprune.plots`.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ArgumentError
            As in `trajectories`, or if that kind cannot be drawn of this comparison.
        """
        return draw(self, kind, problem, cost, measure, ax, options)

    def to_csv(self, path: str | Path) -> Path:
        """Write `log` as a CSV file, and return its path.

        Raises
        ------
        SaveError
            If it cannot be written.
        """
        return _written(path, self.log.to_csv(index=False))

    def to_html(self, path: str | Path, *, within: Sequence[Constraint] = ()) -> Path:
        """Write one page with every figure and table, and return its path.

        The page needs no network and no other file; a click on a column's title sorts its table.

        Parameters
        ----------
        path : str or Path
            The file.
        within : sequence of Constraint
            Bounds at which the page tells what every optimizer reached; see `within`.

        Raises
        ------
        SaveError
            If it cannot be written.
        ArgumentError, ArgumentTypeError
            As in `within`.
        """
        return _written(path, as_page(self, within))

    def to_ioh(self, folder: str | Path, measure: str | None = None) -> Path:
        """Write what IOHanalyzer reads (https://iohanalyzer.liacs.nl): a folder an optimizer.

        Parameters
        ----------
        folder : str or Path
            Where to; what an earlier export left there is replaced.
        measure : str, optional
            As in `trajectories`. IOHanalyzer knows one value a run.

        Returns
        -------
        Path
            The folder. A problem is a function, numbered in their order; the dimension is the
            number of its groups; a seed is an instance, numbered from 1; runs without a feasible
            candidate are left out.

        Raises
        ------
        SaveError
            If it cannot be written, or the folder holds something else.
        ArgumentError
            If there is no such measure.
        """
        return write_ioh(self, Path(folder), measure)

    def save(self, folder: str | Path) -> Path:
        """Save the comparison; `op.compare` with this folder can go on from it.

        Parameters
        ----------
        folder : str or Path
            Where to; a comparison that is there is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        SaveError
            If it cannot be written, or the folder holds something else; nothing half-written is
            left.
        """
        runs = tuple((entry.problem, entry.optimizer, entry.seed) for entry in self.entries)
        manifest = Manifest(self.problems, self.optimizers, self.budget, runs)
        with whole_folder(folder, MANIFEST) as work:
            for entry in self.entries:
                key = (entry.problem, entry.optimizer, entry.seed)
                save_run(run_folder(work, *key), entry)
            manifest.write(work)
        return Path(folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        problems: Problem | Iterable[Problem] | Mapping[str, Problem] | None = None,
    ) -> Comparison:
        """Load a comparison from the folder of `op.compare`, or what `save` wrote.

        Parameters
        ----------
        folder : str or Path
            The folder.
        problems : Problem, sequence or mapping of str to Problem, optional
            The problems, as they were given to `op.compare`; networks can only be made with them.

        Returns
        -------
        Comparison
            Runs that are not finished are failed ones.

        Raises
        ------
        LoadError
            If there is no comparison, it is damaged, or it is written in an unknown format.
        GraphMismatchError
            If it was made with other problems; it says what differs.
        ArgumentError
            If it has no problem of a name.
        """
        place = Path(folder)
        manifest = read_manifest(place)
        named = {} if problems is None else named_problems(problems)
        for name in named:
            cls._check_name("problem", name, manifest.problems)
        return cls.read(place, manifest, named)

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, problems: Mapping[str, Problem]) -> Comparison:
        """Read the runs of a manifest from a folder; `load` says what it raises."""
        among = list(manifest.problems), list(manifest.optimizers)
        runs = sorted(manifest.runs, key=lambda k: (among[0].index(k[0]), among[1].index(k[1]), k))
        entries = tuple(
            load_run(
                run_folder(folder, *key),
                key,
                manifest.problems[key[0]].fingerprint,
                manifest.optimizers[key[1]].configuration,
                problems.get(key[0]),
            )
            for key in runs
        )
        return cls(entries, manifest.problems, manifest.optimizers, manifest.budget)

    def named(self, problem: str | None) -> str:
        """Return the name of the problem that is meant: the only one if none is named.

        Raises
        ------
        ArgumentError
            If there is no such problem, or several and none is named.
        """
        if problem is None:
            if len(self.problems) > 1:
                raise ArgumentError(
                    f"name the problem: there are {', '.join(map(repr, self.problems))}."
                )
            return next(iter(self.problems))
        self._check_name("problem", problem, self.problems)
        return problem

    def _directions(self) -> dict[str, Direction]:
        """Return which way the measure of each problem is better."""
        return {name: self.trajectories(name).direction for name in self.problems}

    @staticmethod
    def _check_name(kind: str, name: str, known: Iterable[str]) -> None:
        """Raise unless a name is known."""
        names = list(known)
        if name not in names:
            raise ArgumentError(
                f"there is no {kind} {name!r} in this comparison; it has "
                f"{', '.join(map(repr, names))}.{nearest(str(name), names)}"
            )

    def __repr__(self) -> str:
        return as_plain_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def _written(path: str | Path, text: str) -> Path:
    """Write a file."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SaveError(
            f"{str(path)!r} could not be written: {error}. Choose another place, or make room."
        ) from error
    return Path(path)
