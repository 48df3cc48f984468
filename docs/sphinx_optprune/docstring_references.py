"""Single backticks in docstrings: a link where they name something public.

The house writes `Problem`, `Problem.uniform` or `op.metrics.error` as references, and `space` for
a parameter. Names are looked up as the code would: in the class, in its module, in `optprune`.
A method that only says "See `Observation.observe`." of something that has no page takes over what
it says. What does not exist is a warning.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

from .public_names import ROOMS, entries, load, members

logger = logging.getLogger(__name__)

BACKTICKS = re.compile(r":[\w:]+:`[^`]+`|``.+?``|`(?P<text>[^`<>]+)`(?!_)", re.DOTALL)
"""Roles and code first, so that no end of theirs is taken for a beginning."""

SEE = re.compile(r"See `([\w.]+)`\.")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
FOREIGN = {"torch", "nn", "numpy", "np", "scipy", "pandas", "matplotlib", "pymoo", "deap", "cvxpy"}
FOREIGN |= sys.stdlib_module_names


def refer(text: str, name: str, value: Any, home: str) -> str:
    """Replace every single backtick by a link, or by code where there is nothing to link to.

    Parameters
    ----------
    text : str
        Of a docstring.
    name : str
        Whose docstring it is.
    value : object
        What is documented.
    home : str
        The module that defines it.
    """

    def replace(match: re.Match[str]) -> str:
        if match["text"] is None:
            return match[0]
        written = " ".join(match["text"].split())
        if NAME.fullmatch(written) is None:
            return f"``{written}``"
        target = find(written.removesuffix("()"), name, value, home)
        if target is None:
            logger.warning(
                "docstring of %s: `%s` is no public name, no parameter and nothing that its module "
                "knows; correct it, or write it with double backticks",
                name,
                written,
                type="docstring",
            )
        return f":py:obj:`{written} <{target}>`" if target else f"``{written}``"

    return BACKTICKS.sub(replace, text)


def find(written: str, name: str, value: Any, home: str) -> str | None:
    """Return the full name to link to, "" for what is only code, None for what is unknown."""
    head, _, rest = written.partition(".")
    if head in FOREIGN or (not rest and hasattr(builtins, head)):
        return ""
    private = False
    for path in candidates(written, name, value, home):
        if (public := public_name(path, written.rpartition(".")[2])) is not None:
            return public
        private = True
    if private or (not rest and (head in known_words(name, value) or head in all_words())):
        return ""
    return None


def candidates(written: str, name: str, value: Any, home: str) -> Iterator[tuple[Any, ...]]:
    """Yield what a dotted name may stand for: the objects on the way to it, itself last."""
    parts = written.split(".")
    if parts[0] in ("op", "optprune"):
        parts = parts[1:]
    module = importlib.import_module(home)
    spaces = [*owners(name, value), module, *map(load, reversed(ROOMS))]
    if module.__package__ and (package := importlib.import_module(module.__package__)):
        spaces.append(package)
    for space in spaces:
        path: list[Any] = [space]
        for part in parts:
            following = member(path[-1], part)
            if following is MISSING:
                break
            path.append(following)
        else:
            yield tuple(path)


MISSING = object()


def member(space: Any, name: str) -> Any:
    """Return an attribute without running a property; a dataclass's field stands for itself."""
    if inspect.isclass(space):
        found = inspect.getattr_static(space, name, MISSING)
        if found is MISSING and name in fields(space):
            return Field(space, name)
        return found
    return getattr(space, name, MISSING)


class Field:
    """A field of a dataclass or an attribute of which only the docstring tells."""

    def __init__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name


def public_name(path: tuple[Any, ...], last: str) -> str | None:
    """Return under which name an object is documented; "" if it is told of in its class."""
    value, owner = path[-1], path[-2]
    rooms, names = homes()
    if id(value) in names:
        return names[id(value)]
    if inspect.ismodule(value):
        return rooms.get(value.__name__)
    if inspect.isclass(owner) and id(owner) in names:
        return f"{names[id(owner)]}.{last}" if last in members(owner) else ""
    return None


@functools.cache
def homes() -> tuple[dict[str, str], dict[int, str]]:
    """Return the names of rooms by their modules', and of objects by their identity."""
    modules = {load(room).__name__: room for room in ROOMS}
    modules["optprune.compare"] = "optprune.compare.compare"  # a room that is called
    return modules, {id(entry.value): entry.name for entry in entries()}


def owners(name: str, value: Any) -> Iterator[type]:
    """Yield the class that a docstring belongs to: itself, or that of the method."""
    if inspect.isclass(value):
        yield value
    parent = next((e.value for e in entries() if e.name == name.rpartition(".")[0]), None)
    if inspect.isclass(parent):
        yield parent


@functools.cache
def fields(owner: type) -> frozenset[str]:
    """Return the names that a class annotates or that its docstrings list."""
    names: set[str] = set()
    for base in owner.__mro__:
        names.update(inspect.get_annotations(base))
        names.update(documented_words(base.__doc__ or ""))
    return frozenset(names)


def known_words(name: str, value: Any) -> set[str]:
    """Return the parameters of what is documented, and of the class that it belongs to."""
    words = set(documented_words(inspect.getdoc(value) or ""))
    for described in (value, *owners(name, value)):
        if callable(described):
            try:
                words.update(inspect.signature(described).parameters)
            except (TypeError, ValueError):
                continue
    for owner in owners(name, value):
        words |= fields(owner)
    return words


@functools.cache
def all_words() -> frozenset[str]:
    """Return the parameters and members of everything public: words of the house."""
    words: set[str] = set()
    for entry in entries():
        words |= known_words(entry.name, entry.value)
        if inspect.isclass(entry.value):
            words.update(members(entry.value))
    return frozenset(words)


def documented_words(text: str) -> Iterator[str]:
    """Yield the names that stand before a colon in a numpydoc section."""
    for line in text.splitlines():
        if match := re.match(r"\s*([\w*, ]+?) : ", line):
            yield from (word.strip("* ") for word in match[1].split(","))


def on_docstring(
    _app: Sphinx, _what: str, name: str, value: Any, _options: Any, lines: list[str]
) -> None:
    """Make the references of one docstring, before numpydoc reads it."""
    if not lines:
        return
    if inspect.ismodule(value):
        home = value.__name__
    else:
        code = value.fget if isinstance(value, property) else getattr(value, "func", value)
        home = getattr(code, "__module__", None) or "optprune"
    text = "\n".join(lines)
    if (see := SEE.fullmatch(text.strip())) and find(see[1], name, value, home) == "":
        text = inherited(see[1], name, value, home) or text
    lines[:] = refer(text, name, value, home).split("\n")


def inherited(written: str, name: str, value: Any, home: str) -> str:
    """Return the docstring of a method that another one refers to."""
    paths = candidates(written, name, value, home)
    return next((text for path in paths if (text := inspect.getdoc(path[-1]))), "")


def setup(app: Sphinx) -> None:
    """Listen to autodoc."""
    app.connect("autodoc-process-docstring", on_docstring, priority=100)
