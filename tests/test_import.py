"""Importing optprune is quick: nothing is loaded before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import optprune as op

HEAVY = ("cvxpy", "deap", "filterpy", "matplotlib", "pandas", "pymoo", "sklearn")


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after some code."""
    text = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_optprune_loads_no_library_at_all() -> None:
    loaded = loaded_by("import optprune; dir(optprune)")
    assert "optprune" in loaded
    assert loaded.isdisjoint({*HEAVY, "torch", "numpy", "scipy"})


def test_using_every_public_name_loads_no_heavy_library() -> None:
    loaded = loaded_by("import optprune\nfor name in dir(optprune): getattr(optprune, name)")
    assert "torch" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", dir(op))
def test_every_name_that_dir_lists_is_there(name: str) -> None:
    assert getattr(op, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'prune'"):
        _ = op.prune  # type: ignore[attr-defined]


def test_the_names_for_type_checkers_are_those_that_are_loaded() -> None:
    spec = find_spec("optprune")
    assert spec is not None
    assert spec.origin is not None
    declared = {}
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.Import | ast.ImportFrom)
                for alias in statement.names:
                    name = alias.asname or alias.name
                    module = getattr(statement, "module", alias.name.rpartition(".")[0])
                    declared[name] = module
    assert declared == op._HOME
    assert sorted(declared) == sorted(op.__all__)
