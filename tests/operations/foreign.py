"""A server of somebody else, and what it may try with a terminal."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["HOSTILE", "Foreign"]

HOSTILE = "\x1b]0;owned\x07\x9b2J\x7f\u202e\u2028\u200f\r"
"""Sequences that steer a terminal, in 7 and in 8 bits, and marks that turn or break a line."""


class Foreign:
    """
    A server of somebody else: each path has an answer, status, headers and body, and every request is kept.
    """

    def __init__(self):
        self.answers, self.requests = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((time.monotonic(), self.path, self.headers))
                answers = outer.answers[self.path.partition("?")[0]]
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def url(self, path, user=""):
        return f"http://{user}127.0.0.1:{self.server.server_port}{path}"

    def stream(self, path, *bodies):
        self.answers[path] = [(200, {"Content-Type": "text/event-stream"}, body) for body in bodies]
