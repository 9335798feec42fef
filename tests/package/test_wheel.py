"""What is installed is what was tested."""

import re
import zipfile
from email.parser import Parser

from build.util import project_wheel_metadata

from tests.package.conftest import ROOT, copy_of_the_checkout, run

STREAM_ONE_EVENT = """
import sys
from pathlib import Path

import flask
import flask_sse_push

assert Path(sys.argv[1]) not in Path(flask_sse_push.__file__).parents, flask_sse_push.__file__
from flask_sse_push import publish, sse
from flask_sse_push.testing import open_stream

app = flask.Flask("clean")
app.register_blueprint(sse)
with open_stream(app.test_client(), "/events") as stream:
    publish({"hello": "wheel"}, type="greeting")
    event = stream.read(1)[0]
print(event.type, event.json["hello"])
"""


def test_wheel_holds_the_package_and_nothing_else(wheel):
    """The wheel has every module, the browser's half, py.typed and the licence; no tests, no example."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    kinds = ("*.py", "*.js", "*.mjs", "*.d.ts", "package.json")
    files = {str(path.relative_to(ROOT)) for kind in kinds for path in (ROOT / "flask_sse_push").rglob(kind)}
    assert any(name.endswith("sse-push.min.js") for name in files)
    assert files <= set(names)
    assert "flask_sse_push/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"flask_sse_push"}


def test_wheel_streams_from_a_clean_environment(installed, tmp_path):
    """Installed into a clean environment, away from the checkout, it streams an event."""
    assert run(installed, "-c", STREAM_ONE_EVENT, ROOT, cwd=tmp_path) == "greeting wheel\n"


def test_readme_of_the_wheel_is_as_it_is(wheel):
    """While the repository has no address, the package index shows the README as it is."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert "Project-URL" not in metadata


def test_readme_links_lead_to_the_repository(tmp_path):
    """Once setup.py has the address, each link and picture of the README leads to this version there."""
    address = "https://example.com/owner/flask_sse_push"
    source = copy_of_the_checkout(tmp_path / "source")
    setup = source / "setup.py"
    text = setup.read_text(encoding="utf-8")
    assert text.count('REPOSITORY = ""\n') == 1
    setup.write_text(text.replace('REPOSITORY = ""\n', f'REPOSITORY = "{address}"\n'), encoding="utf-8")
    metadata = project_wheel_metadata(source)
    ours = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    theirs = re.findall(r"\]\(([^)]+)\)", metadata["Description"])
    assert len(ours) > 20
    assert theirs == [
        f"{address}/{'raw' if link.endswith('.svg') else 'blob'}/v{metadata['Version']}/{link}"
        for link in ours
    ]
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    assert urls["Source"] == address
    assert all(url.startswith(address) for url in urls.values())
