/** What <sse-status> says, and that it may be loaded anywhere, at any time; on a document of a few lines. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, mock, test } from "node:test";

const load = new Function(
  readFileSync(new URL("../../flask_sse_push/extension/client/sse-status.js", import.meta.url), "utf8"),
);
let defined;

class Node {
  dataset = {};
  attributes = {};
  listeners = {};
  setAttribute = (name, value) => (this.attributes[name] = value);
  addEventListener = (type, listener) => (this.listeners[type] = listener);
}

class Element extends Node {
  isConnected = false;
  shadowRoot = null;
  attachShadow = () => (this.shadowRoot = { parts: [], append: (part) => this.shadowRoot.parts.push(part) });
}

class Source extends EventTarget {
  state = { state: "connecting", since: 1e12, reason: null, retryIn: null };
  listening = 0;
  explain = () => this.state;
  reconnect = () => (this.isAsked = true);

  addEventListener(...given) {
    this.listening++;
    super.addEventListener(...given);
  }

  removeEventListener(...given) {
    this.listening--;
    super.removeEventListener(...given);
  }

  tell(state) {
    this.state = { since: Date.now(), reason: null, retryIn: null, ...state };
    this.dispatchEvent(Object.assign(new Event("sse.status"), this.state));
  }
}

const attach = (element, isConnected = true) => {
  element.isConnected = isConnected;
  isConnected ? element.connectedCallback() : element.disconnectedCallback();
};
const partOf = (element, name) => element.shadowRoot.parts.find(({ attributes }) => attributes.part === name);
const shown = (element) => [partOf(element, "text").textContent, partOf(element, "count").textContent];
const make = (properties = {}) => {
  const element = Object.assign(new (defined.get("sse-status"))(), properties);
  attach(element);
  return element;
};

beforeEach(() => {
  mock.timers.enable({ apis: ["setInterval", "Date"], now: 1e12 });
  defined = new Map();
  Object.assign(globalThis, {
    HTMLElement: Element,
    CSSStyleSheet: class {
      replaceSync() {}
    },
    document: { createElement: () => new Node() },
    customElements: {
      get: (name) => defined.get(name),
      define(name, kind) {
        assert.ok(!defined.has(name), "defined twice");
        defined.set(name, kind);
      },
    },
  });
  load();
});

afterEach(() => {
  mock.timers.reset();
  for (const name of ["HTMLElement", "CSSStyleSheet", "document", "customElements"]) delete globalThis[name];
});

test("it shows each state, counts down, and its button tries now", () => {
  const source = new Source();
  const element = make({ source });
  source.tell({ state: "open" });
  assert.deepEqual(shown(element), ["Live", ""]);
  source.tell({ state: "waiting", reason: "network", retryIn: 5000 });
  assert.deepEqual(shown(element), ["Reconnecting", "in 5 s"]);
  mock.timers.tick(2000);
  assert.deepEqual(shown(element), ["Reconnecting", "in 3 s"]);
  partOf(element, "button").listeners.click();
  assert.equal(source.isAsked, true);
  source.tell({ state: "closed", reason: "signed-out" });
  assert.deepEqual(shown(element), ["Signed out", ""]);
});

test("an element that comes later shows why, and how long", () => {
  const source = new Source();
  source.tell({ state: "waiting", reason: "offline", retryIn: 9000 });
  mock.timers.tick(4000);
  assert.deepEqual(shown(make({ source })), ["Offline", "in 5 s"]);
  source.tell({ state: "closed", reason: "forbidden" });
  assert.deepEqual(shown(make({ source })), ["Not allowed", ""]);
});

test("an element that leaves the page holds no listener and no timer, and works when it comes back", () => {
  const source = new Source();
  const element = make({ source });
  source.tell({ state: "waiting", retryIn: 60000 });
  source.listening = 1;
  attach(element, false);
  assert.equal(source.listening, 0);
  source.tell({ state: "waiting", retryIn: 30000 });
  attach(element);
  assert.deepEqual(shown(element), ["Reconnecting", "in 30 s"]);
  mock.timers.tick(1000);
  assert.deepEqual(shown(element), ["Reconnecting", "in 29 s"]);
});

test("what was set before the script ran counts", () => {
  const source = new Source();
  const element = new (defined.get("sse-status"))();
  for (const [name, value] of Object.entries({ source, texts: { open: "Verbunden" } }))
    Object.defineProperty(element, name, { value, writable: true, configurable: true, enumerable: true });
  attach(element);
  source.tell({ state: "open" });
  assert.deepEqual(shown(element), ["Verbunden", ""]);
  assert.deepEqual(element.source, source);
});

test("a second copy of the script defines nothing", () => {
  load();
  assert.equal(defined.size, 1);
});

test("a server that renders pages may load it", () => {
  delete globalThis.customElements;
  delete globalThis.HTMLElement;
  load();
});
