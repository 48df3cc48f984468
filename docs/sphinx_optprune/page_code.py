"""Python code in pages is run, block after block, by Sphinx's doctest builder.

A block marked ``python`` is run as it stands; a block marked ``text`` right behind it is what it
prints. All blocks of a page share their names.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def on_doctree(app: Sphinx, doctree: nodes.document) -> None:
    """Mark the code of a page for the doctest builder."""
    if not app.env.current_document.docname.startswith(app.config.pages_with_code):
        return
    for block in list(doctree.findall(nodes.literal_block)):
        if block.get("language") != "python" or ">>>" in block.astext():
            continue
        mark(block, "testcode")
        following = block.next_node(siblings=True, descend=False)
        if isinstance(following, nodes.literal_block) and following.get("language") == "text":
            mark(following, "testoutput")


def mark(block: nodes.literal_block, kind: str) -> None:
    """Say what a block is to the doctest builder."""
    block["testnodetype"] = kind
    block["groups"] = ["page"]
    block["options"] = {}


def setup(app: Sphinx) -> None:
    """Listen for pages that have been read."""
    app.add_config_value("pages_with_code", ("extending/", "how-to-choose"), "env")
    app.connect("doctree-read", on_doctree)
