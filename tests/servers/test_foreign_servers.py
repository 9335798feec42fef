"""Every server that can be had: streams work there, or are refused with the cure, and none stops the site."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.needs import lacking, needs
from tests.servers.harness import ROOT, Client, Server, eventually
from tests.servers.serve_foreign import THREADS

APP = "tests.servers.app:app"
MOD_WSGI = Path("/usr/lib/apache2/modules/mod_wsgi.so")


def program(name, *options):
    """What a server's own program is started by."""
    return [str(Path(sys.executable).with_name(name)), *options]


def script(kind):
    return [sys.executable, "-m", "tests.servers.serve_foreign", kind, "{port}"]


def uwsgi(*options):
    common = ("--http-socket", "127.0.0.1:{port}", "--home", sys.prefix, "--module", APP)
    return program("uwsgi", "--master", "--die-on-term", "--need-app", *common, *options)


# What each needs to be there, how it is started, its settings, and how many streams it may have.
WORKING = {
    "waitress": ("waitress", script("waitress"), {}, 3),
    "cheroot": ("cheroot", script("cheroot"), {}, THREADS - 1),
    "granian": (
        "granian",
        program("granian", "--interface", "wsgi", "--port", "{port}", APP),
        {"bus_url": "sqlite://"},
        3,
    ),
    "uwsgi-threads": ("pyuwsgi", uwsgi("--enable-threads", "--threads", "5"), {}, 4),
    "uwsgi-gevent": ("pyuwsgi", uwsgi("--gevent", "5", "--gevent-monkey-patch"), {}, 4),
    "unknown": ("wsgiref", script("unknown"), {}, 3),
}

# What each needs to be there, how it is started, the code and a piece of its cure.
REFUSED = {
    "flask-single": (
        "flask",
        [sys.executable, "-m", "flask", "--app", APP, "run", "--port", "{port}", "--without-threads"],
        "SSE006",
        "without --without-threads",
    ),
    "wsgiref": ("wsgiref", script("wsgiref"), "SSE006", "gunicorn -k gevent"),
    "bjoern": ("bjoern", script("bjoern"), "SSE006", "gunicorn -k gevent"),
    "uwsgi": ("pyuwsgi", uwsgi(), "SSE006", "--gevent 1000"),
    "uwsgi-processes": (
        "pyuwsgi",
        uwsgi("--enable-threads", "--threads", "2", "--processes", "2"),
        "SSE002",
        "or run one process (--processes 1)",
    ),
    "hypercorn": (
        "hypercorn",
        program("hypercorn", f"wsgi:{APP}", "-b", "127.0.0.1:{port}"),
        "SSE011",
        "gunicorn -k gevent",
    ),
    "twisted": (
        "twisted",
        [
            *program("twistd", "--pidfile=", "-n", "web", "--listen", "tcp:{port}:interface=127.0.0.1"),
            *("--wsgi", "tests.servers.app.app"),
        ],
        "SSE011",
        "gunicorn -k gevent",
    ),
    "tornado": ("tornado", script("tornado"), "SSE011", "gunicorn -k gevent"),
}


def check_working(server, most):
    """Streams open up to the limit, an event comes, the site answers beside them, and all is given back."""
    clients = [Client(server).begun() for _ in range(most)]
    assert all(b"id: " in client.body for client in clients)
    refused = Client(server).until(lambda client: client.body)
    assert (refused.status, b"id: " in refused.body) == (200, False)
    assert b"Come back later" in refused.body
    refused.close()
    server.publish("there")
    for client in (clients[0], clients[-1]):
        assert client.wait(1)[0].data == "there"
    assert server.stats()["max_streams"] == most
    for client in clients:
        client.close()
    eventually(lambda: server.streams() == 0, message="the clients that left are noticed")


def check_refused(server, code, cure, path=""):
    """A request for a stream gets 500 at once, the log says why, and the site goes on."""
    before = len(server.log)
    assert Client(server, f"{path}/events").until(lambda client: client.status).status == 500
    assert server.get(f"{path}/ping")
    (line,) = {line for line in server.log[before:].splitlines() if "UnsupportedServer: SSE" in line}
    assert f"UnsupportedServer: {code}: " in line
    assert cure in line
    assert line.count("SSE0") == 1


@pytest.mark.parametrize("name", WORKING)
def test_streams_leave_room_on_the_server(name, tmp_path):
    """
    Streams work, as many as the server's threads allow but one or two; the next client is asked to come back,
    pages are answered beside them, and clients that leave are noticed.
    """
    module, argv, config, most = WORKING[name]
    needs(modules=[module])
    config = {key: f"{value}/{tmp_path}/bus" for key, value in config.items()}
    with Server(name, argv=argv, heartbeat_seconds=0.3, **config) as server:
        check_working(server, most)
        assert ("SSE012" in server.log) == (name in ("granian", "unknown"))


@pytest.mark.parametrize("name", REFUSED)
def test_server_that_a_stream_would_stop_is_refused(name):
    """
    A request for a stream gets 500 at once, the log says the code and the cure, and the site goes on.
    """
    module, argv, code, cure = REFUSED[name]
    needs(modules=[module])
    with Server(name, argv=argv) as server:
        check_refused(server, code, cure)


@pytest.fixture(scope="module")
def uvicorn():
    """uvicorn with three bridges."""
    needs(modules=["uvicorn", "a2wsgi", "asgiref", "starlette"])
    app = "tests.servers.serve_foreign:bridges"
    with Server("uvicorn", argv=program("uvicorn", "--factory", app, "--port", "{port}")) as server:
        yield server


@pytest.mark.parametrize("name", ["a2wsgi", "asgiref", "starlette"])
def test_bridge_of_asgi_is_refused(uvicorn, name):
    """No bridge from ASGI lets a stream open, for none tells it that its client left."""
    check_refused(uvicorn, "SSE011", "gunicorn -k gevent", f"/{name}")


def test_gunicorn_with_eventlet_is_refused():
    """gunicorn's eventlet worker, which versions before 26 have, does not start and says what to run."""
    folder = os.environ.get("SSE_PUSH_TEST_OLD_GUNICORN")
    if folder is None:
        lacking("needs SSE_PUSH_TEST_OLD_GUNICORN: a folder with gunicorn==23.* and eventlet")
    argv = [sys.executable, "-m", "gunicorn", "-k", "eventlet", "-b", "127.0.0.1:{port}", APP]
    path = os.pathsep.join([folder, str(ROOT)])
    with Server("gunicorn-eventlet", argv=argv, wait=False, environ={"PYTHONPATH": path}) as server:
        assert server.process.wait(20) == 4
        assert "SSE011: The gunicorn eventlet worker" in server.log
        assert "gunicorn -k gevent app:app" in server.log


@pytest.fixture
def apache():
    """A folder that Apache's user can read, with the app and what it imports, and a way to start Apache."""
    needs("apache2")
    if not MOD_WSGI.exists():
        lacking("needs Apache's mod_wsgi")
    with tempfile.TemporaryDirectory(prefix="sse-push-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for module in ("flask", "werkzeug", "jinja2", "markupsafe", "click", "itsdangerous", "blinker"):
            shutil.copytree(Path(__import__(module).__file__).parent, folder / module)
        shutil.copytree(ROOT / "flask_sse_push", folder / "flask_sse_push")
        for file in ("tests/__init__.py", "tests/servers/__init__.py", "tests/servers/app.py"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        yield folder


def test_mod_wsgi_in_one_process_streams(apache):
    """
    With ``processes=1``, where requests say that there are several, mod_wsgi is known to run one, with as
    many threads as it says.
    """
    (apache / "app.wsgi").write_text(
        f"""import os, sys
sys.path.insert(0, {str(apache)!r})
os.environ["TEST_APP_SSE_PUSH_HEARTBEAT_SECONDS"] = "0.3"
from tests.servers.app import app as application
"""
    )
    modules = MOD_WSGI.parent
    (apache / "apache.conf").write_text(
        f"""ServerRoot {apache}
PidFile {apache}/pid
Mutex file:{apache}
Listen 127.0.0.1:${{PORT}}
ServerName localhost
ErrorLog /dev/stderr
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {MOD_WSGI}
User www-data
Group www-data
WSGISocketPrefix {apache}/wsgi
WSGIDaemonProcess one processes=1 threads=5
WSGIProcessGroup one
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {apache}/app.wsgi
<Directory {apache}>
    Require all granted
</Directory>
"""
    )
    argv = ["apache2", "-f", f"{apache}/apache.conf", "-DFOREGROUND", "-C", "Define PORT {port}"]
    with Server("mod_wsgi", argv=argv) as server:
        check_working(server, 4)
