"""Which networks can be pruned, how far, and whether what comes out is right.

Run ``python benchmarks/coverage.py``. Every network of `networks.ENTRIES` is measured with
optprune and with Torch-Pruning, each network and tool in a process of its own with one thread, 60
seconds (and 120 for exporting). Writes ``benchmarks/results/coverage.json`` row by row
(``--resume`` goes on where a run was stopped), prints a table, and puts it between the markers of
``benchmarks/README.md``, and a shorter one between those of ``README.md``.

About half of every group's units is removed at random. Then asked: does the network run with
outputs of the same shapes; in float64, does it compute what the dense network computes with these
units at zero (optprune only: Torch-Pruning does not return what it removed); does a step of
training work; is it the same after saving and loading; do ``torch.export`` and ONNX Runtime compute
the same. The prunable share is the part of the MACs that goes when every group keeps one unit.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from networks import ENTRIES, Entry, find
from networks.journal import Journal, Row, described
from reporting import write_section

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "coverage.json"
READMES = (HERE / "README.md", HERE.parent / "README.md")

OURS, PEER = "optprune", "torch-pruning"
LIMITS = {"start": 180.0, "measure": 60.0, "export": 120.0}
"""Seconds of each phase; building the network (``"start"``) is on nobody's account."""


def work(name: str, tool: str, folder: Path, export: bool, memory: float) -> None:
    """Measure one network with one tool in this process."""
    for stream, target in ((1, os.devnull), (2, str(folder / "stderr.txt"))):
        place = os.open(target, os.O_WRONLY | os.O_CREAT)
        os.dup2(place, stream)
        os.close(place)
    try:
        import resource
    except ImportError:
        pass
    else:
        limit = int(memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    journal = Journal(folder / "row.jsonl")
    with journal.step("network"):
        if tool == OURS:
            from networks.with_optprune import measure_ours as measure
        else:
            import timm
            from networks.with_torch_pruning import measure_peer as measure

            timm.layers.set_fused_attn(False)  # as its own example for timm does
        measure(find(name), journal, export)
    journal.phase("done")


@dataclass
class Job:
    """A running measurement."""

    entry: Entry
    tool: str
    process: multiprocessing.process.BaseProcess
    folder: tempfile.TemporaryDirectory[str]
    began: float = field(default_factory=time.monotonic)
    phase: str = "start"
    position: int = 0
    step: str = ""
    row: Row = field(default_factory=lambda: {"errors": {}})

    @property
    def path(self) -> Path:
        """The file that the process writes to."""
        return Path(self.folder.name) / "row.jsonl"

    def read(self) -> None:
        """Read what the process has written since."""
        if not self.path.exists():
            return
        with self.path.open() as file:
            file.seek(self.position)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self.position += len(line.encode())
                found = json.loads(line)
                self.row = found.get("row", self.row)
                self.step = found.get("step", self.step)
                if "phase" in found:
                    self.phase, self.began = found["phase"], time.monotonic()

    def ended(self) -> str | None:
        """Return how it ended, or None while it goes on."""
        running = self.process.is_alive()
        self.read()
        if self.phase == "done":
            return "ok"
        if not running:
            return "crashed"
        if time.monotonic() - self.began > LIMITS[self.phase]:
            self.process.kill()
            return "timeout"
        return None

    def finish(self, ending: str) -> Row:
        """Clean up and return the row."""
        self.process.kill()
        self.process.join()
        errors = dict(self.row["errors"])
        if ending == "crashed":
            text = (Path(self.folder.name) / "stderr.txt").read_text(errors="replace").strip()
            code = self.process.exitcode
            last = text.splitlines()[-1] if text else "nothing on standard error"
            errors[self.step] = described(RuntimeError(f"exit code {code}: {last}"))
        elif ending == "timeout":
            errors[self.step] = f"over {LIMITS[self.phase]:.0f} s"
        elif any("allocate memory" in text or "MemoryError" in text for text in errors.values()):
            ending = "memory"
        elif "network" in errors:
            ending = "error"
        measured = self.phase in ("export", "done")
        self.folder.cleanup()
        return {
            "network": self.entry.name,
            "tool": self.tool,
            "source": self.entry.source,
            "kind": self.entry.kind,
            "family": self.entry.family,
            "size": list(self.entry.size),
            "representative": self.entry.representative,
            "status": "ok" if measured and ending in ("timeout", "crashed") else ending,
            "export_status": ending if self.phase == "export" or "exported" in self.row else None,
            **{key: value for key, value in self.row.items() if key != "errors"},
            "errors": errors,
        }


@cache
def context() -> Any:
    """Return how processes are started: forked from a server that has imported everything."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    os.environ.update(threads)
    # What a process frees stays with it (glibc): to get gigabytes anew from the system may take
    # longer than to compute with them, and has nothing to do with either tool.
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**36))
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["networks.preloaded"])
    return found


def start(entry: Entry, tool: str, export: bool, memory: float) -> Job:
    """Start measuring a network with a tool."""
    folder = tempfile.TemporaryDirectory()
    arguments = (entry.name, tool, Path(folder.name), export, memory)
    process = context().Process(target=work, args=arguments)
    process.start()
    return Job(entry, tool, process, folder)


def run(
    wanted: list[tuple[Entry, str]],
    jobs: int,
    export: bool,
    memory: float,
    done: Callable[[Row], None],
) -> None:
    """Measure all, some at a time, and hand each row over when it is there."""
    waiting, running = list(reversed(wanted)), list[Job]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(start(*waiting.pop(), export, memory))
            for job in list(running):
                ending = job.ended()
                if ending is not None:
                    running.remove(job)
                    done(job.finish(ending))
            time.sleep(0.1)
    finally:
        for job in running:
            job.process.kill()
            job.process.join()
            job.folder.cleanup()


def versions() -> dict[str, Any]:
    """Say what the figures were measured with."""
    found: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count()}
    packages = ("torch", "torchvision", "timm", "torch-pruning", "optprune")
    for name in (*packages, "onnx", "onnxruntime", "onnxscript", "onnx2torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def write_json(path: Path, rows: dict[tuple[str, str], Row]) -> None:
    """Write all rows; the file is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {entry.name: index for index, entry in enumerate(ENTRIES)}
    ordered = sorted(rows.values(), key=lambda row: (order.get(row["network"], 0), row["tool"]))
    document = {"environment": versions(), "limits": LIMITS, "rows": ordered}
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(temporary, path)


COLUMNS = {
    "traced": ("traced",),
    "cut": ("cut",),
    "runs": ("runs",),
    "exact": ("exact",),
    "trains": ("trains",),
    "saves": ("saved",),
    "MACs": ("macs_equal",),
    "exports": ("exported", "onnx"),
}
OURS_ONLY = ("exact", "saves", "MACs")
"""Columns that Torch-Pruning is not asked."""


def summary(label: str, tool: str, rows: list[Row]) -> list[str]:
    """Return one line of the table."""
    cells = [label, tool, str(len(rows))]
    rows = [{**row, "macs_equal": row.get("macs_difference", 1) < 1e-9} for row in rows]
    for column, keys in COLUMNS.items():
        if tool == PEER and column in OURS_ONLY:
            cells.append("–")
            continue
        asked = keys[:1] if tool == PEER else keys
        known = [row for row in rows if any(row.get(key) is not None for key in asked)]
        good = sum(all(row.get(key) is True for key in asked) for row in rows)
        measured = len(known) == len(rows) or column != "exports"
        cells.append(str(good) if measured else f"{good} of {len(known)}")
    shares = [row.get("prunable_share") or 0.0 if row.get("runs") else 0.0 for row in rows]
    cells.append(f"{statistics.median(shares):.0%}")
    cells.append(f"{sum(share < 0.5 for share in shares) / len(shares):.0%}")
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    over = sum(row["status"] == "timeout" for row in rows)
    cells.append(f"{statistics.median(seconds):.1f}" if seconds else "–")
    cells.append(f"{max(seconds):.0f}" if seconds else "–")
    cells.append(str(over))
    return cells


def table(rows: list[Row], label_of: Callable[[Row], str]) -> str:
    """Write the summary in Markdown: two lines for every kind of network, and two for all."""
    header = ["networks", "tool", "number", *COLUMNS]
    header += ["median prunable share", "share below 50 %", "median s", "longest s", "over 60 s"]
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    labels: dict[str, list[Row]] = {}
    for row in rows:
        labels.setdefault(label_of(row), []).append(row)
    labels["all"] = rows
    lines = [header, rule]
    for label, members in labels.items():
        for tool in (OURS, PEER):
            of_tool = [row for row in members if row["tool"] == tool]
            if of_tool:
                lines.append(summary(label, tool, of_tool))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


NOTES = """\
*Cut* removes about half of every group's units, at random (Torch-Pruning: by magnitude). *Exact*:
removed computes what zeroed computes, relative difference below 1e-8 in float64; Torch-Pruning
does not return what it removed, so this is not measured there. *Trains*: a forward and a backward
pass in training mode and a step. *Saves*: saved and loaded, it computes the same. *MACs*: the
polynomial equals what torch's `FlopCounterMode` counts on the smaller network. *Exports*:
`torch.export` and ONNX Runtime compute the same within 1e-3 in float32 (Torch-Pruning:
`torch.export` only); "of" tells how many of the networks that was measured for. *Prunable share*:
the part of the MACs that goes when every group keeps one unit; zero for a network that does not run
after the cut. *Share below 50 %*: the part of the networks whose prunable share is smaller.
*Median s*, *longest s*: processor time of tracing with verification (Torch-Pruning: dependency
graph and pruning), of those that ended. *Over 60 s*: ended by the limit, which holds for all
columns before the export."""


def section(rows: list[Row], found: dict[str, Any]) -> str:
    """Write what stands between the markers."""
    over = [f"{row['network']} ({row['tool']})" for row in rows if row["status"] != "ok"]
    by_kind = table(rows, lambda row: f"{row['source']}, {row['kind']}")
    text = f"{by_kind}\n\n{NOTES}\n\n"
    for key, exporter in (("dense_exported", "`torch.export`"), ("dense_onnx", "ONNX export")):
        alone = [row["network"] for row in rows if row.get(key) is False]
        if alone:
            names = ", ".join(dict.fromkeys(alone))
            text += f"{exporter} does not take the dense network either: {names}.\n\n"
    if over:
        text += f"Over the limit of time or memory, or crashed: {', '.join(over)}.\n\n"
    measured = ", ".join(f"{name} {value}" for name, value in found.items() if value)
    return f"{text}Measured with: {measured}, one thread a network.\n"


def short_section(rows: list[Row]) -> str:
    """Write what stands between the markers of the project's README."""
    number = len({row["network"] for row in rows})
    return (
        f"Surgery on {number} networks with random weights, all of torchvision for classification "
        "and segmentation among\nthem and every family of timm: about half of every group's "
        "channels removed, with optprune and with\nTorch-Pruning, each in a process of its own "
        "with one thread and 60 seconds. `python benchmarks/coverage.py`\nprints this table; "
        "[benchmarks/README.md](benchmarks/README.md#coverage) has every kind of network and "
        f"says what the\ncolumns mean.\n\n{table(rows, lambda row: row['source'])}\n"
    )


def progress(row: Row, index: int, total: int) -> str:
    """Write one line about a row."""
    wrong = [key for keys in COLUMNS.values() for key in keys if row.get(key) is False]
    share = row.get("prunable_share")
    text = f"[{index}/{total}] {row['network']} {row['tool']}: {row['status']}"
    if share is not None:
        text += f", prunable {share:.0%}"
    if row["export_status"] not in (None, "ok"):
        text += f", export {row['export_status']}"
    for key in wrong:
        text += f"\n    not {key}: {row['errors'].get(key, '')[:160]}"
    return text


def chosen(arguments: argparse.Namespace) -> list[Entry]:
    """Return the networks that were asked for."""
    patterns = arguments.only or ["*"]
    return [
        entry
        for entry in ENTRIES
        if any(fnmatch.fnmatch(entry.name, pattern) for pattern in patterns)
        and (entry.representative or not arguments.representative)
    ]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="names of networks")
    parser.add_argument("--tool", default="both", choices=["ours", "peer", "both", OURS, PEER])
    parser.add_argument("--no-export", action="store_true", help="leave exporting out")
    parser.add_argument("--representative", action="store_true", help="the small ones only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows go")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--dry", action="store_true", help="do not write the READMEs")
    parser.add_argument("--memory", type=float, default=16, help="GiB that a process may take")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    arguments = parse()
    export = not arguments.no_export
    tools = {"ours": [OURS], "peer": [PEER], "both": [OURS, PEER]}.get(
        arguments.tool, [arguments.tool]
    )
    rows: dict[tuple[str, str], Row] = {}
    if arguments.resume and arguments.out.exists():
        for row in json.loads(arguments.out.read_text())["rows"]:
            rows[row["network"], row["tool"]] = row
    wanted = [
        (entry, tool)
        for entry in chosen(arguments)
        for tool in tools
        if (entry.name, tool) not in rows
        or (
            export
            and rows[entry.name, tool].get("runs")
            and "exported" not in rows[entry.name, tool]
        )
    ]
    finished = 0

    def done(row: Row) -> None:
        nonlocal finished
        finished += 1
        rows[row["network"], row["tool"]] = row
        write_json(arguments.out, rows)
        print(progress(row, finished, len(wanted)), flush=True)

    run(wanted, arguments.jobs, export, arguments.memory, done)
    if not rows:
        raise SystemExit("no network has such a name")
    ordered = json.loads(arguments.out.read_text())["rows"]
    texts = (section(ordered, versions()), short_section(ordered))
    for path, text in zip(READMES, texts, strict=True):
        print(f"\n{text}")
        if not arguments.dry:
            write_section(path, "coverage", text.rstrip())


if __name__ == "__main__":
    main()
