"""The page about front ends: each recipe runs in Chromium, with the real library from npm."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.docs.pages import page
from tests.docs.served import SERVE, Served, environment_for, run
from tests.needs import lacking, needs
from tests.support import FACTOR, MS, eventually

PAGE = page("docs/front-ends.md")
BASE = PAGE.block("The application", "python")
PACKAGES = {
    "@hotwired/turbo": "8.0.23",
    "esbuild": "0.28.2",
    "htmx-ext-sse": "2.2.4",
    "htmx.org": "2.0.11",
    "htmx4": "npm:htmx.org@4.0.1",
    "react": "19.3.1",
    "react-dom": "19.3.1",
    "svelte": "5.57.3",
    "typescript": "5.9.3",
    "vue": "3.5.45",
}


class Recipe(NamedTuple):
    """What the page has for one front end, and the files of the library that it needs."""

    template: str
    files: dict[str, str] = {}
    script: str = ""
    view: str = ""
    order: str = ""
    reader: str = "PushSource"
    """What reads the stream: ``replaced`` is a PushSource that the library makes for an EventSource."""

    @property
    def proof(self):
        """Whose page it is, as the stream says: only a PushSource says it."""
        return "nobody" if self.reader in ("PushSource", "replaced") else None


DOCTYPE = "<!doctype html>"
HTMX = (PAGE.block("htmx 2", "python"), PAGE.block("htmx 2", "html", "<li>"))
HTMX_4 = "<!doctype html>\n<title>Orders</title>\n"
TURBO = (PAGE.block("Turbo 8", "python"), PAGE.block("Turbo 8", "html", "<turbo-stream "))
DATASTAR = (PAGE.block("Datastar 1", "python"), PAGE.block("Datastar 1", "html", "<li>"))
TURBO_PAGE = PAGE.block("Turbo 8", "html", DOCTYPE)
TURBO_ELEMENT_PAGE = TURBO_PAGE + PAGE.block("Turbo 8", "html", "<turbo-stream-source")
INSTALL, BUNDLE = PAGE.block("React", "sh").splitlines()
JSX = PAGE.block("React", "jsx")
SVELTE = PAGE.block("Svelte 5", "html", "<script>")
RECIPES = {
    "htmx-2": Recipe(
        PAGE.block("htmx 2", "html", DOCTYPE),
        {"htmx.min.js": "htmx.org/dist/htmx.min.js", "sse.min.js": "htmx-ext-sse/dist/sse.min.js"},
        PAGE.block("htmx 2", "js"),
        *HTMX,
    ),
    "htmx-4": Recipe(
        PAGE.block("htmx 4", "html", f"{HTMX_4}{{{{ sse_push_script()"),
        {"htmx.min.js": "htmx4/dist/htmx.min.js"},
        PAGE.block("htmx 4", "js", "const"),
        *HTMX,
    ),
    "htmx-4-sse": Recipe(
        PAGE.block("htmx 4", "html", f"{HTMX_4}<meta"),
        {"htmx.min.js": "htmx4/dist/htmx.min.js", "hx-sse.min.js": "htmx4/dist/ext/hx-sse.min.js"},
        PAGE.block("htmx 4", "js", "document"),
        *HTMX,
        reader="hx-sse",
    ),
    "turbo": Recipe(
        TURBO_PAGE,
        {"turbo.es2017-umd.js": "@hotwired/turbo/dist/turbo.es2017-umd.js"},
        PAGE.block("Turbo 8", "js"),
        *TURBO,
    ),
    "turbo-element": Recipe(
        TURBO_ELEMENT_PAGE,
        {"turbo.es2017-umd.js": "@hotwired/turbo/dist/turbo.es2017-umd.js"},
        "",
        *TURBO,
        reader="EventSource",
    ),
    "datastar": Recipe(PAGE.block("Datastar 1", "html", DOCTYPE), {}, "", *DATASTAR, reader="Datastar"),
    "react": Recipe(PAGE.block("React", "html")),
    "vue": Recipe(
        PAGE.block("Vue 3", "html"),
        {"vue.esm-browser.prod.js": "vue/dist/vue.esm-browser.prod.js"},
        PAGE.block("Vue 3", "js"),
    ),
    "svelte": Recipe(PAGE.block("Svelte 5", "html", DOCTYPE)),
}
# The whole migration to PushSource: another word in the library's own code.
REPLACED = {
    f"{name}-replaced": RECIPES[name]._replace(script="", reader="replaced")
    for name in ("htmx-2", "turbo-element")
}
ALL = RECIPES | REPLACED
# What is added to the application: the pages under names of their own, what was asked, what is answered.
HOOKS = """
from flask import Response, jsonify

pages, asked, answers = [], [], []


@app.before_request
def answer_for_the_test():
    if request.path == "/events":
        asked.append(request.headers.get("SSE-Push-Identity"))
        if answers:
            return Response(answers.pop(0), content_type="text/event-stream")


@app.get("/page/<name>")
def page_of(name):
    pages.append(name)
    return render_template(f"{name}/orders.html")


@app.route("/told", methods=["GET", "POST"])
def tell():
    if request.method == "POST":
        pages.clear()
        asked.clear()
        answers[:] = request.get_json()
    return jsonify(pages=pages, asked=asked, streams=sse.stats()["streams"])
"""
# What a bundler with the plugin of Svelte does.
SVELTE_BUNDLE = """
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { compile } from "svelte/compiler";

const svelte = {
  name: "svelte",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\\.svelte$/ }, ({ path }) => ({
      contents: compile(readFileSync(path, "utf8"), { filename: path, generate: "client" }).js.code,
    })),
};
const contents =
  'import { mount } from "svelte"; import Orders from "./Orders.svelte"; ' +
  'mount(Orders, { target: document.getElementById("orders") });';
await build({
  stdin: { contents, resolveDir: "." },
  bundle: true,
  conditions: ["svelte", "browser"],
  format: "esm",
  outfile: "static/svelte/orders.js",
  plugins: [svelte],
});
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with all packages of npm, and the package of the browser's half as the page installs it."""
    needs("node", "npm", "bash")
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
    try:
        subprocess.run(
            ["bash", "-c", f"{INSTALL} --silent --no-audit --no-fund --ignore-scripts --prefer-offline"],
            cwd=folder,
            env=environment_for(folder, HOME=str(Path.home())),  # where npm keeps what it has fetched
            check=True,
            capture_output=True,
            timeout=300 * FACTOR,
        )
    except subprocess.SubprocessError as error:
        lacking(f"needs npm's registry ({error})")
    yield folder
    shutil.rmtree(folder / "node_modules")  # pytest keeps the folders of three runs, and this is large


@pytest.fixture(scope="module")
def served(project):
    """One application with all recipes: each under its own name, where the page has the same one for all."""
    source = BASE
    for name, recipe in ALL.items():
        for folder in ("templates", "static"):
            (project / folder / name).mkdir(parents=True)
        for target, file in recipe.files.items():
            code = (project / "node_modules" / file).read_text()
            if recipe.reader == "replaced":
                code = code.replace("new EventSource(", "new PushSource(")
            (project / "static" / name / target).write_text(code)
        (project / f"static/{name}/orders.js").write_text(recipe.script)
        (project / f"templates/{name}/orders.html").write_text(
            recipe.template.replace("/static/", f"/static/{name}/")
        )
        (project / f"templates/{name}/order.html").write_text(recipe.order)
        source += (
            recipe.view.replace('"/orders"', f'"/{name}/orders"')
            .replace('"order.html"', f'"{name}/order.html"')
            .replace("create_order", f"create_order_{name.replace('-', '_')}")
        )
    (project / "orders.jsx").write_text(JSX)
    run(["bash", "-c", BUNDLE.replace("static/", "static/react/")], project)
    (project / "Orders.svelte").write_text(SVELTE)
    (project / "bundle.mjs").write_text(SVELTE_BUNDLE)
    run(["node", "bundle.mjs"], project)
    served = Served(project, source + HOOKS, command=SERVE.replace("-w 4", "-w 1"))
    yield served
    served.stop()


def told(served):
    return httpx.get(f"{served.url}/told", timeout=5 * FACTOR).json()


def wait_for_streams(served, count):
    eventually(lambda: told(served)["streams"] == count, 10_000 * MS, f"{count} streams are open")


def open_page(served, window, name, answers=()):
    """Open the page of a recipe; ``answers`` are what its first requests for the stream get."""
    wait_for_streams(served, 0)
    httpx.post(f"{served.url}/told", json=answers, timeout=5 * FACTOR)
    window.goto(f"{served.url}/page/{name}")
    eventually(
        lambda: not answers or told(served)["pages"] == [name] * 2, 10_000 * MS, "the page loads again"
    )
    wait_for_streams(served, 1)


def order(served, item, name=""):
    path = f"/{name}/orders" if name and ALL[name].view else "/orders"
    answer = httpx.post(served.url + path, json={"id": item, "item": item}, timeout=5 * FACTOR)
    assert answer.status_code == 201


def shows_orders(served, window, name):
    """Order twice, and wait until the page shows both, once, and as text."""
    for item in ("<b>tea</b>", "coffee"):
        order(served, item, name)
    lines = window.locator("ul > li")
    eventually(
        lambda: lines.all_inner_texts() == ["<b>tea</b>", "coffee"], 10_000 * MS, "the orders are shown"
    )


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - {"turbo-element", "datastar"}))
def test_recipe_shows_orders_and_loads_after_a_reset(name, served, window):
    """The page loads again after sse.reset, and shows each order once, as text, by the right reader."""
    open_page(served, window, name, ["retry: 500\nevent: sse.reset\ndata: {}\n\n"])
    assert told(served)["asked"] == [ALL[name].proof] * 2
    shows_orders(served, window, name)
    assert told(served)["pages"] == [name, name]


@pytest.mark.parametrize("name", ["turbo-element", *REPLACED])
def test_library_reads_by_a_source_of_its_own(name, served, window):
    """Libraries that make an EventSource show orders by it, and by a PushSource where it says so instead."""
    open_page(served, window, name)
    shows_orders(served, window, name)
    assert told(served)["asked"] == [ALL[name].proof]


def test_datastar_gets_the_bytes_of_its_own_helpers(served):
    """The stream has the very bytes that datastar-py 1 makes, apart from the id of the event."""
    needs(modules=["datastar_py"])
    from datastar_py import ServerSentEventGenerator

    html = "<li>&lt;b&gt;tea&lt;/b&gt;</li>"
    expected = (
        "event: datastar-patch-elements\n"
        "data: mode append\n"
        "data: selector #orders\n"
        f"data: elements {html}\n\n"
    )
    assert ServerSentEventGenerator.patch_elements(html, "#orders", "append") == expected
    with (
        httpx.Client(timeout=10 * FACTOR) as client,
        client.stream("GET", f"{served.url}/events?channel=orders&datastar=%7B%7D") as response,
    ):
        chunks = response.iter_raw()
        received = next(chunks)
        order(served, "<b>tea</b>", "datastar")
        while b"</li>\n\n" not in received:
            received += next(chunks)
    block = received.decode().split("\n\n")[-2] + "\n\n"
    assert re.sub(r"^id: .*\n", "", block, flags=re.MULTILINE) == expected


# A component in StrictMode, which mounts it twice, as a test renders it.
READER = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { usePushSource } from "sse-push/react";

window.seen = [];

function Reader({ url, name, type }) {
  const see = (event) => window.seen.push(`${name}: ${event.json.item}`);
  window.told = usePushSource(url, { [type]: see });
  return window.told.state;
}

const root = createRoot(document.body.appendChild(document.createElement("main")));
window.show = (props) => root.render(<StrictMode>{props && <Reader {...props} />}</StrictMode>);
"""


def test_react_hook_keeps_one_stream_and_the_newest_handlers(served, window):
    """
    In StrictMode a component has one stream. It outlives renders with other handlers and other types, is
    replaced with the URL, and ends with the component. The newest handlers see the events.
    """
    (served.folder / "reader.jsx").write_text(READER)
    run(["bash", "-c", BUNDLE.replace("orders", "reader")], served.folder)
    wait_for_streams(served, 0)
    httpx.post(f"{served.url}/told", json=[])
    (served.folder / "static/reader.html").write_text(
        "<!doctype html><body></body><script src=/static/reader.js></script>"
    )
    window.goto(f"{served.url}/static/reader.html")

    def show(props):
        window.evaluate("props => show(props)", props)

    def sees(item, expected):
        order(served, item)
        eventually(lambda: window.evaluate("seen") == expected, 10_000 * MS, f"the page sees {expected}")

    props = {"url": "/events?channel=orders", "name": "first", "type": "created"}
    show(props)
    eventually(lambda: window.inner_text("main") == "open", 10_000 * MS, "the stream is open")
    sees("tea", ["first: tea"])
    show({**props, "name": "second"})
    sees("coffee", ["first: tea", "second: coffee"])
    show({**props, "type": "message"})
    show({**props, "name": "third"})
    sees("milk", ["first: tea", "second: coffee", "third: milk"])
    assert told(served)["asked"] == [None]  # one request, of a page without the tag
    show({**props, "url": "/events?channel=orders&heartbeat=event"})
    eventually(lambda: len(told(served)["asked"]) == 2, 10_000 * MS, "the new URL is asked")
    wait_for_streams(served, 1)
    show({**props, "url": None})
    wait_for_streams(served, 0)
    assert window.evaluate("[told.state, told.source]") == ["closed", None]
    show(props)
    wait_for_streams(served, 1)
    show(None)
    wait_for_streams(served, 0)
    assert len(told(served)["asked"]) == 3


# What users of TypeScript write; what is marked as an error must be one.
TYPED = """
import { PushSource } from "sse-push";
import { usePushSource } from "sse-push/react";

const source = new PushSource("/events", { share: "auto", retry: (failures, error) => error.status || null });
source.addEventListener("error", ({ kind, retryIn }) => kind === "signed-out" && retryIn);
const handlers = {
  created: (event: MessageEvent) => event.data,
};
const { state, source: own } = usePushSource("/events", handlers);
const isOpen: boolean = state === "open" && own?.readyState === PushSource.OPEN;
usePushSource(isOpen ? "/events" : null, {
  created: (event) => event.json.item,
  error: (event) => event.kind,
  "sse.reset": (event) => event.json.channels.length,
  // @ts-expect-error
  open: (event) => event.kind,
});
// @ts-expect-error
usePushSource("/events", {}, { share: "always" });
"""


def test_types_are_those_of_the_package(project):
    """TypeScript finds the types of both modules, knows each event, and sees mistakes."""
    (project / "typed.ts").write_text(TYPED)
    tsc = ["node_modules/.bin/tsc", "--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"]
    assert run([*tsc, "typed.ts"], project) == ""
