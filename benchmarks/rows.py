"""Benchmarks of named rows, of which each is measured once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
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

Row = dict[str, Any]


def measure_rows(
    name: str,
    description: str,
    rows: Mapping[str, Callable[[], Row]],
    packages: Sequence[str],
    report: Callable[[dict[str, Row]], str],
) -> None:
    """Measure the rows that are missing, print all, and write them.

    Parameters
    ----------
    name : str
        Of the file of results, and of the section of the README.
    description : str
        For ``--help``.
    rows : mapping of str to callable
        Measure a row. Each is written as soon as it is there, so that an interrupted run goes on.
    packages : sequence of str
        Distributions whose versions are told.
    report : callable
        Writes the text for all rows that there are.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="names, or how they begin")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [each for each in rows if each.startswith(tuple(options.only or [""]))]
    console = Console()
    for each in [] if options.show else chosen:
        if each in read_json(name).get("rows", {}) and not options.again:
            continue
        with console.status(each):
            row = rows[each]()
        known = read_json(name).get("rows", {})  # another process may have measured others
        write_json(name, {"environment": environment(packages), "rows": {**known, each: row}})
    found = read_json(name)
    text = report(found["rows"])
    console.print(Markdown(text))
    write_section(HERE / "README.md", name, f"{text}\n\n{measured_with(found['environment'])}")
