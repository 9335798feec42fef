"""Everything the README says that a machine can check: each block of code is run, each table compared, each link followed."""

import ast
import contextlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

import flask_sse_push
import flask_sse_push.testing
from flask_sse_push.extension.settings import Settings, read_settings
from flask_sse_push.testing import Decoder
from tests.needs import needs
from tests.servers.harness import free_port
from tests.support import FACTOR, MS, eventually

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
SECRET_KEY = "a key for the tests of the README"
INSTALL_AND_RUN = (
    "python3 -m venv .venv && .venv/bin/pip install -e '.[example]' && .venv/bin/python -m example_app"
)
INSTALL_AND_TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest"

# Where the blocks are and how many: a block that is added must be met by a test below, and then counted here.
BLOCKS = {
    ("A whole application", "python"): 1,
    ("A whole application", "js"): 1,
    ("How to run it", "sh"): 5,
    ("Who may read what", "python"): 2,
    ("Tokens and progress", "python"): 1,
    ("Tokens and progress", "js"): 1,
    ("Many workers, many machines", "sh"): 3,
    ("Many workers, many machines", "python"): 2,
    ("In the browser", "js"): 1,
    ("Deployment", "nginx"): 1,
    ("Moving from Flask-SSE", "python"): 1,
    ("Testing your app", "python"): 1,
    ("How it works", "text"): 1,
}


def find_blocks(text):
    """Return (section, language, code) of each fenced block, in order."""
    found, section, language, lines = [], "", None, []
    for line in text.splitlines():
        if language is not None:
            if line == "```":
                found.append((section, language, "\n".join(lines) + "\n"))
                language, lines = None, []
            else:
                lines.append(line)
        elif line.startswith("```"):
            language = line.removeprefix("```")
        elif line.startswith("## "):
            section = line.removeprefix("## ")
    assert language is None, f"the block {lines[:1]} has no end"
    return found


def blocks(section, language, text=README):
    return [code for where, kind, code in find_blocks(text) if (where, kind) == (section, language)]


def block(section, language, text=README):
    [code] = blocks(section, language, text)
    return code


def shell_block(program):
    [code] = [code for code in blocks("How to run it", "sh") if code.startswith(program)]
    return code.strip()


def table(header, text=README):
    """Return the rows below the one header that begins so, each as a list of cells."""
    [start] = [number for number, line in enumerate(text.splitlines()) if line.startswith(header)]
    rows = []
    for line in text.splitlines()[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def headings(text):
    """Return the anchors that a rendered page has."""
    return {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }


APPLICATION = block("A whole application", "python")
PAGE_SCRIPT = block("A whole application", "js")
COMPLETE = "\n".join(
    [APPLICATION, *blocks("Who may read what", "python"), block("Tokens and progress", "python")]
)


def environment_for(folder, **more):
    """The programs of this Python first, and no file of the servers outside of the test's folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SECRET_KEY": SECRET_KEY,
        **more,
    }


class Process:
    """A program that runs until the test ends it."""

    def __init__(self, argv, folder, environment, name):
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        """End the process group that was started here."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10 * FACTOR)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Served:
    """An ``app.py`` and its static files in a folder, served by the README's own command."""

    def __init__(self, folder, source, script="", command=None, options="", **environment):
        needs("bash", modules=["gunicorn", "gevent"])
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command, self._options, self._environment = (
            command or shell_block("gunicorn"),
            options,
            environment,
        )
        self._server = None
        (folder / "app.py").write_text(source, encoding="utf-8")
        (folder / "static").mkdir(exist_ok=True)
        (folder / "static/orders.js").write_text(script, encoding="utf-8")
        self.start()

    def start(self):
        environment = environment_for(
            self.folder,
            GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{self.port} {self._options}",
            **self._environment,
        )
        self._server = Process(
            ["bash", "-c", self._command if "=" in self._command else f"exec {self._command}"],
            self.folder,
            environment,
            f"server-{self.port}",
        )
        try:
            eventually(self._answers, 20_000 * MS, "the application answers")
        except BaseException:
            print(self.log)
            self.stop()
            raise

    def _answers(self):
        assert self._server.process.poll() is None, (
            f"the server ended with {self._server.process.returncode}: {self.log}"
        )
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/static/orders.js", timeout=5 * FACTOR).status_code == 200

    @property
    def log(self):
        return self._server.log

    def order(self, item, url=None):
        assert (
            httpx.post(f"{url or self.url}/orders", json={"item": item}, timeout=5 * FACTOR).status_code
            == 201
        )

    def stop(self):
        self._server.stop()


@contextlib.contextmanager
def listening(url, **options):
    """Yield a response with its headers, and a function that reads so many events from it."""
    with httpx.Client(timeout=10 * FACTOR) as client, client.stream("GET", url, **options) as response:
        chunks, decoder, ready = response.iter_raw(), Decoder(), []

        def read(count):
            while len(ready) < count:
                chunk = next(chunks, None)
                assert chunk is not None, f"the stream ended after {ready}"
                ready.extend(decoder.feed(chunk))
            taken, ready[:] = ready[:count], ready[count:]
            return taken

        yield response, read


@pytest.fixture
def serve(tmp_path):
    """Start servers of this test's own; all end with it."""
    with contextlib.ExitStack() as stack:

        def serve(source, **options):
            served = Served(tmp_path, source, **options)
            stack.callback(served.stop)
            return served

        yield serve


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """The application block, for the tests that do not end it."""
    served = Served(tmp_path_factory.mktemp("application"), APPLICATION, PAGE_SCRIPT)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The application with the blocks on access and on responses below it."""
    served = Served(tmp_path_factory.mktemp("complete"), COMPLETE)
    yield served
    served.stop()


@pytest.fixture
def page(browser):
    """A page in a window of its own. Errors of its scripts are collected, and there must be none."""
    context = browser.new_context()
    context.set_default_timeout(10_000 * FACTOR)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def wait_for(page, expression, seconds=15):
    eventually(lambda: page.evaluate(expression), seconds * 1000 * MS, f"the page comes to {expression}")


# The text


def test_readme_commands_appear_once():
    """The command that shows the example and the one that runs the tests stand alone on their lines, once."""
    for command in (INSTALL_AND_RUN, INSTALL_AND_TEST):
        assert README.splitlines().count(command) == README.count(command) == 1
        assert command + "\n" in blocks("How to run it", "sh")
    assert README.count("venv .venv") == 2
    assert [line for line in README.splitlines() if "-m pytest" in line] == [INSTALL_AND_TEST]


def test_readme_commands_name_what_exists(tmp_path):
    """The extras of the two commands are the package's own, and the example's module runs."""
    extras = importlib.metadata.metadata("flask_sse_push").get_all("Provides-Extra")
    assert {"example", "test", "gunicorn"} <= set(extras)
    shown = subprocess.run(
        [sys.executable, "-m", "example_app", "--help"],
        cwd=ROOT,
        env=environment_for(tmp_path),
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
    )
    assert shown.returncode == 0, shown.stderr


def test_readme_blocks_are_all_tested():
    """Each block of code is one that the tests here know; a new one needs a test."""
    assert Counter((section, language) for section, language, _ in find_blocks(README)) == BLOCKS


def test_readme_application_is_short():
    """The application has about 15 lines of Python, and the page about 5 of JavaScript."""
    assert len([line for line in APPLICATION.splitlines() if line.strip()]) <= 15
    assert len([line for line in PAGE_SCRIPT.splitlines() if line.strip()]) <= 6


def test_readme_configuration_table_is_that_of_the_settings():
    """The table has each setting in the order of the code, with the default that the code has."""
    rows = table("| key | unit | default |")
    defaults = read_settings({})
    keys = [f"SSE_PUSH_{name.upper()}" for name in Settings.__dataclass_fields__]
    assert [row[0].strip("`") for row in rows] == keys
    written = {row[0].strip("`"): ast.literal_eval(row[2].strip("`")) for row in rows}
    for key, value in written.items():
        default = getattr(defaults, key.removeprefix("SSE_PUSH_").lower())
        assert value == (list(default) if isinstance(default, tuple | frozenset) else default), key
    assert read_settings(written) == defaults
    assert all(row[1] and row[3].endswith(".") for row in rows)


def test_readme_codes_are_those_of_the_checks():
    """The table of start-up checks has each code of the package with its level, and no other."""
    source = (ROOT / "flask_sse_push/extension/checks.py").read_text(encoding="utf-8")
    levels = {
        code: "error" if is_error == "True" else "warning"
        for code, is_error in re.findall(r'Finding\(\s*"(SSE\d+)",\s*(True|False)', source)
    }
    assert set(levels) == set(re.findall(r'"(SSE\d+)"', source))
    assert {row[0]: row[1] for row in table("| code | level |")} == levels


def test_readme_lists_the_whole_api():
    """Each public name has a line: of the package, of the blueprint, and of the helpers for tests."""
    first_cells = " ".join(
        row[0]
        for part in README.split("## API")[1].split("From `flask_sse_push.testing`")
        for row in table("| name |", part)
    )
    names = {name for code in re.findall(r"`([^`]*)`", first_cells) for name in [code.split("(")[0]]}
    own = {
        f"sse.{name}"
        for name, value in vars(flask_sse_push.SSEPush).items()
        if callable(value) and not name.startswith("_") and name not in ("register", "publish")
    }
    assert names == {*flask_sse_push.__all__, *flask_sse_push.testing.__all__, *own}


@pytest.mark.parametrize(
    "path",
    ["README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))],
)
def test_readme_links_lead_somewhere(path):
    """Each link to a file of the checkout, and to a heading, has its target."""
    file = ROOT / path
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = file.parent / name if name else file
        assert linked.is_file(), target
        assert not anchor or anchor in headings(linked.read_text(encoding="utf-8")), target


def test_readme_changelog_tells_of_this_version():
    """The newest entry of the changelog is that of the package's version."""
    versions = re.findall(
        r"^## \[([^]]+)\] - (?:Unreleased|\d{4}-\d\d-\d\d)$",
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert versions[0] == flask_sse_push.__version__


# The application


def test_readme_application_delivers_an_order(application):
    """The application answers with its page, and who listens to its stream gets the order that is posted."""
    assert "/static/orders.js" in httpx.get(application.url).text
    with listening(f"{application.url}/events?channel=orders") as (response, read):
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        application.order("tea")
        [event] = read(1)
    assert (event.type, json.loads(event.data)) == ("created", {"item": "tea"})


def test_readme_application_resumes(application):
    """A client that comes back with the id of its last event gets what it missed, and nothing twice."""
    url = f"{application.url}/events?channel=orders"
    with listening(url) as (_, read):
        application.order("first")
        [first] = read(1)
    for item in ("second", "third"):
        application.order(item)
    with listening(url, headers={"Last-Event-ID": first.last_event_id}) as (_, read):
        assert [json.loads(event.data)["item"] for event in read(2)] == ["second", "third"]


def test_readme_curl_commands_show_an_order(application, tmp_path):
    """The two curl commands, run as they are written but for the port, listen and order."""
    needs("bash", "curl")
    listen, order = (
        code.strip().replace(":8000", f":{application.port}")
        for code in blocks("How to run it", "sh")
        if code.startswith("curl")
    )
    environment = environment_for(tmp_path)
    listener = Process(["bash", "-c", f"exec {listen}"], tmp_path, environment, "listener")
    try:
        eventually(lambda: "retry: " in listener.log, 10_000 * MS, "the listener gets its first bytes")
        ordered = subprocess.run(
            ["bash", "-c", order], env=environment, capture_output=True, text=True, timeout=20 * FACTOR
        )
        assert ordered.returncode == 0, ordered.stderr
        eventually(
            lambda: 'event: created\ndata: {"item": "tea"}\n' in listener.log,
            10_000 * MS,
            "the listener gets the order",
        )
    finally:
        listener.stop()


# Many workers, many machines


def bus_blocks(language):
    return blocks("Many workers, many machines", language)


def test_readme_four_workers_share_events(application):
    """With the README's command an order that any worker takes reaches listeners of all of them, in one order."""
    assert " -w 4 " in shell_block("gunicorn")
    with contextlib.ExitStack() as stack:
        reads = [
            stack.enter_context(listening(f"{application.url}/events?channel=orders"))[1] for _ in range(8)
        ]
        for number in range(12):
            application.order(f"number {number}")
        orders = [
            [(event.last_event_id, json.loads(event.data)["item"]) for event in read(12)] for read in reads
        ]
    assert [item for _, item in orders[0]] == [f"number {number}" for number in range(12)]
    assert all(order == orders[0] for order in orders)


@pytest.fixture(scope="module")
def redis_server():
    needs("redis-server", modules=["redis"])
    from tests.bus.redis_server import RedisServer

    with RedisServer() as server:
        yield server


def test_readme_two_machines_share_a_redis(serve, redis_server, tmp_path):
    """Two gunicorns with the README's command and one Redis: an order at either reaches the listeners of both."""
    [command] = [code.strip() for code in bus_blocks("sh") if "gunicorn" in code]
    assert command.endswith(shell_block("gunicorn"))
    url = redis_server.url + "?prefix=readme"
    command = replaced(command, redis=("redis://127.0.0.1:6379/0?prefix=shop", url)).replace(
        " gunicorn", " exec gunicorn"
    )
    one, other = (serve(APPLICATION, command=command) for _ in range(2))
    assert one.port != other.port
    with (
        listening(f"{one.url}/events?channel=orders") as (_, read_one),
        listening(f"{other.url}/events?channel=orders") as (_, read_other),
    ):
        one.order("from the one")
        other.order("from the other")
        events = [(event.last_event_id, json.loads(event.data)["item"]) for event in read_one(2)]
        assert [item for _, item in events] == ["from the one", "from the other"]
        assert [(event.last_event_id, json.loads(event.data)["item"]) for event in read_other(2)] == events


@pytest.fixture
def shop(serve, tmp_path):
    """The application on a SQLite bus, and the URL of that."""
    url = f"sqlite:///{tmp_path}/events.db"
    served = serve(APPLICATION, SSE_PUSH_BUS_URL=url)
    served.bus_url = url
    return served


def test_readme_script_publishes_to_the_running_server(shop, tmp_path):
    """The script, run by itself as cron does, reaches who listens to the server."""
    [script] = [code for code in bus_blocks("python") if "with Publisher" in code]
    (tmp_path / "night.py").write_text(
        replaced(script, bus=("sqlite:////var/lib/shop/events.db", shop.bus_url)), encoding="utf-8"
    )
    with listening(f"{shop.url}/events?channel=orders") as (_, read):
        ran = subprocess.run(
            [sys.executable, "night.py"],
            cwd=tmp_path,
            env=environment_for(tmp_path),
            capture_output=True,
            text=True,
            timeout=30 * FACTOR,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        [event] = read(1)
    assert (event.type, json.loads(event.data)) == ("night", {"backup": "done"})


def test_readme_task_that_is_repeated_in_forks_publishes_once(shop, tmp_path):
    """The module with the task, imported once and run in forked workers as Celery and RQ do, publishes each order once."""
    [module] = [code for code in bus_blocks("python") if "def ship_order" in code]
    (tmp_path / "tasks.py").write_text(module, encoding="utf-8")
    program = "import multiprocessing as m, tasks; p = m.get_context('fork').Pool(3); p.map(tasks.ship_order, [1, 2, 3] * 4); p.close(); p.join()"
    with listening(f"{shop.url}/events?channel=orders") as (_, read):
        environment = environment_for(tmp_path, SSE_PUSH_BUS_URL=shop.bus_url)
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30 * FACTOR,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        shop.order("the end")
        events = read(4)
    assert sorted(json.loads(event.data)["id"] for event in events[:3]) == [1, 2, 3]
    assert {event.type for event in events[:3]} == {"shipped"}


def test_readme_commands_publish_and_listen(shop, tmp_path):
    """`flask sse listen` follows the bus of the running server, and shows what `flask sse publish` says there."""
    publish, listen = (code.strip() for code in bus_blocks("sh") if code.startswith("flask sse"))
    environment = environment_for(tmp_path, SSE_PUSH_BUS_URL=shop.bus_url)
    listener = Process(["bash", "-c", f"exec {listen}"], tmp_path, environment, "listener")

    def heard():
        published = subprocess.run(
            ["bash", "-c", publish],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30 * FACTOR,
        )
        assert published.returncode == 0, published.stderr
        return [line for line in listener.log.splitlines() if line.startswith("{")]

    try:
        with listening(f"{shop.url}/events?channel=orders") as (_, read):
            line = json.loads(eventually(heard, 30_000 * MS, "the listener shows an order")[0])
            assert (line["type"], json.loads(line["data"])) == ("created", {"item": "tea"})
            assert json.loads(read(1)[0].data) == {"item": "tea"}
    finally:
        listener.stop()


# Access, and streams of one request


def session_of(user):
    """Return the header of a browser that the app's login knows."""
    app = Flask("login")
    app.secret_key = SECRET_KEY
    return {
        "Cookie": f"session={SecureCookieSessionInterface().get_signing_serializer(app).dumps({'user': user})}"
    }


def test_readme_rule_grants_the_own_channel_alone(complete):
    """The rule answers 401 to nobody, 403 for the channel of another, and streams the own one."""
    url = f"{complete.url}/events?channel=user.ann"
    ann, bob = session_of("ann"), session_of("bob")
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers=bob).status_code == 403
    assert httpx.get(f"{complete.url}/events?channel=nobody.knows", headers=ann).status_code == 403
    with listening(url, headers=ann) as (response, _):
        assert response.status_code == 200


def test_readme_own_view_streams_what_it_lets_through(complete):
    """The view answers 401 to nobody, and streams its channels to who is logged in."""
    assert httpx.get(f"{complete.url}/inbox").status_code == 401
    with listening(f"{complete.url}/inbox", headers=session_of("ann")) as (response, read):
        assert response.status_code == 200
        complete.order("coffee")
        assert json.loads(read(1)[0].data) == {"item": "coffee"}


def test_readme_answer_ends_with_what_the_generator_returned(complete):
    """The tokens come in order, and the event done carries their number."""
    with listening(f"{complete.url}/answer", params={"question": "tea or coffee?"}) as (_, read):
        events = [(event.type, event.data) for event in read(7)]
    assert events[0] == ("state", "thinking")
    assert events[1:-1] == [("message", word) for word in ("You", "asked:", "tea", "or", "coffee?")]
    assert (events[-1][0], json.loads(events[-1][1])) == ("done", {"tokens": 5})


# In a browser


def test_readme_page_shows_an_order(application, page):
    """The page's script lists what is ordered, as text."""
    page.goto(application.url)
    wait_for(page, "events.readyState === EventSource.OPEN")
    application.order("<b>tea</b>")
    wait_for(page, "[...document.querySelectorAll('#orders li')].at(-1)?.textContent === '<b>tea</b>'")


def test_readme_answer_is_written_on_the_page(complete, page):
    """The script writes the tokens, reads their number from done, and closes."""
    page.goto(complete.url)
    page.evaluate("document.body.replaceChildren()")
    page.add_script_tag(content=block("Tokens and progress", "js"))
    wait_for(page, "document.title === '5 tokens'")
    assert page.evaluate("document.body.innerText").split() == "You asked: tea or coffee?".split()
    assert page.evaluate("answer.readyState === EventSource.CLOSED")


def test_readme_browser_script_survives_refusals_and_restarts(serve, page):
    """
    The script listens again after a 502, loads when the stream opens, shows what follows, and loads again when a restart lost the history.
    """
    served = serve(APPLICATION, script=block("In the browser", "js"))
    refused, loaded = [], []

    def refuse_once(route):
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=502, body="<h1>Bad Gateway</h1>", content_type="text/html")

    def answer_orders(route):
        loaded.append(route.request.url)
        route.fulfill(json=[{"item": f"stored {len(loaded)}"}])

    page.route("**/events?*", refuse_once)
    page.route("**/orders.json", answer_orders)
    page.goto(served.url)
    wait_for(page, "shown.has('stored 1')")
    assert len(refused) == 1
    served.order("tea")
    wait_for(page, "shown.has('tea')")
    served.stop()
    served.start()
    wait_for(page, "shown.has('stored 2') && !shown.has('tea')", 30)
    served.order("coffee")
    wait_for(page, "shown.has('coffee')")
    assert len(loaded) == 2


# nginx


NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
{}
}}
"""


def replaced(text, **changes):
    """Replace what belongs to the machine of the reader; each must be there exactly once."""
    for old, new in changes.values():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def nginx_command(folder, configuration):
    needs("nginx")
    (folder / "nginx.conf").write_text(NGINX.format(configuration), encoding="utf-8")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def check_nginx(command, folder):
    checked = subprocess.run(
        [*command, "-t"], cwd=folder, capture_output=True, text=True, timeout=20 * FACTOR
    )
    assert checked.returncode == 0, checked.stderr + (folder / "error.log").read_text()


def test_readme_nginx_passes_events_on_and_hides_a_restart(serve, tmp_path):
    """
    Through the README's nginx an event arrives at once; while the app is away a stream is asked to come back with 200, a page gets its 502.
    """
    needs("nginx")
    served = serve(APPLICATION)
    folder, port = tmp_path / "nginx", free_port()
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    configuration = replaced(
        block("Deployment", "nginx"),
        app=("127.0.0.1:8000", f"127.0.0.1:{served.port}"),
        listen=("listen 80;", f"listen 127.0.0.1:{port};"),
    )
    command = nginx_command(folder, configuration)
    check_nginx(command, folder)
    nginx = Process(command, folder, environment_for(folder), "nginx")

    def status(path):
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url + path, timeout=5 * FACTOR).status_code

    try:
        eventually(lambda: status("/") == 200, 10_000 * MS, "nginx answers")
        with listening(f"{url}/events?channel=orders") as (response, read):
            assert response.headers["Server"].startswith("nginx")
            served.order("tea", url)
            assert json.loads(read(1)[0].data) == {"item": "tea"}
            assert httpx.get(f"{url}/events?channel=closed").status_code == 403
            served.stop()
        away = httpx.get(f"{url}/events?channel=orders", timeout=5 * FACTOR)
        assert (away.status_code, away.headers["Content-Type"], away.text) == (
            200,
            "text/event-stream",
            "retry: 2000\n",
        )
        assert status("/") == 502
        served.start()
        eventually(lambda: status("/") == 200, 20_000 * MS, "nginx finds the app again")
        with listening(f"{url}/events?channel=orders") as (_, read):
            served.order("coffee", url)
            assert json.loads(read(1)[0].data) == {"item": "coffee"}
    finally:
        nginx.stop()


def test_readme_deployment_nginx_is_valid(tmp_path):
    """The nginx block of the page on deployment, with TLS and HTTP/2, is one that nginx takes."""
    needs("nginx", "openssl")
    key, certificate = tmp_path / "orders.key", tmp_path / "orders.pem"
    request = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=orders.example.com",
    ]
    subprocess.run(
        ["openssl", *request, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
        timeout=30 * FACTOR,
    )
    configuration = replaced(
        block("nginx", "nginx", DEPLOYMENT),
        listen=("listen 443 ssl http2;", f"listen 127.0.0.1:{free_port()} ssl http2;"),
        certificate=("/etc/ssl/orders.pem", str(certificate)),
        key=("/etc/ssl/orders.key", str(key)),
    )
    check_nginx(nginx_command(tmp_path, configuration), tmp_path)


@pytest.mark.parametrize("options", ["", "--preload"])
def test_readme_deployment_gunicorn_file_serves(serve, tmp_path, options):
    """The gunicorn.conf.py of the page on deployment serves streams, also with --preload, and no check has anything to say."""
    file, *_ = blocks("gunicorn", "python", DEPLOYMENT)  # the others there belong to an app
    (tmp_path / "gunicorn.conf.py").write_text(file, encoding="utf-8")
    command = "gunicorn -c gunicorn.conf.py app:app"
    assert command in DEPLOYMENT
    served = serve(APPLICATION, command=command, options=options)
    with listening(f"{served.url}/events?channel=orders") as (_, read):
        served.order("tea")
        assert json.loads(read(1)[0].data) == {"item": "tea"}
    assert not re.search(r"SSE\d\d\d|Traceback", served.log), served.log


# The rest


def test_readme_app_moved_from_flask_sse_rings(serve):
    """With the import changed, the page's address and channel stay, and the event arrives."""
    served = serve(block("Moving from Flask-SSE", "python"))
    with listening(f"{served.url}/stream") as (_, read):
        assert httpx.post(f"{served.url}/bell").status_code == 204
        [event] = read(1)
    assert (event.type, json.loads(event.data)) == ("bell", {"door": "front"})


def test_readme_tests_of_the_application_pass(tmp_path):
    """The tests that the README shows pass against the application that it shows."""
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    (tmp_path / "test_app.py").write_text(block("Testing your app", "python"), encoding="utf-8")
    environment = environment_for(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_app.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
