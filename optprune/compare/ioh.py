"""Comparisons in the format of IOHexperimenter, which IOHanalyzer reads.

A folder for each optimizer holds one file of JSON for each problem (``IOHprofiler_f1_name.json``)
and beside it the runs (``data_f1_name/IOHprofiler_f1_DIM3.dat``): for each run a line of column
names, then a line for each improvement.

References
----------
J. de Nobel, F. Ye, D. Vermetten, H. Wang, C. Doerr, T. Bäck, 2024, "IOHexperimenter: benchmarking
platform for iterative optimization heuristics", Evol. Comput. 32(3):205-210,
DOI 10.1162/evco_a_00342.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optprune.folders import whole_folder

if TYPE_CHECKING:
    from optprune.compare.anytime import Trajectories, Trajectory
    from optprune.compare.comparison import Comparison

__all__ = ["write_ioh"]

_MARK = "optprune.json"
_VERSION = "0.3.5"
"""The version of IOHexperimenter of which this is the format."""


def write_ioh(comparison: Comparison, folder: Path, measure: str | None) -> Path:
    """Write a comparison; see `Comparison.to_ioh`."""
    with whole_folder(folder, _MARK) as work:
        written = {}
        for number, problem in enumerate(comparison.problems, start=1):
            found = comparison.trajectories(problem, measure=measure)
            written[problem] = {"function_id": number, "measure": found.measure}
            for optimizer in found.optimizers:
                own = work / _plain(optimizer, list(comparison.optimizers))
                own.mkdir(exist_ok=True)
                _write_problem(own, comparison, found, number, optimizer)
        document = {"problems": written, "optimizers": list(comparison.optimizers)}
        (work / _MARK).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return folder


def _write_problem(
    folder: Path, comparison: Comparison, found: Trajectories, number: int, optimizer: str
) -> None:
    """Write the runs of one optimizer on one problem."""
    name = _plain(found.problem, list(comparison.problems))
    dimension = len(comparison.problems[found.problem].groups)
    path = f"data_f{number}_{name}/IOHprofiler_f{number}_DIM{dimension}.dat"
    lines: list[str] = []
    runs = []
    for instance, run in enumerate((r for r in found.runs if r.optimizer == optimizer), start=1):
        if steps := _steps(run):
            lines += ["evaluations raw_y", *(f"{cost} {value!r}" for cost, value in steps)]
            runs.append(_described(run, instance, steps))
    if not runs:  # a file without runs cannot be read
        return
    document: dict[str, Any] = {
        "version": _VERSION,
        "suite": "optprune",
        "function_id": number,
        "function_name": name,
        "maximization": found.direction == "maximize",
        "algorithm": {
            "name": optimizer,
            "info": comparison.optimizers[optimizer].configuration,
        },
        "attributes": ["evaluations", "raw_y"],
        "scenarios": [{"dimension": dimension, "path": path, "runs": runs}],
    }
    (folder / path).parent.mkdir()
    (folder / path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / f"IOHprofiler_f{number}_{name}.json").write_text(
        json.dumps(document, indent=1), encoding="utf-8"
    )


def _steps(run: Trajectory) -> list[tuple[int, float]]:
    """Return evaluations and value at the beginning, at each improvement, and at the end."""
    steps = [(int(c), float(v)) for c, v in zip(run.costs, run.values, strict=True)]
    if math.isfinite(run.start) and run.end >= 1 and (not steps or steps[0][0] > 1):
        steps.insert(0, (1, run.start))
    if steps and int(run.end) > steps[-1][0]:
        steps.append((int(run.end), steps[-1][1]))
    return steps


def _described(run: Trajectory, instance: int, steps: list[tuple[int, float]]) -> dict[str, Any]:
    """Return what the file of JSON says about a run."""
    value = steps[-1][1]
    best = {"evals": next(cost for cost, v in steps if v == value), "y": value, "x": []}
    return {"instance": instance, "evals": int(run.end), "best": best, "seed": run.seed}


def _plain(name: str, among: list[str]) -> str:
    """Return a name that may be a file's; different names stay different."""
    plain = [re.sub(r"[^A-Za-z0-9.]+", "-", each).strip("-.") or "unnamed" for each in among]
    place = among.index(name)
    taken = plain[:place].count(plain[place])
    return f"{plain[place]}-{taken + 1}" if taken else plain[place]
