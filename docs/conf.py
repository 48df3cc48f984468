"""How the documentation is built: ``make docs``."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpydoc.xref  # noqa: E402
from numpydoc.docscrape_sphinx import SphinxDocString  # noqa: E402
from sphinx_optprune.notebooks import copy_notebooks  # noqa: E402
from sphinx_optprune.public_names import entries  # noqa: E402

copy_notebooks(HERE.parent / "notebooks", HERE / "notebooks")

project = "optprune"
author = "the authors of optprune"
copyright = "the authors of optprune, Apache-2.0"
version = release = version_of("optprune")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_optprune",
]
exclude_patterns = ["sphinx_optprune"]
nitpicky = True
html_theme = "furo"
html_title = f"optprune {version}"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"

default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

_load, _template = SphinxDocString.load_config, SphinxDocString("").template
SphinxDocString.load_config = lambda self, config: _load(self, {**config, "template": _template})
"""One template for all docstrings; numpydoc would compile it a thousand times."""
numpydoc.xref.DEFAULT_LINKS.clear()  # to Python's and numpy's own pages: the build needs no network
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {entry.short: entry.name for entry in reversed(entries())}

doctest_global_setup = """
import os, tempfile
os.chdir(tempfile.mkdtemp())
"""
