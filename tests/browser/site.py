"""
The site of the browser tests: each page listens with a PushSource and keeps account of what came.

Each page is under a strict Content-Security-Policy. What the server saw of streams, errors and reports is in
the journal, a line each.
"""

import json
import os
import secrets

from flask import Flask, Response, redirect, render_template_string, request, session

from flask_sse_push import sse, stream_closed, stream_opened

POLICY = "default-src 'self'; script-src 'self' 'nonce-{nonce}'; report-uri /journal/report"

PAGE = """<!doctype html><meta charset="utf-8"><title>{{ title }}</title>
{{ sse_push_script(nonce=nonce) }}{{ sse_push_script("sse-status.js") }}
<p>Page {{ title }}</p><sse-status></sse-status>
<script nonce="{{ nonce }}">
const query = new URLSearchParams(location.search);
const events = new PushSource(query.get("of") ?? `/events?channel=${query.get("channel")}`, {
  share: query.get("share") ?? false,
  lastEventId: query.get("cursor") ?? "",
  connectTimeout: Number(query.get("timeout") ?? 20000),
  retry: { first: 100, max: Number(query.get("max") ?? 1000) },
});
// Each number must be the one before it and 1, from the page's own place on, or a reset told of the gap.
const seen = { count: 0, last: null, problems: [], errors: [], resets: 0, restored: 0 };
if (query.has("after")) seen.last = +query.get("after");
let isBroken = false;
events.onmessage = ({ data }) => {
  const [number, sign] = data.split(" ");
  if (sign !== "€") seen.problems.push(data);
  if (seen.last !== null && +number !== seen.last + 1 && !isBroken) seen.problems.push([seen.last, +number]);
  seen.last = +number;
  seen.count++;
  isBroken = false;
};
events.addEventListener("sse.reset", () => (isBroken = !!++seen.resets));
events.onerror = ({ kind, status, final, retryIn }) => {
  seen.errors.push({ kind, status, final, retryIn, at: Date.now() });
  navigator.sendBeacon("/journal/error", String(kind));
};
addEventListener("pageshow", ({ persisted }) => (seen.restored += persisted));
document.querySelector("sse-status").source = events;
</script>"""


def note(*words):
    """Write a line into the journal; lines of several processes do not mix."""
    with open(os.environ["SITE_JOURNAL"], "ab", 0) as journal:
        journal.write(json.dumps([*words, os.getpid()]).encode() + b"\n")


def opened(sender, stream):
    """Note a stream."""
    note("opened", *stream.channels)


def closed(sender, stream, reason):
    """Note its end."""
    note("closed", *stream.channels)


def create_app():
    """Return the app; the settings come from the environment, as JSON."""
    app = Flask(__name__)
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
    app.config.from_prefixed_env("TEST_APP")
    app.secret_key = "a key for the tests"
    app.register_blueprint(sse, url_prefix="/events")
    stream_opened.connect(opened, app)
    stream_closed.connect(closed, app)

    @sse.identify
    def who():
        return session.get("who")

    @app.get("/ping")
    def ping():
        return {"pid": os.getpid()}

    @app.get("/")
    @app.get("/<title>")
    def page(title="home"):
        nonce = secrets.token_urlsafe()
        response = Response(render_template_string(PAGE, title=title, nonce=nonce))
        policy = POLICY.format(nonce=nonce)
        if "workers" in request.args:
            policy += f"; worker-src '{request.args['workers']}'"
        response.headers["Content-Security-Policy"] = policy
        return response

    @app.get("/login/<who>")
    def login(who):
        session["who"] = who
        return redirect(request.args.get("then", "/"))

    @app.get("/mine")
    def mine():
        return sse.stream(f"user.{session['who']}")

    @app.post("/journal/<kind>")
    def take(kind):
        note(kind, request.get_data(as_text=True))
        return "", 204

    @app.route("/answer/<int:status>", methods=["GET", "POST"])
    def answer(status):
        if "after" in request.args and "Last-Event-ID" not in request.headers:
            return Response("retry: 100\nid: 1\ndata: x\n\n", mimetype="text/event-stream")
        if status == 302:
            return redirect("/sign-in")
        return Response(None if status == 204 else "An answer.", status)

    return app


app = create_app()
