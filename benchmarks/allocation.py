"""Widths from convex programs: seconds, certificates, and SciPy's SLSQP on the same problems.

Run ``make benchmark`` or ``python benchmarks/allocation.py``; ``--only`` runs some. The instances
are in ``allocation_instances.py``, what is measured on them in ``allocation_solves.py`` and
``allocation_rivals.py``. A row that is there already is not measured again without ``--again``, so
that an interrupted run goes on. Writes ``benchmarks/results/allocation.json`` and the tables in
``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from allocation_instances import INSTANCES, Row
from allocation_report import TASTES, report
from allocation_rivals import rivalled
from allocation_solves import headline, programmed, stages, whole
from reporting import (
    HERE,
    environment,
    measured_with,
    read_json,
    write_json,
    write_section,
)
from rich.console import Console
from rich.markdown import Markdown

PACKAGES = ("optprune", "cvxpy", "clarabel", "scipy", "torch", "torchvision", "numpy")

ROWS: dict[str, Callable[[], Row]] = {
    **{f"program/{n}": partial(programmed, n) for n in INSTANCES},
    **{f"integer/{n}": partial(whole, n) for n in INSTANCES},
    **{f"slsqp/{n}": partial(rivalled, n) for n in INSTANCES},
    "headline": headline,
    **{f"stages/{taste}": partial(stages, taste) for taste in TASTES.values()},
}


def main() -> None:
    """Measure what is missing, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="ROW", help="names, or how they begin")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [name for name in ROWS if name.startswith(tuple(options.only or [""]))]
    console = Console()
    for name in [] if options.show else chosen:
        known = read_json("allocation").get("rows", {})
        if name in known and not options.again:
            continue
        with console.status(name):
            row = ROWS[name]()
        found = {**known, name: row}
        write_json("allocation", {"environment": environment(PACKAGES), "rows": found})
    found = read_json("allocation")
    text = report(found["rows"])
    console.print(Markdown(text))
    said = measured_with(found["environment"])
    write_section(HERE / "README.md", "allocation", f"{text}\n\n{said}")


if __name__ == "__main__":
    main()
