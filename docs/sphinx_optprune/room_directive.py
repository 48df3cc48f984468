"""The directive ``.. room:: optprune.scores``: a table of what is there, then all of it.

It reads ``__all__``, so that nothing public can be forgotten.
"""

from __future__ import annotations

import inspect
import re
import typing
from textwrap import indent
from typing import ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from .docstring_references import refer
from .public_names import TOP, Entry, entries, entries_of, is_room, listed, members


class Room(SphinxDirective):
    """Document a room: its docstring, a table of summaries, every public object."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, object]] = {}

    def run(self) -> list[nodes.Node]:
        """Write reStructuredText and have it parsed in place."""
        room = self.arguments[0]
        lines = [*introduction(room), *table(room)]
        for entry in entries_of(room):
            lines += ["", *document(entry)]
        source = f"<room {room}>"
        parent = nodes.Element()
        parent.document = self.state.document
        self.state.nested_parse(StringList(lines, source), self.content_offset, parent)
        return parent.children


def introduction(room: str) -> list[str]:
    """Return the room's own docstring, and what its name is for references."""
    if room == TOP:
        return []
    return [f".. automodule:: {room}", ""]


def table(room: str) -> list[str]:
    """Return the table of all names of a room, those documented elsewhere too."""
    rows = [
        row
        for name, value in listed(room)
        if not is_room(value)
        for row in (
            f"   * - :py:obj:`{name} <{entry_of(value).name}>`",
            f"     - {summary(entry_of(value))}",
        )
    ]
    head = [".. list-table::", "   :widths: 25 75", "   :class: names", ""]
    return [*head, *rows] if rows else []


def entry_of(value: object) -> Entry:
    """Return the entry of an object."""
    return next(entry for entry in entries() if entry.value is value)


def summary(entry: Entry) -> str:
    """Return the first sentence of a docstring, in one line."""
    paragraph = " ".join(entry.documentation.partition("\n\n")[0].split())
    sentence = re.match(r".+?[.!?](?=\s|$)(?<!e\.g\.)(?<!i\.e\.)(?<!et al\.)", paragraph)
    return refer(sentence[0] if sentence else paragraph, entry.name, entry.value, entry.home)


def document(entry: Entry) -> list[str]:
    """Return the directive that documents one object."""
    if entry.kind == "function":
        return [f".. autofunction:: {entry.name}{call(entry)}", ""]
    if entry.kind != "data":
        inside = ", ".join(members(entry.value))
        options = [f"   :members: {inside}", "   :special-members: __call__"] if inside else []
        return [f".. auto{entry.kind}:: {entry.name}", *options, ""]
    text = refer(entry.documentation, entry.name, entry.value, entry.home)
    head = [f".. py:data:: {entry.short}", f"   :module: {entry.name.rpartition('.')[0]}", ""]
    return [*head, *indent(text, "   ").splitlines(), ""]


def call(entry: Entry) -> str:
    """Return how an overloaded function is called, the variants in one; "" for any other."""
    if not typing.get_overloads(entry.value):
        return ""
    signature = inspect.signature(entry.value)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def on_signature(
    _app: Sphinx, _what: str, _name: str, value: object, _options: object, *found: str | None
) -> tuple[str, str | None] | None:
    """Leave out how a protocol would be made: it is not."""
    protocol = inspect.isclass(value) and getattr(value, "_is_protocol", False)
    return ("", None) if protocol or found[0] == "(*args, **kwargs)" else None


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("room", Room)
    app.connect("autodoc-process-signature", on_signature)
