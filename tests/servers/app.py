"""The app under test; configured by SSE_PUSH_* in the environment, as JSON."""

import _thread
import gc
import logging
import os
import select
import socket
import sys
import threading
import time

from flask import Flask, request, stream_with_context

from flask_sse_push import Publisher, publish, sse, stream_closed, stream_opened

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def native_thread(run):
    """Start a thread that is one also where gevent has patched threading."""
    monkey = sys.modules.get("gevent.monkey")
    start = monkey.get_original("_thread", "start_new_thread") if monkey else _thread.start_new_thread
    start(run, ())


def pause(seconds):
    """Sleep as code in greenlets must where nothing is patched."""
    gevent = sys.modules.get("gevent")
    (gevent.sleep if gevent else time.sleep)(seconds)


def create_app():
    app = Flask(__name__)
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
    app.config.from_prefixed_env("TEST_APP")
    app.register_blueprint(sse, url_prefix="/events")
    app.closed = []
    app.opened = []

    # Kept here, so that the receivers live as long as the app (blinker holds them weakly).
    def closed(sender, stream, reason):
        app.closed.append(reason)

    def opened(sender, stream):
        app.opened.append(stream.remote_address)

    app.receivers = (closed, opened)
    stream_closed.connect(closed, app)
    stream_opened.connect(opened, app)

    @app.get("/ping")
    def ping():
        return {"pid": os.getpid()}

    @app.post("/shutdown")
    def shutdown():
        sse.shutdown()
        return {"streams": sse.stats()["streams"]}

    @app.get("/stats")
    def stats():
        return {
            **sse.stats(),
            "closed": app.closed,
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "files": len(os.listdir("/proc/self/fd")),
            "rss": int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        }

    @app.get("/stats-of-all")
    def stats_of_all():
        return sse.stats(all_processes=True)

    @app.post("/publish")
    def publish_some():
        order = request.get_json()
        data, count, seconds = order["data"], order.get("count", 1), order.get("pause")
        names = ("type", "channel", "retry", "idempotency_key", "key", "keep", "close")
        options = {name: order[name] for name in names if name in order}
        ids = []
        for number in range(count):
            ids.append(publish(number if data is None else data, **options))
            if seconds is not None:
                pause(seconds)
        return ids

    @app.post("/publish-for")
    def publish_for():
        """Publish as fast as it goes, for some seconds."""
        end = time.monotonic() + request.args.get("seconds", type=float)
        while time.monotonic() < end:
            publish("x" * 100)
            pause(0)
        return {}

    @app.post("/publish-natively")
    def publish_natively():
        """Publish from native threads, outside of any context."""
        order = request.get_json()

        def work(thread):
            for number in range(order["count"]):
                publish(f"{thread}:{number}", channel=order["channel"])

        for thread in range(order["threads"]):
            native_thread(lambda thread=thread: work(thread))
        return {}

    @app.route("/tokens", methods=["GET", "POST"])
    def tokens():
        count, seconds = request.args.get("count", 3, int), request.args.get("pause", 0.01, float)

        def generate():
            try:
                for number in range(count):
                    pause(seconds)
                    yield f"token {number}"
                return {"tokens": count}
            finally:
                app.closed.append("generator")

        return sse.response(generate())

    @app.post("/publish-in-the-loop")
    def publish_in_the_loop():
        import gevent

        gevent.get_hub().loop.run_callback(lambda: [publish(number, channel="loop") for number in range(100)])
        return {}

    @app.post("/fork")
    def fork():
        import multiprocessing

        child = multiprocessing.get_context("fork").Process(target=publish, args=("from the child",))
        child.start()
        child.join(5)
        return {"exitcode": child.exitcode}

    @app.post("/fork-and-publish")
    def fork_and_publish():
        """Leave a child behind that waits, so that its copy of the loop runs, and publish meanwhile."""
        if os.fork() == 0:
            try:
                pause(5)
            finally:
                os._exit(0)
        for number in range(10):
            pause(0.05)
            publish(number)
        return {}

    @app.post("/fork-and-wait")
    def fork_and_wait():
        """Leave a child behind that waits in its copy of the loop; return its process number."""
        child = os.fork()
        if child == 0:
            try:
                pause(60)
            finally:
                os._exit(0)
        return {"pid": child}

    @app.get("/relay")
    def relay():
        """Stream what somebody sends to a Unix socket."""

        def read():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(request.args["path"])
                while piece := sock.recv(1000):
                    yield piece.decode()

        return sse.response(stream_with_context(read()))

    @app.get("/forking-tokens")
    def forking_tokens():
        """The iterable itself forks: the child is this very greenlet, which waits and goes on."""

        def generate():
            ready, tell = os.pipe()
            if os.fork() == 0:
                try:
                    pause(0.1)
                    os.write(tell, b"the child went on")
                finally:
                    os._exit(0)
            os.close(tell)
            while not select.select([ready], [], [], 0)[0]:
                pause(0.05)
                yield "waiting"
            with os.fdopen(ready) as lines:
                return lines.read()

        return sse.response(generate())

    @app.post("/publish-among-finalizers")
    def publish_among_finalizers():
        """
        Publish while finalizers wait in the middle of whatever makes objects, as those of connections do.
        """

        class Connection:
            def __init__(self):
                self.itself = self

            def __del__(self):
                pause(0)

        before = gc.get_threshold()
        gc.set_threshold(50)
        end = time.monotonic() + 2
        number = 0
        while time.monotonic() < end:
            number += 1
            publish(number, channel=f"another.{number % 50}")
            publish(number)
            if not number % 20:
                Connection()
                pause(0)
        gc.set_threshold(*before)
        return [number]

    @app.get("/mine/<name>")
    def mine(name):
        return sse.stream(f"user.{name}", "sse")

    return app


if os.environ.get("TEST_APP_PUBLISHER"):
    Publisher(os.environ["TEST_APP_PUBLISHER"])

app = create_app()


def careless(wrapped):
    """Middleware as it is found: a generator around the body that never closes it."""

    def application(environ, start_response):
        yield from iter(wrapped(environ, start_response))

    return application


if os.environ.get("TEST_APP_CARELESS"):
    app.wsgi_app = careless(app.wsgi_app)
