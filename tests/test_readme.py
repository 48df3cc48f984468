"""The code of the README runs as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import optprune as op

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)  # dataclasses look their module up
    there: dict[str, Any] = module.__dict__
    for block in blocks:
        exec(compile(block, str(README), "exec", dont_inherit=True), there)
    result, small = there["result"], there["small"]
    assert len(result.log) == 600
    assert sum(p.numel() for p in there["smallest"].parameters()) < sum(
        p.numel() for p in small.parameters()
    )
    assert there["half"](torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    for target, allocation in there["allocated"].items():
        costs = there["problem"].graph.costs
        assert allocation.costs["macs"] <= target * costs.macs.dense
        assert allocation.costs["parameters"] <= 0.5 * costs.parameters.dense
    assert there["report"].ensemble is not None
    assert float(there["curve"].loss(there["outputs"], there["curve"].validation.labels)) < 1e-4
    repaired = there["repaired"].log
    assert (repaired["macs"] <= np.array([0.5, 0.3, 0.1])).all()
    assert (repaired["error"] < 0.08).all()
    assert (tmp_path / "run.db").exists()
    assert small(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    problem = op.problems.digits.problem(
        space=op.Widths(step=4, score=there["KeepFirst"]()),
        recovery=there["Shrink"](),
        objectives=[op.metrics.error, there["widest"]],
    )
    own = op.solve(problem, there["Coin"](), evaluations=20, seed=0, progress=False)
    assert not own.log["failed"].any()
    assert own.log["widest"].between(4, 64).all()


def test_what_the_readme_shows_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert links
    for path, _, anchor in links:
        target = README.parent / path
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
