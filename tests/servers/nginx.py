"""A real nginx, with the configurations of the documentation or others."""

import contextlib
import re
import socket
import subprocess

from tests.needs import needs
from tests.servers.harness import ROOT, eventually, free_port

__all__ = ["Nginx", "documented"]

MAIN = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    proxy_cache_path cache keys_zone=pages:1m;
{http}
}}
"""


def documented(page, section):
    """The nginx block of a section."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.search(rf"^##+ {section}\n.*?^```nginx\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]


class Nginx:
    """An nginx on a port of its own, for the harness' clients."""

    host = "127.0.0.1"

    def __init__(self, folder, http, upstream, connections=128):
        needs("nginx")
        self.port, self._folder = free_port(), folder
        http = re.sub(r"listen \d+;", f"listen 127.0.0.1:{self.port};", http)
        http = re.sub(r"server (unix:\S+|127\.0\.0\.1:8000);", f"server 127.0.0.1:{upstream};", http)
        (folder / "nginx.conf").write_text(MAIN.format(http=http, connections=connections), encoding="utf-8")

    def __enter__(self):
        command = ["nginx", "-p", str(self._folder), "-c", "nginx.conf", "-e", "error.log"]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, message="nginx did not start")
        return self

    def _answers(self):
        assert self._process.poll() is None, (self._folder / "error.log").read_text()
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port)).close()
            return True

    def __exit__(self, *exc_info):
        self._process.terminate()
        self._process.wait(10)
