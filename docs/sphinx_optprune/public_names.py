"""What is public: every name that a room's ``__all__`` lists, and where it is documented.

An object is documented once, under its shortest public name (``optprune.Problem``, not
``optprune.formulation.Problem``), on the page of the first room that lists it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sphinx.pycode import ModuleAnalyzer

TOP = "optprune"

ROOMS = (
    "optprune.formulation",
    "optprune.metrics",
    "optprune.scores",
    "optprune.recovery",
    "optprune.training",
    "optprune.training.assimilation",
    "optprune.search",
    "optprune.optimizers",
    "optprune.compare",
    "optprune.allocation",
    "optprune.dependence",
    "optprune.moments",
    "optprune.surgery",
    "optprune.surgery.rules",
    "optprune.plots",
    "optprune.problems",
    "optprune.problems.digits",
    "optprune.problems.fashion",
    "optprune.problems.regression",
    "optprune.testing",
    "optprune.errors",
    TOP,
)
"""Every room with public names, the one that wins first; what only the top lists comes last."""


REPEATED = {"search", "recover", "fit", "__call__"}
"""What a class only inherits of its protocol says nothing that the protocol does not."""


@dataclass(frozen=True)
class Entry:
    """A public object and where it is documented.

    Parameters
    ----------
    name : str
        Its shortest public name, such as ``optprune.Problem``.
    room : str
        The room on whose page it is.
    kind : str
        ``class``, ``exception``, ``function`` or ``data``.
    value : object
        What the name stands for.
    home : str
        The module that defines it.
    documentation : str
        Its docstring; of data, the text behind its definition.
    """

    name: str
    room: str
    kind: str
    value: Any
    home: str
    documentation: str

    @property
    def short(self) -> str:
        """The name without its room."""
        return self.name.rpartition(".")[2]


@functools.cache
def load(room: str) -> ModuleType:
    """Import a room by the name under which its users know it."""
    if room == "optprune.metrics":
        room = "optprune.formulation.metrics"
    return importlib.import_module(room)


def listed(room: str) -> Iterator[tuple[str, Any]]:
    """Yield the names of a room's ``__all__`` with what they stand for."""
    module = load(room)
    for name in module.__all__:
        yield name, getattr(module, name)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Return all public objects, room after room, modules aside."""
    names: dict[int, list[tuple[str, str]]] = {}
    values: dict[int, Any] = {}
    for room in ROOMS:
        for name, value in listed(room):
            if not is_room(value):
                names.setdefault(id(value), []).append((f"{room}.{name}", room))
                values[id(value)] = value
    found = []
    for key, places in names.items():
        shortest = min((name for name, _ in places), key=lambda name: name.count("."))
        found.append(describe(shortest, places[0][1], values[key]))
    return tuple(found)


def entries_of(room: str) -> tuple[Entry, ...]:
    """Return what is documented on a room's page, in the order of its ``__all__``."""
    return tuple(entry for entry in entries() if entry.room == room)


def is_room(value: Any) -> bool:
    """Tell a module from what is documented by itself; ``op.compare`` is both, and is called."""
    return isinstance(value, ModuleType)


def describe(name: str, room: str, value: Any) -> Entry:
    """Look up kind, home and docstring of an object."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
    else:
        kind = "function" if inspect.isroutine(value) else "data"
    if kind == "data":
        home, documentation = document_of_data(room, name.rpartition(".")[2])
    else:
        home, documentation = value.__module__, inspect.getdoc(value) or ""
    return Entry(name, room, kind, value, home, documentation)


def document_of_data(room: str, name: str) -> tuple[str, str]:
    """Return the module that defines a constant, and the text behind its definition."""
    value = getattr(load(room), name)
    homes = [load(room).__name__]
    homes += sorted(
        home
        for home, module in sys.modules.items()
        if home.startswith("optprune.") and getattr(module, name, None) is value
    )
    for home in homes:
        texts = ModuleAnalyzer.for_module(home).find_attr_docs()
        if ("", name) in texts:
            return home, "\n".join(texts["", name]).strip()
    return homes[0], ""


@functools.cache
def members(owner: type) -> tuple[str, ...]:
    """Return the methods and properties of a class that are worth an entry of their own."""
    found = []
    for name in dir(owner):
        value = inspect.getattr_static(owner, name)
        definer = next(base for base in owner.__mro__ if name in base.__dict__)
        kinds = property | functools.cached_property | classmethod | staticmethod
        if (
            (not name.startswith("_") or name == "__call__")
            and (inspect.isroutine(value) or isinstance(value, kinds))
            and value.__doc__
            and definer.__module__.startswith("optprune")
            and (definer is owner or name not in REPEATED)
        ):
            found.append(name)
    return tuple(found)
