"""The result of a search: the front, the log, and the networks."""

from __future__ import annotations

import base64
import html
import io
import json
import math
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
    InfeasibleError,
    LoadError,
    nearest,
)
from optprune.folders import whole_folder
from optprune.meter import Meter
from optprune.search.choice import Choice
from optprune.search.finishing import Finished, finish, measured_on
from optprune.search.nondominated import (
    hypervolume,
    nondominated,
    objective_values,
    reference_point,
)
from optprune.search.remake import check_remade, proposal_of, remake
from optprune.search.row import Row
from optprune.search.session import Session
from optprune.search.starts import load_starts, save_starts
from optprune.search.summary import Summary
from optprune.search.table import as_text, log_table, thinned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from optprune.formulation import Constraint, Problem, Start
    from optprune.training import Trainer

__all__ = ["Result"]

FORMAT = 1
"""Format number of a saved result."""

_FILE = "result.json"
_SHOWN = 12


@dataclass
class _Reads:
    """How often the test split was read."""

    count: int = 0


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
    _reads: _Reads = field(default_factory=_Reads)

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
        return self._reads.count

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

    @property
    def best(self) -> Choice:
        """The feasible row that is best in the first objective.

        Raises
        ------
        InfeasibleError
            If no row is feasible.
        """
        return self.select()

    def select(self, *constraints: Constraint) -> Choice:
        """Pick the row that is best in the first objective among those that satisfy constraints.

        Parameters
        ----------
        *constraints : Constraint
            Comparisons such as ``op.metrics.macs <= 0.5``, beside the problem's own. The metric is
            one of the problem's, or a cost that follows from the structure.

        Returns
        -------
        Choice
            With `network`, `save`, `index`, `row` and `structure`. Among equals in the first
            objective the better in the others, then the first evaluated.

        Raises
        ------
        InfeasibleError
            If no feasible row satisfies them; it says how near the nearest comes.
        ArgumentError
            If a metric was not measured.
        ArgumentTypeError
            If something else than a constraint is given.
        """
        feasible = np.flatnonzero(np.isfinite(self.values).all(axis=1))
        if not len(feasible):
            raise InfeasibleError(
                f"none of the {len(self.rows)} evaluated candidates is feasible"
                f"{self._nearest_miss()}. Give a larger budget, or looser constraints."
            )
        violations = np.zeros(len(feasible))
        told = []
        for constraint in constraints:
            values = self._values_of(constraint)[feasible]
            violations += constraint.violations(values)
            reach = values.min() if constraint.sense == "<=" else values.max()
            told.append(f"{constraint} (the nearest reaches {reach:.6g})")
        satisfying = feasible[violations == 0.0]
        if not len(satisfying):
            raise InfeasibleError(
                f"no feasible candidate satisfies {' and '.join(told)}. Search longer, or with "
                "this constraint in the problem."
            )
        order = np.lexsort((satisfying, *self.values[satisfying].T[::-1]))
        return Choice(self, self.rows[satisfying[order[0]]])

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

    def report(self, *indices: int) -> pd.DataFrame:
        """Measure candidates on the test split, once the search is over.

        Parameters
        ----------
        *indices : int
            Indices of the rows; the best by default.

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
            If there is no such row, or the result was loaded without its problem.

        Notes
        -----
        Choosing among many candidates by their test values makes the best of them look better
        than it is; so the result counts the reads, and shows them.
        """
        import pandas as pd

        task = self.attached().task
        chosen = [self.row(i) for i in indices] or [self.best.row]
        split = task.test_split()
        networks = [(self.dense, task.network)]
        networks += [(row, self.network(row.index)) for row in chosen]
        lines = []
        for row, network in networks:
            values = measured_on(task, network, split, Meter())
            tested = {f"test_{name}": value for name, value in values.items()}
            lines.append({"index": row.index, **row.metrics, **tested})
        self._reads.count += len(chosen)
        table = pd.DataFrame(lines)
        table.attrs["test_reads"] = self.test_reads
        return table

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
        self, x: str | None = None, y: str | None = None, *, ax: Axes | None = None, **options: Any
    ) -> Axes:
        """Draw the front, or for one objective the best value against evaluations.

        Parameters
        ----------
        x, y : str, optional
            Metrics to draw; the second objective across and the first up by default.
        ax : matplotlib.axes.Axes, optional
            Where to draw.
        **options
            Handed to `optprune.plots.front` or `optprune.plots.convergence`.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ArgumentError
            If a metric was not measured.
        """
        from optprune import plots

        names = self.summary.objectives
        if len(names) == 1 and x is None and y is None:
            options.setdefault("y_label", self.summary.label(names[0]))
            options.setdefault("direction", self.summary.directions[0])
            values = self.values[:, 0] * self.summary.signs[0]
            return plots.convergence(values, ax=ax, **options)
        across, up = x or names[min(1, len(names) - 1)], y or names[0]
        for name in (across, up):
            self._check_measured(name)
        direction = dict(zip(names, self.summary.directions, strict=True))
        options.setdefault(
            "directions", (direction.get(across, "minimize"), direction.get(up, "minimize"))
        )
        options.setdefault("labels", {name: self.summary.label(name) for name in (across, up)})
        options.setdefault("evaluated", self.log)
        if math.isfinite(self.dense.metrics[across]) and math.isfinite(self.dense.metrics[up]):
            options.setdefault("dense", (self.dense.metrics[across], self.dense.metrics[up]))
        options.setdefault("name", self.optimizer)
        return plots.front(self.front, across, up, ax=ax, **options)

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
        document = {
            "format": FORMAT,
            "summary": self.summary.to_dict(),
            "optimizer": self.optimizer,
            "configuration": self.configuration,
            "seed": self.seed,
            "reason": self.reason,
            "seconds": self.seconds,
            "meter": vars(self.meter),
            "setup": vars(self.setup),
            "test_reads": self.test_reads,
            "dense": json.loads(self.dense.to_json()),
            "rows": [json.loads(row.to_json()) for row in self.rows],
        }
        with whole_folder(folder, _FILE) as work:
            (work / _FILE).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
            self.log.to_csv(work / "log.csv", index=False)
            self.front.to_csv(work / "front.csv", index=False)
            save_starts(work, self.starts)
        return Path(folder)

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
        path = Path(folder) / _FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise LoadError(f"there is no saved result in {str(folder)!r}: {error}.") from error
        except ValueError as error:
            raise LoadError(f"{str(path)!r} is damaged: {error}.") from error
        try:
            if document["format"] != FORMAT:
                raise LoadError(
                    f"{str(path)!r} is written in format {document['format']!r}; this version of "
                    f"optprune reads format {FORMAT}. Install the version that wrote it."
                )
            result = cls(
                rows=tuple(Row.from_json(json.dumps(row)) for row in document["rows"]),
                dense=Row.from_json(json.dumps(document["dense"])),
                reason=str(document["reason"]),
                optimizer=str(document["optimizer"]),
                configuration=str(document["configuration"]),
                seed=int(document["seed"]),
                seconds=float(document["seconds"]),
                meter=Meter(**document["meter"]),
                setup=Meter(**document["setup"]),
                summary=Summary.from_dict(document["summary"]),
                problem=problem,
                starts=load_starts(Path(folder)),
                _reads=_Reads(int(document["test_reads"])),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LoadError):
                raise
            raise LoadError(f"{str(path)!r} is damaged: {error!r}.") from error
        if problem is not None and problem.fingerprint != result.summary.fingerprint:
            ours, theirs = problem.description, result.summary.description
            parts = [key for key in ours if theirs.get(key) != ours[key]]
            different = "; ".join(
                f"{key}: {theirs.get(key)} there, {ours[key]} here" for key in parts
            )
            raise GraphMismatchError(
                f"the result in {str(folder)!r} was made with another problem ({different}); give "
                "the one that it was made with, or none to read the tables only."
            )
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

    def _values_of(self, constraint: Constraint) -> npt.NDArray[np.float64]:
        """Return the values of a constraint's metric, shape (n_rows,)."""
        from optprune.formulation import Constraint as Comparison

        if not isinstance(constraint, Comparison):
            raise ArgumentTypeError(
                "select takes comparisons such as op.metrics.macs <= 0.5; got "
                f"{type(constraint).__name__}."
            )
        name = constraint.metric.name
        if name not in self.summary.metrics and self.problem is not None:
            widths = np.array([row.widths for row in self.rows], dtype=np.int64)
            values = constraint.metric.population(self.problem.graph, widths)
            if values is not None:
                return values
        self._check_measured(name)
        return np.array([row.metrics[name] for row in self.rows])

    def _check_measured(self, name: str) -> None:
        """Raise unless a metric was measured."""
        known = self.summary.metrics
        if name not in known:
            raise ArgumentError(
                f"the metric {name!r} was not measured in this search; it has "
                f"{', '.join(known)}.{nearest(name, known)}"
            )

    def _nearest_miss(self) -> str:
        """Tell the row that violates the constraints least."""
        missed = [row for row in self.rows if not row.failed]
        if not missed:
            return " (all have failed)" if self.rows else ""
        row = min(missed, key=lambda row: row.violation)
        return f" (the nearest, row {row.index}: {row.reason})"

    def _headline(self) -> str:
        """Say what this is, in two lines."""
        summary = self.summary
        feasible = int(np.isfinite(self.values).all(axis=1).sum()) if self.rows else 0
        bounds = f", subject to {', '.join(summary.constraints)}" if summary.constraints else ""
        read = f"; test split read {self.test_reads} times" if self.test_reads else ""
        return (
            f"{self.optimizer} on {summary.task}, seed {self.seed}: "
            f"{' and '.join(summary.objectives)}{bounds}\n"
            f"{len(self.rows)} evaluated, {feasible} feasible, {len(self.front_indices)} on the "
            f"front, {self.seconds:.1f} s; ended: {self.reason}{read}"
        )

    def _short_table(self) -> pd.DataFrame:
        """Return the dense network and the front, thinned, in the columns that matter."""
        import pandas as pd

        columns = ["index", *self.summary.metrics]
        front = thinned(self.front[columns], _SHOWN).astype({"index": object})
        dense = pd.DataFrame([{"index": "dense", **self.dense.metrics}])[columns]
        return pd.concat([dense.astype({"index": object}), front], ignore_index=True)

    def __repr__(self) -> str:
        left = len(self.front_indices) - _SHOWN
        more = f"\n({left} more in .front)" if left > 0 else ""
        return f"{self._headline()}\n\n{as_text(self._short_table())}{more}"

    def _repr_html_(self) -> str:
        head = html.escape(self._headline()).replace("\n", "<br>")
        table = self._short_table().to_html(
            index=False, border=0, float_format=lambda value: f"{value:.4g}"
        )
        left = len(self.front_indices) - _SHOWN
        more = f"<p>{left} more in <code>.front</code></p>" if left > 0 else ""
        picture = ""
        if self.front_indices:
            code = base64.b64encode(_png(self.plot())).decode()
            picture = f'<img alt="front" src="data:image/png;base64,{code}">'
        return f"<p>{head}</p>{table}{more}{picture}"


def _png(ax: Axes) -> bytes:
    """Return the picture that axes are on."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return b""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
