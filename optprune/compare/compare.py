"""Comparing: several optimizers, problems and seeds by the same rules."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from optprune.compare.arguments import (
    named_optimizers,
    named_problems,
    seeds_of,
    with_references,
)
from optprune.compare.comparison import Comparison
from optprune.compare.orders import Order, Setting
from optprune.compare.progress import Progress
from optprune.compare.running import perform
from optprune.compare.runs import is_finished, run_folder
from optprune.compare.storing import Manifest, open_folder
from optprune.compare.worker import Advanced
from optprune.compare.workers import in_processes
from optprune.errors import SaveError
from optprune.formulation import Problem
from optprune.search import Budget, Optimizer
from optprune.search.messages import Noticed
from optprune.search.processes import check_workers
from optprune.search.threads import torch_threads

__all__ = ["compare"]


def compare(
    problems: Problem | Iterable[Problem] | Mapping[str, Problem],
    optimizers: Optimizer | Iterable[Optimizer] | Mapping[str, Optimizer],
    *,
    seeds: int | Iterable[int] = 5,
    evaluations: int | None = None,
    seconds: float | None = None,
    samples: int | None = None,
    workers: int = 1,
    folder: str | Path | None = None,
    references: bool = True,
    progress: bool = True,
) -> Comparison:
    """Run every optimizer on every problem with every seed.

    Parameters
    ----------
    problems : Problem, several of them, or a mapping of names to them
        By default a problem has the name of its task; what comes again is numbered.
    optimizers : Optimizer, several of them, or a mapping of names to them
        By default an optimizer has its own name.
    seeds : int or sequence of int, default 5
        How many seeds (0, 1, …), or which. Every optimizer gets the same.
    evaluations : int, optional
        Budget of each run, as in `solve`; the first of the budgets that is used up ends it.
    seconds : float, optional
        Budget of each run in seconds of its clock. Parallel runs share the machine and slow each
        other down: compare by seconds with ``workers=1``, or with fewer workers than cores.
    samples : int, optional
        Budget of each run in samples of forward plus backward passes.
    workers : int, default 1
        How many runs go on at once, each in a process of its own; with 1 they go on in this one.
        Any number gives the same result, times aside. Problems and optimizers may be defined
        anywhere, also in a notebook or in a script without ``if __name__ == "__main__"``.
    folder : str or Path, optional
        Where runs are kept. A comparison that was killed or interrupted goes on when it is started
        again with the same folder: finished runs are read, others go on from their journal, failed
        ones are tried again. More seeds, optimizers and problems may be added. By default nothing
        is kept.
    references : bool, default True
        Whether `Random` and `UniformWidths` are run too, where they are not among the optimizers:
        what does not beat them is not worth its name.
    progress : bool
        Whether to show a bar (in a terminal or a notebook).

    Returns
    -------
    Comparison
        Tables, curves, tests, and the result of every run.

    Raises
    ------
    ArgumentError
        If there is no problem, optimizer, seed or budget, two have one name, a number is out of
        range, or something cannot be sent to a worker process.
    ArgumentTypeError
        If an argument is of the wrong type.
    JournalMismatchError
        If the folder holds a comparison with another budget, or other problems or optimizers of
        the same names; it says what differs.
    LoadError
        If something in the folder is damaged.
    SaveError
        If something cannot be written, or the folder holds something else.

    Notes
    -----
    - A run is `solve` with a journal of its own. It has the global random generators seeded with
      its seed, one torch thread, and a copy of the optimizer of its own, so it depends neither on
      other runs nor on the process that it is in.
    - A run that raises, or whose worker dies, is a failed run with its reason, and the others go
      on. Ctrl-C ends all workers and raises `KeyboardInterrupt`; a folder keeps what was done.
    - What decoding needs of a problem (the importance of the units) is made once, before the first
      run, and charged to none. What candidates share (moments of the dense network, say) every run
      makes for itself, and is charged for, as is what an optimizer measures to decide.
    - With several workers, a metric that is measured alone (`Latency`) waits until no other run is
      busy. The dense network's latency, and what an optimizer measures itself, do not wait: use
      ``workers=1`` where they matter.
    """
    named = named_problems(problems)
    methods = named_optimizers(optimizers)
    if references:
        methods = with_references(methods)
    numbers = seeds_of(seeds)
    budget = Budget(evaluations, seconds, samples)
    check_workers(workers)
    for problem in named.values():
        problem.check_unchanged()
    asked = Manifest.of(named, methods, numbers, budget)
    with ExitStack() as stack:
        if folder is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="optprune-")))
        else:
            place = Path(folder).absolute()
        open_folder(place, asked)
        orders = [
            Order(p, o, seed, run_folder(place, p, o, seed))
            for seed in numbers
            for p in named
            for o in methods
        ]
        left = [order for order in orders if not is_finished(order.folder)]
        if left:
            bar = None
            if progress:
                bar = Progress(len(orders), evaluations, len(orders) - len(left))
                stack.callback(bar.close)
            _run(Setting(named, methods, budget), left, int(workers), bar)
        return Comparison.read(place, asked, named)


def _run(setting: Setting, orders: Sequence[Order], workers: int, bar: Progress | None) -> None:
    """Run what is left."""
    for problem in setting.problems.values():
        _prepare(problem)
    for order in orders:
        try:
            order.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(f"{str(order.folder)!r} cannot be made: {error}.") from error
    if workers == 1:
        for order in orders:
            ended = perform(setting, order, partial(_advance, bar, order))
            if bar is not None:
                bar.end(order, ended)
        return
    registries: dict[str, dict[Any, Any]] = {}
    with closing(in_processes(setting, orders, workers)) as events:
        for event in events:
            if isinstance(event.what, Advanced):
                _advance(bar, event.order, event.what.evaluations)
                continue
            if bar is not None:
                bar.end(event.order, event.what.ended)
            for noticed in event.what.warnings:
                _warn(noticed, registries.setdefault(noticed.filename, {}))


def _prepare(problem: Problem) -> None:
    """Make what decoding needs, so that no run pays for it."""
    space = problem.bound_space
    # What goes wrong here goes wrong in the runs too, and is told there.
    with suppress(Exception), torch_threads(1):
        space.decode(space.full()[None])


def _advance(bar: Progress | None, order: Order, evaluations: int) -> None:
    """Show how far a run is."""
    if bar is not None:
        bar.advance(order, evaluations)


def _warn(noticed: Noticed, registry: dict[Any, Any]) -> None:
    """Warn here of what a worker warned of, once where the filters say so."""
    # What the filters turn into errors was one in the worker already.
    with suppress(Warning):
        warnings.warn_explicit(
            noticed.message, noticed.category, noticed.filename, noticed.line, registry=registry
        )
