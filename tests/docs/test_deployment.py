"""The pages about running the app: their files are read by the programs they are for."""

import configparser
import contextlib
import json
import re
import sys
import time

import httpx
import pytest

from tests.docs.pages import page
from tests.docs.served import APPLICATION, Process, listening, run
from tests.needs import needs
from tests.servers.harness import free_port
from tests.support import FACTOR, MS, eventually

PAGE = page("docs/deployment.md")
GUNICORN = PAGE.block("gunicorn", "python")
UNIT = PAGE.block("systemd", "ini")
PLAIN = PAGE.block("nginx", "nginx", "upstream app {\n    server 127.0.0.1:8000;")
TLS = PAGE.block("nginx", "nginx", "upstream app {\n    server unix:")
COMPOSE = PAGE.block("Containers", "yaml", "services:")
KUBERNETES = PAGE.block("Containers", "yaml", "apiVersion:")
LIMITS = page("docs/limits.md").block("Limits for each client", "nginx")
CLIENT_KEY = page("docs/limits.md").block("Limits in the app", "python")
HANDLER = page("docs/stopping.md").block("An app that handles SIGTERM itself", "python")

NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
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
    """Return the command for a configuration, after nginx itself has accepted that."""
    needs("nginx")
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(configuration), encoding="utf-8")
    command = ["nginx", "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    run([*command, "-t"], folder)
    return command


def test_nginx_passes_events_on_and_hides_a_restart(serve, tmp_path):
    """
    Through nginx an event arrives at once; while the app is away a stream is asked to come back with 200, a
    page gets its 502.
    """
    needs("nginx")
    served = serve(APPLICATION)
    folder, port = tmp_path / "nginx", free_port()
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    configuration = replaced(
        PLAIN,
        app=("127.0.0.1:8000", f"127.0.0.1:{served.port}"),
        listen=("listen 80;", f"listen 127.0.0.1:{port};"),
    )

    def status(path):
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url + path, timeout=5 * FACTOR).status_code

    with Process(nginx_command(folder, configuration), folder, "nginx"):
        eventually(lambda: status("/") == 200, 10_000 * MS, "nginx answers")
        with listening(f"{url}/events?channel=orders") as (response, read):
            assert response.headers["Server"].startswith("nginx")
            served.order("tea", url)
            assert json.loads(read(1)[0].data)["item"] == "tea"
            assert httpx.get(f"{url}/events?channel=closed").status_code == 403
            served.stop()
        away = httpx.get(f"{url}/events?channel=orders", timeout=5 * FACTOR)
        assert (away.status_code, away.text) == (200, "retry: 2000\n")
        assert away.headers["Content-Type"] == "text/event-stream"
        assert status("/") == 502
        served.start()
        eventually(lambda: status("/") == 200, 20_000 * MS, "nginx finds the app again")
        with listening(f"{url}/events?channel=orders") as (_, read):
            served.order("coffee", url)
            assert json.loads(read(1)[0].data)["item"] == "coffee"


def test_nginx_with_tls_is_valid(tmp_path):
    """The block with TLS and HTTP/2 is one that nginx takes."""
    needs("nginx", "openssl")
    key, certificate = tmp_path / "orders.key", tmp_path / "orders.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    run(
        [*make.split(), "-subj", "/CN=orders.example.com", "-keyout", str(key), "-out", str(certificate)],
        tmp_path,
    )
    configuration = replaced(
        TLS,
        listen=("listen 443 ssl http2;", f"listen 127.0.0.1:{free_port()} ssl http2;"),
        certificate=("/etc/ssl/orders.pem", str(certificate)),
        key=("/etc/ssl/orders.key", str(key)),
    )
    nginx_command(tmp_path, configuration)


@pytest.mark.parametrize("options", ["", "--preload"])
def test_gunicorn_file_serves(serve, tmp_path, options):
    """
    The gunicorn.conf.py serves streams, also with --preload, and no check has anything to say. Told to stop,
    the server is gone in 5 s, also with a stream and with a connection that its client keeps open.
    """
    (tmp_path / "gunicorn.conf.py").write_text(GUNICORN, encoding="utf-8")
    command = "gunicorn -c gunicorn.conf.py app:app"
    assert command in PAGE.text
    served = serve(APPLICATION, command=command, options=options)
    with listening(f"{served.url}/events?channel=orders") as (_, read):
        served.order("tea")
        assert json.loads(read(1)[0].data)["item"] == "tea"
        with httpx.Client() as page:
            assert page.get(served.url).headers["Connection"] == "keep-alive"
            told = time.monotonic()
            served.stop()
            assert time.monotonic() - told < 5 * FACTOR
    assert not re.search(r"SSE\d\d\d|Traceback", served.log), served.log


def test_service_managers_wait_longer_than_the_worker(tmp_path):
    """systemd, Docker and Kubernetes get files that can be read, and kill later than gunicorn itself does."""
    needs(modules=["yaml"])
    import yaml

    graceful = {}
    exec(GUNICORN.replace("monkey.patch_all()", ""), graceful)
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT)
    assert int(unit["Service"]["TimeoutStopSec"]) > graceful["graceful_timeout"]
    assert unit["Service"]["ExecStart"].endswith("gunicorn -c gunicorn.conf.py app:app")
    app = yaml.safe_load(COMPOSE)["services"]["app"]
    assert int(app["stop_grace_period"].rstrip("s")) > graceful["graceful_timeout"]
    pod = yaml.safe_load(KUBERNETES)["spec"]["template"]["spec"]
    wait = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] - wait > graceful["graceful_timeout"]


def test_nginx_with_limits_is_valid(tmp_path):
    """The block that counts the streams of each address is one that nginx takes."""
    nginx_command(tmp_path, replaced(LIMITS, listen=("listen 80;", f"listen 127.0.0.1:{free_port()};")))


def test_client_key_counts_addresses_and_networks():
    """The key is the address, of IPv6 the network, and nobody is limited without an address."""
    names = {}
    exec(CLIENT_KEY, names)

    def key(address):
        return names["client_key"](type("Request", (), {"remote_addr": address}))

    assert key("192.0.2.1") == key("::ffff:192.0.2.1") == "192.0.2.1"
    assert key("2001:db8::1") == key("2001:db8::2") == "2001:db8::/64"
    assert key(None) is None


def test_handler_of_the_app_calls_the_one_before(tmp_path):
    """A process that gets SIGTERM runs the app's handler, and then the one that was there before."""
    before = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('The server stops.'))\n"
    program = tmp_path / "handler.py"
    program.write_text(f"{before}{HANDLER}\nsignal.raise_signal(signal.SIGTERM)\n", encoding="utf-8")
    assert run([sys.executable, str(program)], tmp_path) == "The app stops.\nThe server stops.\n"
