"""What the documentation needs from Sphinx beyond its own extensions.

Reference pages that list a room by its ``__all__``, docstrings whose single backticks are
references, and pages whose Python code is run.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from . import docstring_references, page_code, room_directive


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    room_directive.setup(app)
    docstring_references.setup(app)
    page_code.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
