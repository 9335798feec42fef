"""How Sphinx builds these pages: ``python -m sphinx -W --keep-going docs docs/_build``."""

# ruff: noqa: INP001

from __future__ import annotations

import re
from importlib.metadata import metadata
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

PACKAGE = metadata("flask_sse_push")
version = release = PACKAGE["Version"]
REPOSITORY = dict(url.split(", ") for url in PACKAGE.get_all("Project-URL", [])).get("Source", "")

project = "flask_sse_push"
extensions = ["myst_parser", "sphinx.ext.autodoc", "pallets_sphinx_themes"]
exclude_patterns = ["_build"]

html_theme = "flask"
html_title = f"{project} {version}"
html_sidebars = {"**": ["localtoc.html", "relations.html", "searchbox.html"]}
html_show_copyright = False
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
# The theme's banner asks the package index for the newest version, from the reader's browser.
version_banner = False

# The anchors that repository browsers give to headings, so that one link works in both.
myst_heading_anchors = 4

autodoc_typehints = "none"  # the docstrings have the types
autodoc_member_order = "bysource"
GOOGLE_STYLE = Config(napoleon_custom_sections=[("See", "notes_style")])


def adapt_page(_: Sphinx, page: str, source: list[str]) -> None:
    """Make a page that is right in a repository browser right here too."""
    text = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./([^)]+)\)", link_to_repository, source[0])
    if page == "index":
        text += navigation(text)
    if page == "changes":
        text += "\n```{include} ../CHANGELOG.md\n:heading-offset: 1\n```\n"
    source[0] = text


def link_to_repository(link: re.Match[str]) -> str:
    """Link to a file outside of this folder at the repository's address, or show its name."""
    words, path = link.groups()
    return f"[{words}]({REPOSITORY}/blob/v{release}/{path})" if REPOSITORY else words


def navigation(text: str) -> str:
    """Make the tables of contents from the lists of links on the first page."""
    tables = ""
    for section in text.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        pages = re.findall(r"^- \[.+?\]\((.+?)\.(?:md|rst)\)", section, re.MULTILINE)
        tables += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```\n"])
    return tables


def read_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Read Google style, but not in attributes, where "What it is: more of it" would become a type."""
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines, GOOGLE_STYLE, app, what, name, thing, options).lines()


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", adapt_page)
    app.connect("autodoc-process-docstring", read_docstring)
