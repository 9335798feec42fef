"""The pages that Sphinx builds."""

import re
import sys

import pytest

from tests.needs import needs
from tests.package.conftest import ROOT, run


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The built pages. A warning of Sphinx is an error, for instance a link that leads nowhere."""
    needs(modules=["sphinx", "myst_parser", "pallets_sphinx_themes"])
    folder = tmp_path_factory.mktemp("html")
    run(
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        folder / "doctrees",
        "docs",
        folder,
        cwd=ROOT,
    )
    return folder


def test_documentation_has_every_page(built):
    """Each page is built, has a title, and asks for nothing from another host."""
    for source in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.rst")]:
        html = (built / f"{source.stem}.html").read_text(encoding="utf-8")
        assert "<h1>" in html
        assert re.findall(r'(?:src|<link[^>]*href)="https?:[^"]*"', html) == []


def test_documentation_tells_of_arguments(built):
    """The reference has the arguments and errors of a docstring, each in its place."""
    html = (built / "reference.html").read_text(encoding="utf-8")
    assert 'id="flask_sse_push.SSEPush.publish"' in html
    assert "<strong>idempotency_key</strong> (<em>str" in html
    assert re.search(r"Raises<span class=\"colon\">:</span></dt>", html)
    assert "Args:" not in html


def test_documentation_links_between_pages(built):
    """A link to a heading of another page has its target there."""
    pages = {file.name: file.read_text(encoding="utf-8") for file in built.glob("*.html")}
    links = {
        (name, target or name, anchor)
        for name, html in pages.items()
        for target, anchor in re.findall(r'href="([\w-]*(?:\.html)?)#([^"]+)"', html)
    }
    assert len(links) > 100
    assert {link for link in links if f'id="{link[2]}"' not in pages[link[1]]} == set()


def test_documentation_fits_a_phone(built, browser):
    """No page is wider than a small screen: tables and code scroll by themselves."""
    window = browser.new_page(viewport={"width": 390, "height": 800})
    for file in sorted(built.glob("*.html")):
        window.goto(file.as_uri())
        assert window.evaluate("document.documentElement.scrollWidth") <= 390, file.name
    window.close()
