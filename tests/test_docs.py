"""The documentation: all that is public is there, its code runs, its links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from check_links import broken_links
from sphinx.util.inventory import InventoryFile
from sphinx_optprune.docstring_references import find
from sphinx_optprune.public_names import ROOMS, entries, is_room, listed

import optprune as op
from optprune.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in (DOCS / "extending").glob("*.md") if path.stem != "index")
EXAMPLES = sorted(
    path
    for folder in (ROOT / "optprune", ROOT / "problems")
    for path in folder.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
NOT_FOR_USERS = {"optprune.cli", "optprune.surgery.modules"}
"""Packages without a page: the command, and the modules that stand in a narrowed network."""


def code(page: Path, language: str = "python") -> list[str]:
    """Return the blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_passes_its_check(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses look their module up
    for block in code(page):
        exec(compile(block, str(page), "exec", dont_inherit=True), module.__dict__)
    assert [name for name in vars(module) if name.startswith("check_")]
    assert list(tmp_path.iterdir()) == []


def test_each_axis_has_a_page_with_its_check() -> None:
    for kind in ("metric", "optimizer", "space", "score", "recovery", "trainer"):
        checked = f"check_{kind}"
        assert callable(getattr(op.testing, checked))
        assert any(f"\n{checked}(" in block for block in code(DOCS / "extending" / f"{kind}.md"))


def test_what_the_page_on_plug_ins_installs_is_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = DOCS / "extending" / "plug-ins.md"
    (said,), (package, *_) = code(page, "toml"), code(page)
    folder = tmp_path / "my_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    groups = tomllib.loads(said)["project"]["entry-points"]
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "my_package.py").write_text(package)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    try:
        assert main(["plugins"]) == 0
        printed = capsys.readouterr().out
        for points in groups.values():
            for name, target in points.items():
                assert re.search(rf"^ *{name} +{target}, my-package 1.0$", printed, re.MULTILINE)
        (commands,) = code(page, "console")
        (solve,) = [line for line in commands.splitlines() if line.startswith("optprune solve")]
        assert main(solve.split()[1:]) == 0
        assert (tmp_path / "run").is_dir()
    finally:
        sys.modules.pop("my_package", None)


def test_the_first_page_shows_the_ten_lines_of_the_readme() -> None:
    (ten,) = code(DOCS / "index.md")
    assert ten == code(ROOT / "README.md")[0]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_in_docstrings_run(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = importlib.import_module(name if name.startswith("optprune") else f"optprune.{name}")
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


class TestReference:
    def test_every_public_name_is_in_it(self) -> None:
        documented = {id(entry.value) for entry in entries()}
        for package in packages():
            for name in package.__all__:
                value = getattr(package, name)
                assert id(value) in documented or is_room(value), f"{package.__name__}.{name}"

    def test_every_room_has_a_page(self) -> None:
        pages = {path.stem: path.read_text() for path in (DOCS / "reference").glob("*.rst")}
        shown = re.findall(r"^\.\. room:: (\S+)$", "\n".join(pages.values()), re.MULTILINE)
        assert sorted(shown) == sorted(ROOMS)
        for page in pages.keys() - {"index"}:
            assert f"\n   {page}\n" in pages["index"]

    def test_everything_has_one_place_and_a_summary(self) -> None:
        names = [entry.name for entry in entries()]
        assert len(names) == len(set(names))
        assert [entry.name for entry in entries() if not entry.documentation] == []

    def test_a_name_is_linked_to_where_it_is_documented(self) -> None:
        own = ("optprune.solve", op.solve, "optprune.search.solve")
        assert find("Problem", *own) == "optprune.Problem"
        assert find("op.metrics.error", *own) == "optprune.metrics.error"
        assert find("ESMDA.fit", *own) == find("optprune.training.ESMDA.fit", *own)
        assert find("Problem.uniform", *own) == "optprune.Problem.uniform"
        assert find("evaluations", *own) == ""  # a parameter
        assert find("torch.compile", *own) == ""
        assert find("Problem.unifrom", *own) is None
        assert find("no_such_name", *own) is None


def packages() -> Iterator[ModuleType]:
    """Yield every package with public names, and the top itself."""
    listing = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for name in sorted(set(listing) - NOT_FOR_USERS):
        yield importlib.import_module(name)
    for room in ROOMS:
        for _, value in listed(room):
            if is_room(value):
                yield value


def test_every_relative_link_leads_somewhere() -> None:
    assert broken_links(ROOT) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(
        "# Two words\n[a](#two-words) [b](#three-words) [c](../README.md) [d](https://e.org)\n"
        "```python\nx = y[0](missing)\n```\n"
    )
    (tmp_path / "README.md").write_text("# It\n[e](docs/page.md#two-words) [f](docs/gone.md)\n")
    assert broken_links(tmp_path) == ["README.md: docs/gone.md", "docs/page.md: #three-words"]


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    built = tmp_path / "built"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), str(DOCS), str(built)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with (built / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    known = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    assert {entry.name for entry in entries()} <= known
    assert version("optprune") in (built / "index.html").read_text()
