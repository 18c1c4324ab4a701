"""Sphinx builds the documentation from these pages, the docstrings, the commands and the settings: `make docs`.

Nothing is fetched while it builds, and the pages load nothing from elsewhere. A link or an anchor that leads nowhere
is a warning, which `make docs` makes an error.
"""

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from docstrings import as_restructured_text  # noqa: E402  (found by the path above)
from generated import fill_in  # noqa: E402

project = "pamela-steer"
author = "The pamela-steer authors"
project_copyright = "Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
highlight_language = "none"

autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "__init__"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
toc_object_entries = False

html_theme = "furo"
html_title = "pamela-steer"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#8cc4ee", "color-brand-content": "#8cc4ee"},
}


def _fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = fill_in(source[0])


def _rewrite(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    lines[:] = as_restructured_text(lines)


def setup(app: Sphinx) -> None:
    """Sphinx calls this by its name."""
    app.connect("source-read", _fill_in)
    app.connect("autodoc-process-docstring", _rewrite)
