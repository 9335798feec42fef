"""
nchan in nginx: ``python -m benchmarks.servers.nchan PORT MODULE`` writes a configuration and becomes nginx.
"""

from __future__ import annotations

import os
import shutil
import sys

from ..programs import BUILD

CONFIGURATION = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
{user}
pid nginx.pid;
error_log error.log warn;
events {{ use epoll; worker_connections {connections}; }}
http {{
    access_log off;
    # One connection publishes everything.
    keepalive_requests 1000000000;
    nchan_shared_memory_size 512M;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /events {{
            nchan_subscriber eventsource;
            nchan_channel_id $arg_channel;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher;
            nchan_channel_id $arg_channel;
            # A stream that is further behind than this loses events.
            nchan_message_buffer_length 4000;
        }}
    }}
}}
"""


def main() -> None:
    """Write the configuration into a folder of its own, and become nginx."""
    port, module = sys.argv[1:]
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    assert nginx is not None, "peers.py has looked"
    files = os.sysconf("SC_OPEN_MAX")
    folder = BUILD / "nchan"
    folder.mkdir(parents=True, exist_ok=True)
    # Started as root it would go on as somebody who may not write here.
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIGURATION.format(port=port, module=module, user=user, files=files, connections=files - 100)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    os.execv(
        nginx, [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    )


if __name__ == "__main__":
    main()
