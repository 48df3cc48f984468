"""The demonstration: handwritten digits, from the trained network to smaller ones."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from optprune.cli.folder import NETWORK, RESULT, check_free, output_folder, save_picture
from optprune.cli.printing import (
    make_console,
    print_front,
    print_problem,
    print_search,
    value_text,
)
from optprune.errors import InfeasibleError
from optprune.formulation import metrics
from optprune.optimizers import NSGA2
from optprune.problems import digits
from optprune.search import Choice, Result, solve
from optprune.search.threads import torch_threads
from optprune.surgery import load

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

__all__ = ["demo"]

_SHARE = 0.4
"""The network that is taken has at most this share of the dense network's MACs."""


def demo(*, out: Path, evaluations: int, seed: int, device: str, command: str) -> None:
    """Search, show the front, save one smaller network, and load it again.

    Parameters
    ----------
    out : Path
        Where everything is written; the output of an earlier run is replaced.
    evaluations : int
        The budget.
    seed : int
        The seed of the search.
    device : str
        Where everything is computed.
    command : str
        The command that this was started by.

    Raises
    ------
    SaveError
        If `out` holds something else, or cannot be written.
    ArgumentError
        If an argument is out of range.
    LoadError
        If the weights that come with optprune are missing.
    """
    check_free(out, replace=True)
    console = make_console()
    with torch_threads(1):  # for so small a network a second one only costs
        problem = digits.problem(device=device)
        print_problem(console, problem)
        console.print()
        result = solve(problem, NSGA2(), evaluations=evaluations, seed=seed)
        choice = _choose(result)
        with output_folder(out, command, choice) as work:
            choice.save(work / NETWORK)
            # We wrote the folder ourselves a moment ago: it may be trusted to build its network.
            small = load(work / NETWORK, trust=True).to(problem.task.device)
            tested = result.report(choice.index, networks={choice.index: small})
            result.save(work / RESULT)
            picture = save_picture(result, work, choice)
    print_search(console, result)
    console.print()
    print_front(console, result, choice.index)
    console.print()
    console.print(_tested_table(result, choice, tested), soft_wrap=False)
    console.print(
        f"Network {choice.index} was saved to {out / NETWORK}, loaded from there, and measured on "
        f"the test split (read {_times(result.test_reads)}).",
        style="dim",
    )
    console.print(
        f"\nWritten to {out}/: {RESULT}/, {NETWORK}/"
        f"{f', {picture.name}' if picture is not None else ''}\n\n"
        "How to go on\n"
        f"  {_program('optprune')} show {out}\n"
        f"  {_program('optprune')} solve digits --subject-to 'macs<=0.5' --out digits-output\n"
        f'  {_program("python")} -c "import optprune as op; '
        f"print(op.load('{(out / NETWORK).as_posix()}', trust=True))\"\n"
        f"  your own network: notebooks/01_quickstart.ipynb, or {_program('optprune')} solve --help"
    )


def _choose(result: Result) -> Choice:
    """Pick the network of least error with few MACs, or in a very short search any."""
    try:
        return result.select(metrics.macs <= _SHARE)
    except InfeasibleError:
        return result.best


def _tested_table(result: Result, choice: Choice, tested: pd.DataFrame) -> Table:
    """Lay the test values of the dense and of the loaded network side by side."""
    from rich.table import Table

    table = Table(title="On images that the search has never seen")
    table.add_column("network")
    for heading in ("test accuracy", "validation accuracy", "MACs"):
        table.add_column(heading, justify="right")
    labels = ("dense", f"{choice.index}, loaded from disk")
    for label, (_, line), style in zip(labels, tested.iterrows(), ("bold", "green"), strict=True):
        accuracies = (line["test_accuracy"], 1.0 - line["error"])
        table.add_row(
            label,
            *(f"{accuracy:.2%}".replace("%", " %") for accuracy in accuracies),
            value_text(line["macs"], "macs", result.summary.units["macs"]),
            style=style,
        )
    return table


def _times(count: int) -> str:
    """Say how often."""
    return "once" if count == 1 else f"{count} times"


def _program(name: str) -> str:
    """Return how a program beside this Python is called: by name where the shell finds it."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(beside) or not beside.exists():
        return name
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
