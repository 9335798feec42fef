"""
Servers that are started from Python, and an ASGI application around the app under test.

``serve_foreign.py KIND PORT`` starts one; ``tests.servers.serve_foreign:bridges`` makes an ASGI application.
"""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer, make_server

from tests.servers.app import app

THREADS = 5


class PooledServer(ThreadingMixIn, WSGIServer):
    """A server that nobody knows: it has a pool of threads, and does not say how many."""

    pool = ThreadPoolExecutor(THREADS)

    def process_request(self, request, client_address):
        self.pool.submit(self.process_request_thread, request, client_address)


class PooledHandler(WSGIRequestHandler):
    """Says what is true of it: there are threads."""

    def handle(self):
        self.raw_requestline = self.rfile.readline(65_537)
        if self.parse_request():
            handler = ServerHandler(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
            handler.server_software = None
            handler.request_handler = self
            handler.run(self.server.get_app())


def bridges():
    """Return an ASGI application: the first part of the path says which bridge leads to the app."""
    from a2wsgi import WSGIMiddleware
    from asgiref.wsgi import WsgiToAsgi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Starlette's advises a2wsgi
        from starlette.middleware.wsgi import WSGIMiddleware as StarletteMiddleware

    made = {"a2wsgi": WSGIMiddleware(app), "asgiref": WsgiToAsgi(app), "starlette": StarletteMiddleware(app)}

    async def application(scope, receive, send):
        name, _, path = scope.get("path", "/").removeprefix("/").rpartition("/")
        await made[name or "a2wsgi"]({**scope, "path": f"/{path}"}, receive, send)

    return application


def _bjoern(port):
    import bjoern

    bjoern.run(app, "127.0.0.1", port)


def _cheroot(port):
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), app, numthreads=THREADS).start()


def _tornado(port):
    import asyncio

    from tornado.httpserver import HTTPServer
    from tornado.wsgi import WSGIContainer

    async def serve():
        HTTPServer(WSGIContainer(app)).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(serve())


def _unknown(port):
    make_server("127.0.0.1", port, app, PooledServer, PooledHandler).serve_forever()


def _waitress(port):
    import waitress

    waitress.serve(app, host="127.0.0.1", port=port)


def _wsgiref(port):
    make_server("127.0.0.1", port, app).serve_forever()


if __name__ == "__main__":
    globals()[f"_{sys.argv[1]}"](int(sys.argv[2]))
