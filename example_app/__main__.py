"""Run the example: ``python -m example_app [--port 8000] [--host 127.0.0.1]``."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import socket
import sys
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the options, see that the address is free, and become the server."""
    options = read_options()
    if importlib.util.find_spec("psutil") is None:
        sys.exit(
            "The example measures the machine with psutil, which is not installed. Run: pip install -e "
            "'.[example]'"
        )
    refuse_unusable_address(options.host, options.port)
    # gunicorn is not there on Windows; the server that comes with Flask serves a thread per stream.
    if os.name == "posix" and importlib.util.find_spec("gunicorn") and importlib.util.find_spec("gevent"):
        run_gunicorn(options.host, options.port)
    else:
        run_development_server(options.host, options.port)


def read_options() -> argparse.Namespace:
    """Return the command line's ``host`` and ``port``."""
    parser = argparse.ArgumentParser(
        prog="python -m example_app",
        description="Show this machine's processor, memory and load on a web page, live.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, for this machine alone)",
    )
    parser.add_argument(
        "--port", default=8000, type=port_number, help="port to listen on (default: %(default)s)"
    )
    return parser.parse_args()


def port_number(text: str) -> int:
    """
    Return a port's number.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, got {text!r}")
    return int(text)


def refuse_unusable_address(host: str, port: int) -> None:
    """
    End with the cure if nothing can listen there: gunicorn would try five times, and then not say what to do.
    """
    error = try_to_listen(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        free = next(
            (
                other
                for other in range(port + 1, min(port + 100, 65_536))
                if try_to_listen(host, other) is None
            ),
            None,
        )
        cure = "Stop it, or choose another port" + (
            f": python -m example_app --port {free}" if free else " with --port"
        )
        sys.exit(f"Port {port} of {host} is in use by another program. {cure}")
    if error.errno == errno.EACCES:
        sys.exit(
            f"Port {port} needs rights that you do not have. Choose one above 1023: python -m example_app "
            "--port 8000"
        )
    sys.exit(
        f"Nothing can listen on {host}: {error.strerror or error}. Choose an address of this machine: "
        "python -m example_app --host 127.0.0.1"
    )


def try_to_listen(host: str, port: int) -> OSError | None:
    """Return why nothing can listen there; ``None`` when it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            if os.name == "posix":
                # A port whose last server has just ended is free; elsewhere the option would allow to share a
                # port in use.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen()
    except OSError as error:
        return error
    return None


def run_gunicorn(host: str, port: int) -> None:
    """Turn this process into gunicorn: signals, Ctrl-C and the exit status are its own."""
    os.chdir(ROOT)
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    arguments = [
        "-m",
        "gunicorn",
        "--config",
        "python:example_app.gunicorn_conf",
        "--bind",
        bind,
        "example_app.app:app",
    ]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  # our own interpreter, and no shell


def run_development_server(host: str, port: int) -> None:
    """Serve with threads, where there is no gunicorn."""
    from .app import (
        app,
    )  # gunicorn's worker imports it for itself, after gevent has patched the standard library

    app.run(host, port, threaded=True)


if __name__ == "__main__":
    main()
