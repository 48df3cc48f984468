"""The result of a search: the front, the log, and the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from optprune.errors import (
    ArgumentError,
    ArgumentTypeError,
    GraphMismatchError,
    nearest,
)
from optprune.formulation import Constraint, Metric, Problem, Start
from optprune.meter import Meter
from optprune.search.choice import Choice
from optprune.search.drawing import Kind, draw
from optprune.search.effects import effects_table
from optprune.search.finishing import Finished, finish
from optprune.search.nondominated import (
    hypervolume,
    nondominated,
    objective_values,
    reference_point,
)
from optprune.search.pictures import as_html, as_plain_text
from optprune.search.remake import check_remade, proposal_of, remake
from optprune.search.reporting import Reads, report
from optprune.search.row import Row
from optprune.search.selection import select
from optprune.search.sensitivity import sensitivity_table
from optprune.search.session import Session
from optprune.search.storage import check_problem, load_parts, save_result
from optprune.search.summary import Summary
from optprune.search.table import log_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from optprune.training import Trainer

__all__ = ["Result"]


@dataclass(frozen=True, eq=False)
class Result:
    """What a search found. `solve` makes it.

    Parameters
    ----------
    rows : tuple of Row
        Every evaluated proposal, in the order of first use; ``rows[i].index == i``.
    dense : Row
        The dense network, measured once outside the budget.
    reason : str
        Why the search ended, in plain words.
    optimizer : str
        Name of the optimizer.
    configuration : str
        The optimizer with its parameters.
    seed : int
        The seed of the run.
    seconds : float
        Seconds on the run's clock.
    meter : Meter
        Samples and seconds of all rows, and what the optimizer counted itself.
    setup : Meter
        Samples and seconds of the problem's preparation (importance, the dense network's values);
        all runs on one problem share it, and none is charged for it.
    summary : Summary
        Names and directions of the problem.
    problem : Problem or None
        The problem; None in a result that was loaded without it.
    starts : mapping of str to Start
        The weights that rows of the front start from, by digest, where they are not the task's.
    reads : Reads
        How many candidates were measured on the test split.
    """

    rows: tuple[Row, ...]
    dense: Row
    reason: str
    optimizer: str
    configuration: str
    seed: int
    seconds: float
    meter: Meter
    setup: Meter
    summary: Summary
    problem: Problem | None = None
    starts: Mapping[str, Start] = field(default_factory=dict)
    reads: Reads = field(default_factory=Reads)

    @classmethod
    def of(cls, session: Session, *, dense: Row, optimizer: str, reason: str) -> Result:
        """Gather the result of a session.

        Parameters
        ----------
        session : Session
            The session, after the search.
        dense : Row
            The dense network.
        optimizer : str
            Name of the optimizer.
        reason : str
            Why the search ended.
        """
        return cls(
            rows=session.rows,
            dense=dense,
            reason=reason,
            optimizer=optimizer,
            configuration=session.optimizer,
            seed=session.seed,
            seconds=session.seconds,
            meter=replace(session.meter),
            setup=replace(session.problem.setup_meter),
            summary=Summary.of(session.problem),
            problem=session.problem,
            starts=dict(session.starts),
        )

    @property
    def test_reads(self) -> int:
        """How many candidates were measured on the test split so far."""
        return self.reads.count

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """Objectives to be minimized, shape (n_rows, n_objectives); NaN unless feasible.

        Maximized objectives are negated.
        """
        return objective_values(self.rows, self.summary.objectives, self.summary.signs)

    @cached_property
    def front_indices(self) -> tuple[int, ...]:
        """Indices of the feasible rows that no other dominates, sorted by the first objective."""
        return tuple(int(i) for i in nondominated(self.values))

    @cached_property
    def log(self) -> pd.DataFrame:
        """Every row as a table; see `table.log_table` for the columns."""
        return log_table(self.rows, self.summary.metrics, self.summary.groups)

    @property
    def front(self) -> pd.DataFrame:
        """The non-dominated feasible rows, sorted by the first objective; columns as in `log`."""
        return self.log.iloc[list(self.front_indices)].reset_index(drop=True)

    def sensitivity(self, metric: str | None = None) -> pd.DataFrame:
        """Return how a metric answers when one group alone is narrowed.

        Parameters
        ----------
        metric : str, optional
            Its name; the first objective by default.

        Returns
        -------
        pandas.DataFrame
            See `optprune.search.sensitivity.sensitivity_table`; ``op.plots.sensitivity`` draws it.

        Raises
        ------
        ArgumentError
            If the metric was not measured.
        """
        name = self.summary.objectives[0] if metric is None else metric
        self.check_measured(name)
        return sensitivity_table(self.rows, name, self.summary.groups, self.summary.widths)

    def effects(self, metric: str | None = None) -> pd.DataFrame:
        """Return how a metric went with the width of each group, over all that was measured.

        This is correlation in what the search has looked at, not what narrowing a group does;
        see the notes of `optprune.search.effects.effects_table`, which also lists the columns.

        Parameters
        ----------
        metric : str, optional
            Its name; the first objective by default.

        Returns
        -------
        pandas.DataFrame
            One row for each group and width: the mean, also adjusted for the other groups, how
            many candidates are behind it, and its standard error. ``op.plots.effects`` draws it.

        Raises
        ------
        ArgumentError
            If the metric was not measured.
        """
        name = self.summary.objectives[0] if metric is None else metric
        self.check_measured(name)
        return effects_table(self.rows, name, self.summary.groups, self.summary.widths)

    @property
    def best(self) -> Choice:
        """The feasible row that is best in the first objective.

        Raises
        ------
        InfeasibleError
            If no row is feasible.
        """
        return self.select()

    def select(self, *constraints: Constraint, by: Metric | None = None) -> Choice:
        """Pick the best row among those that satisfy constraints.

        Parameters
        ----------
        *constraints : Constraint
            Comparisons such as ``op.metrics.macs <= 0.5``, beside the problem's own. The metric is
            one of the problem's, or a cost that follows from the structure.
        by : Metric, optional
            What decides, in its own direction; the first objective by default. For the smallest
            network that is good enough: ``select(op.metrics.error <= 0.1, by=op.metrics.macs)``.

        Returns
        -------
        Choice
            With `network`, `save`, `index`, `row` and `structure`. Among equals the better in the
            objectives in their order, then the first evaluated.

        Raises
        ------
        InfeasibleError
            If no feasible row satisfies them; it says how near the nearest comes.
        ArgumentError
            If a metric was not measured.
        ArgumentTypeError
            If something else than a constraint, or a metric in `by`, is given.
        """
        return Choice(self, self.rows[select(self, constraints, by)])

    def network(self, i: int, *, check: bool = True) -> nn.Module:
        """Make the network of a row again.

        Parameters
        ----------
        i : int
            The row's index, as in the column ``index``.
        check : bool
            Whether to measure it again and compare it with its row.

        Returns
        -------
        nn.Module
            Of the user's own class, in evaluation mode; it shares nothing with the dense network.

        Raises
        ------
        ArgumentError
            If there is no such row, or the result was loaded without its problem.
        GraphMismatchError
            If the network measures otherwise than its row says.
        """
        problem, row = self.attached(), self.row(i)
        proposal = proposal_of(problem, row, self.starts.get(row.start))
        if check:
            difference = check_remade(problem, proposal, self.seed, row)
            if difference:
                raise GraphMismatchError(
                    f"the network of row {row.index}, made again, is not what its row says: "
                    f"{difference}. Something that the problem does not know of has changed (a "
                    "library, a function that a metric calls); network(i, check=False) returns it "
                    "all the same."
                )
        return remake(problem, proposal, self.seed)

    def finish(self, i: int, trainer: Trainer) -> Finished:
        """Make the network of a row again and train it further.

        Parameters
        ----------
        i : int
            The row's index.
        trainer : Trainer
            How, for example ``op.training.SGD(epochs=10)``.

        Returns
        -------
        Finished
            With the network and its values on the validation split before and after.

        Raises
        ------
        TaskError
            If the task has no training split.
        ArgumentError
            If there is no such row, or the result was loaded without its problem.
        """
        return finish(self.attached().task, self.network(i), trainer, self.seed)

    def report(
        self, *indices: int, networks: Mapping[int, nn.Module] | None = None
    ) -> pd.DataFrame:
        """Measure candidates on the test split, once the search is over.

        Parameters
        ----------
        *indices : int
            Indices of the rows; the best by default.
        networks : mapping of int to nn.Module, optional
            Networks to measure, by the index of their row, in place of those made again: loaded
            from disk, or trained further. They are on the task's device.

        Returns
        -------
        pandas.DataFrame
            A row for the dense network (index -1) and for each candidate: ``index``, the metrics
            of the search, and ``test_<score>``, ``test_loss`` and, for classification,
            ``test_error``. ``attrs["test_reads"]`` says how many candidates were measured on the
            test split so far.

        Raises
        ------
        TaskError
            If the task has no test split.
        ArgumentError
            If there is no such row, `networks` has one that is not reported, or the result was
            loaded without its problem.

        Notes
        -----
        Choosing among many candidates by their test values makes the best of them look better
        than it is; so the result counts the reads, and shows them.
        """
        rows = [self.row(i) for i in indices] or [self.best.row]
        return report(self, rows, networks or {})

    def hypervolume(self, reference: Sequence[float] | None = None) -> float:
        """Return the hypervolume that the front dominates.

        Parameters
        ----------
        reference : sequence of float, optional
            The reference point in the objectives' own units and directions, of length
            ``n_objectives``. By default the problem's; where that has no coordinate, the worst
            value among the feasible rows.

        Returns
        -------
        float
            In the product of the objectives' units.
        """
        signs = np.array(self.summary.signs)
        wanted = np.array(self.summary.references if reference is None else reference, dtype=float)
        if wanted.shape != signs.shape:
            raise ArgumentError(
                f"reference must have {len(signs)} coordinates, one for each of "
                f"{', '.join(self.summary.objectives)}; got {reference!r}."
            )
        return hypervolume(self.values, reference_point(wanted * signs, self.values))

    def plot(
        self,
        x: str | None = None,
        y: str | None = None,
        *,
        kind: Kind | None = None,
        ax: Axes | None = None,
        **options: Any,
    ) -> Axes:
        """Draw the result.

        Parameters
        ----------
        x, y : str, optional
            Metrics to draw. Of a front the second objective across and the first up by default;
            ``y`` alone is what the other pictures are about.
        kind : str, optional
            ``"front"``: two metrics of the front, with the dense network and the constraints; the
            default with several objectives. ``marks="index"`` or ``"widths"`` writes them beside
            its points. ``"convergence"``: the hypervolume of the front so far, or the best value
            of one objective; the default with one objective. ``"structure"``: the widths of a few
            networks of the front, or of ``indices=``. ``"parallel"``: all metrics and widths of
            the front, a line a network; ``chosen=`` marks one by its index. ``"sensitivity"``: one
            group narrowed alone, as `SensitivityScan` does. ``"effects"``: how a metric went with
            the width of each group; see `effects`.
        ax : matplotlib.axes.Axes, optional
            Where to draw.
        **options
            Handed to the function in `optprune.plots` that draws it: `front`, `convergence`,
            `structure` or `structures`, `parallel`, `sensitivity`, `effects`.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ArgumentError
            If there is no such kind, a metric was not measured, or there is nothing to draw.
        """
        return draw(self, kind, x, y, ax, options)

    def save(self, folder: str | Path) -> Path:
        """Save the result.

        Parameters
        ----------
        folder : str or Path
            Where to; a saved result that is there is replaced.

        Returns
        -------
        Path
            The folder, with ``result.json``, ``log.csv`` and ``front.csv``.

        Raises
        ------
        SaveError
            If it cannot be written; nothing half-written is left.
        """
        return save_result(self, folder)

    @classmethod
    def load(cls, folder: str | Path, problem: Problem | None = None) -> Result:
        """Load a saved result.

        Parameters
        ----------
        folder : str or Path
            What `save` wrote.
        problem : Problem, optional
            The problem that it was made with; networks can only be made with it.

        Returns
        -------
        Result

        Raises
        ------
        LoadError
            If there is no result, it is damaged, or it is written in an unknown format.
        GraphMismatchError
            If it was made with another problem; it says what differs.
        """
        result = cls(**load_parts(folder), problem=problem)
        if problem is not None:
            check_problem(folder, result.summary, problem)
        return result

    def row(self, i: int) -> Row:
        """Return a row by its index.

        Raises
        ------
        ArgumentError
            If there is none.
        ArgumentTypeError
            If `i` is not a whole number.
        """
        if isinstance(i, bool) or not isinstance(i, int | np.integer):
            raise ArgumentTypeError(f"i must be the index of a row, a whole number; got {i!r}.")
        if not 0 <= i < len(self.rows):
            raise ArgumentError(
                f"there is no row {i}: the result has the rows 0 to {len(self.rows) - 1}, as in "
                "the column 'index' of its front and log."
            )
        return self.rows[i]

    def attached(self) -> Problem:
        """Return the problem.

        Raises
        ------
        ArgumentError
            If the result was loaded without it.
        """
        if self.problem is None:
            raise ArgumentError(
                "this result was loaded without its problem, which networks are made with: "
                "Result.load(folder, problem)."
            )
        return self.problem

    def check_measured(self, name: str) -> None:
        """Raise unless a metric was measured.

        Raises
        ------
        ArgumentError
            It names the metrics that were.
        """
        known = self.summary.metrics
        if name not in known:
            raise ArgumentError(
                f"the metric {name!r} was not measured in this search; it has "
                f"{', '.join(known)}.{nearest(name, known)}"
            )

    def __repr__(self) -> str:
        return as_plain_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)
