"""The floor table of the house: a room imports only from the floors below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    {"errors"},
    {"meter", "bar", "fingerprint", "device", "folders", "plots"},
    {"surgery"},
    {"split", "losses", "allocation"},
    {"task"},
    {"moments"},
    {"scores", "training", "dependence"},
    {"recovery"},
    {"formulation"},
    {"search"},
    {"optimizers"},
    {"compare"},
    {"problems"},
    {"testing", "cli"},
    {"__main__"},
)
"""Rooms from the ground up; what stands in one line knows nothing of each other.

The task's floor has several: surgery's way to call a network carries split, losses and task.
"""


class Import(NamedTuple):
    """One import statement of a file."""

    line: int
    module: str
    typing_only: bool


def sources() -> dict[str, Path]:
    """Return the files of the package by the names of their modules."""
    found = {}
    for folder, package in (
        (ROOT / "optprune", "optprune"),
        (ROOT / "problems", "optprune.problems"),
    ):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = path
    return found


SOURCES = sources()


def imports(name: str, tree: ast.Module) -> Iterator[Import]:
    """Yield all imports of a module, also those inside functions, one for each name."""
    package = name if SOURCES[name].name == "__init__.py" else name.rpartition(".")[0]

    def walk(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(child.lineno, alias.name, typing_only)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    up = package.split(".")[: len(package.split(".")) - child.level + 1]
                    base = ".".join([*up, base] if base else up)
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    module = full if full in SOURCES else base
                    yield Import(child.lineno, module, typing_only)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                negated = isinstance(child.test, ast.UnaryOp)
                for part in child.body:
                    yield from walk(ast.Module([part], []), typing_only or not negated)
                for part in child.orelse:
                    yield from walk(ast.Module([part], []), typing_only or negated)
            else:
                yield from walk(child, typing_only)

    yield from walk(tree, False)


IMPORTS = {
    name: tuple(imports(name, ast.parse(path.read_text()))) for name, path in SOURCES.items()
}


def room(module: str) -> str:
    """Return the room that a module of the package is in; ``""`` for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def floor(module: str) -> int:
    """Return the floor that a module is on."""
    for number, rooms in enumerate(FLOORS):
        if room(module) in rooms:
            return number
    pytest.fail(f"{module} is in no room of the table: add it to FLOORS and to the design")


def inner() -> list[str]:
    """Return all modules but the public interface, which imports every room."""
    return [name for name in SOURCES if room(name)]


@pytest.mark.parametrize("name", inner())
def test_a_room_imports_only_from_lower_floors(name: str) -> None:
    for line, module, _ in IMPORTS[name]:
        if module.partition(".")[0] != "optprune":
            continue
        where = f"{SOURCES[name].relative_to(ROOT)}:{line} imports {module}"
        assert room(module), f"{where}: inner files import from the room, not from the roof"
        allowed = room(module) == room(name) or floor(module) < floor(name)
        assert allowed, f"{where}, which is not on a lower floor"


def test_files_import_each_other_in_no_circle() -> None:
    # Imports for type checkers never run, so they close no circle.
    edges = {
        name: sorted({i.module for i in IMPORTS[name] if i.module in SOURCES and not i.typing_only})
        for name in inner()
    }
    done: set[str] = set()
    for start in edges:
        path: list[str] = []

        def visit(name: str, path: list[str] = path) -> None:
            if name in path:
                circle = [*path[path.index(name) :], name]
                pytest.fail(f"circle: {' imports '.join(circle)}")
            if name in done or name not in edges:
                return
            path.append(name)
            for other in edges[name]:
                visit(other)
            path.pop()
            done.add(name)

        visit(start)


def test_the_check_sees_imports_inside_functions() -> None:
    name = "optprune.errors"
    tree = ast.parse("def f():\n    from optprune.search import Session\n    import pandas\n")
    assert [i.module for i in imports(name, tree)] == ["optprune.search", "pandas"]


def test_the_check_resolves_relative_imports_and_sees_those_for_type_checkers() -> None:
    tree = ast.parse(
        "if TYPE_CHECKING:\n    from . import metrics\nelse:\n    from .. import task\n"
    )
    found = list(imports("optprune.formulation.metric", tree))
    assert [(i.module, i.typing_only) for i in found] == [
        ("optprune.formulation.metrics", True),
        ("optprune.task", False),
    ]
