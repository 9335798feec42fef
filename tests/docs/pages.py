"""The pages as the tests read them: blocks of code, tables, headings, links."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "TAKEN", "Block", "Page", "all_pages", "page"]

ROOT = Path(__file__).parents[2]

TAKEN = set()
"""The blocks that tests have asked for: at import, so that a block without a test is seen."""


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    section: str
    language: str
    code: str


class Page:
    """
    One Markdown file of the checkout.

    Args:
        path (str): From the root of the checkout.
    """

    def __init__(self, path):
        self.path = path
        self.file = ROOT / path
        self.text = self.file.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.blocks = list(self._find_blocks())

    def _find_blocks(self):
        section, language, lines = "", None, []
        for line in self.lines:
            if language is not None and line == "```":
                yield Block(self.path, section, language, "\n".join(lines) + "\n")
                language, lines = None, []
            elif language is not None:
                lines.append(line)
            elif line.startswith("```"):
                language = line.removeprefix("```")
            elif line.startswith("## "):
                section = line.removeprefix("## ")
        assert language is None, f"a block of {self.path} has no end: {lines[:1]}"

    def block(self, section, language, begins=""):
        """Return the code of a section's one block in a language that begins so; it counts as tested."""
        [found] = [
            block
            for block in self.blocks
            if (block.section, block.language) == (section, language) and block.code.startswith(begins)
        ]
        TAKEN.add(found)
        return found.code

    @property
    def prose(self):
        """The text without its blocks of code."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)

    @property
    def links(self):
        """The targets of all links and pictures."""
        return re.findall(r"\]\(([^)]+)\)", re.sub(r"`[^`]*`", "", self.prose))

    @property
    def anchors(self):
        """What a link may name behind its ``#``: the headings as a repository browser calls them."""
        return {
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in self.prose.splitlines()
            if line.startswith("#")
        }

    def tables(self, header):
        """Return the rows of each table whose header begins so, each as a list of cells."""
        for number, line in enumerate(self.lines):
            if line.startswith(header):
                rows = []
                for row in self.lines[number + 2 :]:
                    if not row.startswith("|"):
                        break
                    rows.append([cell.strip() for cell in row.strip("|").split("|")])
                yield rows

    def table(self, header):
        """Return the rows of the one table whose header begins so."""
        [rows] = self.tables(header)
        return rows


@functools.cache
def page(path):
    """Return a page, read once."""
    return Page(path)


def all_pages():
    """Return the pages whose code, links and words are tested."""
    names = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "docs").glob("*.md"))]
    return [page(name) for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", *names)]
