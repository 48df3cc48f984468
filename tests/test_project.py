"""What pyproject.toml says is true."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_installed() -> None:
    folders = {path.parent for path in (ROOT / "optprune").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names | {"optprune.problems"}


def test_every_data_file_of_the_problems_is_installed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["optprune.problems"]
    folder = ROOT / "problems"
    installed = {path for pattern in patterns for path in folder.glob(pattern)}
    data = {
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data
    assert data <= installed


def test_shipped_weights_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "problems" / "weights").iterdir()}
    assert max(sizes.values()) < 1_250_000, sizes
    assert sum(sizes.values()) < 4_000_000, sizes
