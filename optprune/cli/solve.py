"""``optprune solve``: a search on a task of one's own or a ready-made one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optprune.cli.folder import NETWORK, RESULT, check_free, output_folder, save_picture
from optprune.cli.formulate import problem_of, read_constraint
from optprune.cli.metrics import metrics_by_name
from optprune.cli.optimizer import optimizer_named
from optprune.cli.printing import make_console, print_front, print_problem, print_search
from optprune.errors import ArgumentError, GraphMismatchError, InfeasibleError, OptpruneError
from optprune.formulation import Constraint
from optprune.search import Choice, Processes, Result, Serial, solve
from optprune.search.threads import torch_threads

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["solve_task"]


def solve_task(
    name: str,
    *,
    optimizer: str,
    options: Sequence[str] = (),
    evaluations: int,
    seed: int,
    objectives: Sequence[tuple[str, str]],
    subject_to: Sequence[str],
    select: Sequence[str],
    out: Path,
    replace: bool,
    journal: Path | None,
    device: str | None,
    threads: int,
    workers: int,
    command: str,
) -> None:
    """Search, show the front, and save the result and one network.

    Parameters
    ----------
    name : str
        A ready-made case, a plug-in's, or ``package.module:function``.
    optimizer : str
        Name of an optimizer; see `optimizer.optimizer_named`.
    options : sequence of str
        ``field=value`` each, for the optimizer.
    evaluations : int
        The budget.
    seed : int
        The seed of the search.
    objectives : sequence of (str, str)
        Direction and metric of each objective; see `formulate.problem_of`.
    subject_to : sequence of str
        Bounds of the problem.
    select : sequence of str
        Bounds of the one network that is saved.
    out : Path
        Where everything is written.
    replace : bool
        Whether the output of an earlier run there may be replaced.
    journal : Path or None
        Where evaluations are kept.
    device : str or None
        Where everything is computed; None leaves the task where it is.
    threads : int
        Threads of torch on the CPU.
    workers : int
        Processes that evaluate, with one thread each; this one where there is one.
    command : str
        The command that this was started by.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument cannot be understood.
    PluginError
        If a plug-in that was named cannot be used.
    InfeasibleError
        If no network satisfies the bounds; the result is written all the same.
    GraphMismatchError
        If the network, made again to be saved, is another; the result is written all the same.
    SaveError
        If `out` holds something else, or cannot be written.
    JournalError
        If the journal cannot be read or written, or is another problem's.
    """
    check_free(out, replace=replace)
    if workers != 1 and threads != 1:
        raise ArgumentError(
            f"--workers {workers} and --threads {threads}: each of several workers computes with "
            "one thread; leave out one of the two."
        )
    method = optimizer_named(optimizer, options)
    with torch_threads(threads):
        problem = problem_of(name, objectives=objectives, subject_to=subject_to, device=device)
        known = metrics_by_name(problem.metrics)
        bounds = [read_constraint(text, known, "--select") for text in select]
        console = make_console()
        print_problem(console, problem)
        console.print()
        result = solve(
            problem,
            method,
            evaluations=evaluations,
            seed=seed,
            journal=journal,
            executor=Serial(threads) if workers == 1 else Processes(workers),
        )
        _finish(console, result, bounds, out=out, command=command)


def _finish(
    console: Console, result: Result, bounds: Sequence[Constraint], *, out: Path, command: str
) -> None:
    """Show what was found, and save it."""
    choice: Choice | None = None
    missed: OptpruneError | None = None
    try:
        choice = result.select(*bounds)
    except InfeasibleError as error:
        missed = error
    # Printed before anything is written: a full disk must not take the whole search away.
    print_search(console, result)
    console.print()
    print_front(console, result, None if choice is None else choice.index)
    with output_folder(out, command, choice) as work:
        if choice is not None:
            try:
                choice.save(work / NETWORK)
            except GraphMismatchError as error:
                missed = error
        result.save(work / RESULT)
        save_picture(result, work, choice)
    console.print(f"\nWritten to {out}")
    if missed is not None:
        raise missed
    if choice is not None:
        values = ", ".join(f"{metric} {value:.4g}" for metric, value in choice.metrics.items())
        console.print(f"Network {choice.index} ({values}) is in {out / NETWORK}")
