"""The page about front ends: each recipe runs in Chromium, with the real library from npm."""

import json
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
    "vue": "3.5.45",
}


class Recipe(NamedTuple):
    """What the page has for one front end, and the files of the library that it needs."""

    template: str
    files: dict[str, str] = {}
    script: str = ""
    view: str = ""
    order: str = ""
    is_push_source: bool = True


DOCTYPE = "<!doctype html>"
HTMX = (PAGE.block("htmx 2", "python"), PAGE.block("htmx 2", "html", "<li>"))
HTMX_4 = "<!doctype html>\n<title>Orders</title>\n"
TURBO = (PAGE.block("Turbo 8", "python"), PAGE.block("Turbo 8", "html", "<turbo-stream "))
DATASTAR = (PAGE.block("Datastar 1", "python"), PAGE.block("Datastar 1", "html", "<li>"))
DATASTAR_PAGE = PAGE.block("Datastar 1", "html", DOCTYPE)
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
        is_push_source=False,
    ),
    "turbo": Recipe(
        PAGE.block("Turbo 8", "html", DOCTYPE),
        {"turbo.es2017-umd.js": "@hotwired/turbo/dist/turbo.es2017-umd.js"},
        PAGE.block("Turbo 8", "js"),
        *TURBO,
    ),
    "react": Recipe(PAGE.block("React", "html")),
    "vue": Recipe(
        PAGE.block("Vue 3", "html"),
        {"vue.esm-browser.prod.js": "vue/dist/vue.esm-browser.prod.js"},
        PAGE.block("Vue 3", "js"),
    ),
    "svelte": Recipe(PAGE.block("Svelte 5", "html", DOCTYPE)),
}
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
    return folder


@pytest.fixture(scope="module")
def served(project):
    """One application with all recipes: each under its own name, where the page has the same one for all."""
    source = BASE
    for name, recipe in RECIPES.items():
        for folder in ("templates", "static"):
            (project / folder / name).mkdir(parents=True)
        for target, file in recipe.files.items():
            shutil.copy(project / "node_modules" / file, project / "static" / name / target)
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


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_shows_orders_and_loads_after_a_reset(name, served, window):
    """The page loads again after sse.reset, and shows each order once, as text, by the reader that is meant."""
    recipe = RECIPES[name]
    wait_for_streams(served, 0)
    httpx.post(f"{served.url}/told", json=["retry: 500\nevent: sse.reset\ndata: {}\n\n"])
    window.goto(f"{served.url}/page/{name}")
    eventually(lambda: told(served)["pages"] == [name, name], 10_000 * MS, "the page is asked for again")
    wait_for_streams(served, 1)
    assert told(served)["asked"] == ["nobody" if recipe.is_push_source else None] * 2
    url = f"{served.url}/{name}/orders" if recipe.view else f"{served.url}/orders"
    for number, item in enumerate(["<b>tea</b>", "coffee"]):
        httpx.post(url, json={"id": number, "item": item}, timeout=5 * FACTOR).raise_for_status()
    lines = window.locator("ul > li")
    eventually(lambda: lines.all_inner_texts() == ["<b>tea</b>", "coffee"], 10_000 * MS, "the orders are shown")
    assert told(served)["pages"] == [name, name]


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

    def order(item, expected):
        served.order(item)
        eventually(lambda: window.evaluate("seen") == expected, 10_000 * MS, f"the page sees {expected}")

    props = {"url": "/events?channel=orders", "name": "first", "type": "created"}
    show(props)
    eventually(lambda: window.inner_text("main") == "open", 10_000 * MS, "the stream is open")
    order("tea", ["first: tea"])
    show({**props, "name": "second"})
    order("coffee", ["first: tea", "second: coffee"])
    show({**props, "type": "message"})
    show({**props, "name": "third"})
    order("milk", ["first: tea", "second: coffee", "third: milk"])
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
