"""All pages: their code is tested, their links lead somewhere, their tables are those of the package."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import flask_sse_push
import flask_sse_push.testing
from flask_sse_push.extension.settings import Settings, read_settings
from tests.core.test_architecture import PUBLIC, ROOMS
from tests.docs.pages import ROOT, TAKEN, all_pages, page

PAGES = all_pages()
SETTINGS = page("docs/settings.md").block("", "python")
SECTION = "A whole application"
# The files of the README, and of the quickstart, which shows the same.
FIRST_APPLICATION = [
    (page(path).block(SECTION, "python"), page(path).block(SECTION, "js"))
    + tuple(page(path).block(section, "sh", begins) for begins in ("gunicorn", "curl -d"))
    for path, section in (("README.md", "How to run it"), ("docs/quickstart.md", SECTION))
]
OF_THE_TESTS = {"SSE_PUSH_TEST_FACTOR", "SSE_PUSH_TEST_REQUIRE_ALL"}


def test_every_block_of_code_is_tested():
    """Each block is one that a test asks for, except drawings."""
    for file in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(f"tests.docs.{file.stem}")
    blocks = {block for each in PAGES for block in each.blocks if block.language != "text"}
    assert len(blocks) > 40
    assert {f"{block.page}, {block.section}: {block.code[:40]}" for block in blocks - TAKEN} == set()


def test_every_block_has_a_language():
    """A block without one is not highlighted, and escapes the test above."""
    assert {block for each in PAGES for block in each.blocks if not block.language} == set()


@pytest.mark.parametrize("each", [*PAGES, page("CHANGELOG.md")], ids=lambda each: each.path)
def test_page_links_lead_somewhere(each):
    """Each link to a file of the checkout, and to a heading, has its target."""
    for target in each.links:
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (each.file.parent / name).resolve() if name else each.file
        assert linked.is_file(), target
        assert not anchor or anchor in page(str(linked.relative_to(ROOT))).anchors, target


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.path)
def test_page_lines_fit(each):
    """Lines have at most 110 characters, except rows of tables and long links, which cannot be broken."""
    long = [line for line in each.lines if len(line) > 110 and not line.startswith("|")]
    assert [line for line in long if not re.fullmatch(r"(\S*\s)?\S*\[[^\]]+\]\(\S+\)\S*", line)] == []


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.path)
def test_page_names_settings_that_exist(each):
    """Each key that a page names is one of the package."""
    known = {f"SSE_PUSH_{name.upper()}" for name in Settings.__dataclass_fields__} | OF_THE_TESTS
    assert set(re.findall(r"SSE_PUSH_[A-Z_]*[A-Z]", each.text)) <= known


def test_index_lists_every_page():
    """A page that the first one does not list would have no place in the built documentation."""
    listed = {target for target in page("docs/index.md").links if not target.startswith("http")}
    assert listed == {file.name for file in (ROOT / "docs").glob("*.*") if file.suffix in (".md", ".rst")} - {
        "index.md"
    }


def test_readme_links_to_every_page():
    """Each page of the documentation is one click from the README, apart from those that lists are for."""
    listed = {target.removeprefix("docs/") for target in page("README.md").links}
    assert {each.file.name for each in PAGES if "docs/" in each.path} - listed == {"index.md", "changes.md"}


def test_settings_table_is_that_of_the_settings():
    """The table has each setting in the order of the code, with the default that the code has."""
    rows = page("docs/settings.md").table("| key | unit | default |")
    defaults = read_settings({})
    assert [row[0].strip("`") for row in rows] == [
        f"SSE_PUSH_{name.upper()}" for name in Settings.__dataclass_fields__
    ]
    written = {row[0].strip("`"): ast.literal_eval(row[2].strip("`")) for row in rows}
    for key, value in written.items():
        default = getattr(defaults, key.removeprefix("SSE_PUSH_").lower())
        assert value == (type(value)(default) if isinstance(default, tuple | frozenset) else default), key
    assert read_settings(written) == defaults
    assert all(row[1] and row[3].endswith(".") for row in rows)


def test_settings_can_be_set_as_shown():
    """The lines of the page are accepted."""
    config = {}
    exec(SETTINGS, {"app": type("App", (), {"config": config})})
    settings = read_settings(config)
    assert (settings.heartbeat_seconds, len(settings.public_channels)) == (10, 2)


def test_checks_table_is_that_of_the_checks():
    """The table of start-up checks has each code of the package with its level, and no other."""
    source = (ROOT / "flask_sse_push/extension/checks.py").read_text(encoding="utf-8")
    levels = {
        code: "error" if is_error == "True" else "warning"
        for code, is_error in re.findall(r'Finding\(\s*"(SSE\d+)",\s*(True|False)', source)
    }
    assert set(levels) == set(re.findall(r'"(SSE\d+)"', source))
    assert {row[0]: row[1] for row in page("docs/checks.md").table("| code | level |")} == levels


def test_api_page_lists_every_public_name():
    """Each public name has a line: of the package, of the blueprint, and of the helpers for tests."""
    cells = " ".join(row[0] for rows in page("docs/api.md").tables("| name |") for row in rows)
    names = {code.split("(")[0] for code in re.findall(r"`([^`]*)`", cells)}
    of_flask = {"register", "make_setup_state"}  # which Flask calls
    own = {
        f"sse.{name}"
        for name, value in vars(flask_sse_push.SSEPush).items()
        if callable(value) and not name.startswith("_") and name not in of_flask | {"publish"}
    }
    assert names == {*flask_sse_push.__all__, *flask_sse_push.testing.__all__, *own}


def test_reference_has_every_public_name():
    """The page that is made from the docstrings names them all."""
    text = (ROOT / "docs/reference.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\.\. auto\w+:: (?:flask_sse_push\.\w+\.)?(\w+)$", text, re.MULTILINE))
    assert {*flask_sse_push.__all__, *flask_sse_push.testing.__all__} - listed == {"__version__", "sse"}


def test_architecture_table_is_that_of_the_rooms():
    """The page has the rooms and arrows that the architecture test holds."""
    rows = {row[0].strip("`"): row for row in page("docs/architecture.md").table("| room |")}
    top = rows.pop("top")
    assert set(re.findall(r"`\.(\w+)`", top[1])) == PUBLIC - {"__init__"}
    assert {room: set(re.findall(r"`([\w.]+)`", row[2])) for room, row in rows.items()} == {
        room: arrows for room, arrows in ROOMS.items() if room
    }


def test_quickstart_shows_the_application_of_the_readme():
    """The quickstart has the files and commands of the README."""
    assert FIRST_APPLICATION[0] == FIRST_APPLICATION[1]
