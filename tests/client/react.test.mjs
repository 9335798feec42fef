/** What the hook tells a component; the three functions of React that it calls are a few lines here. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, test } from "node:test";

import { Answer, PushSource, Server, settle } from "./harness.mjs";

const text = readFileSync(
  new URL("../../flask_sse_push/extension/client/react.mjs", import.meta.url),
  "utf8",
);
const body = text.replace(/^import .*$/gm, "").replace("export function", "return function");
let server;
let component;

/** One component: its hooks keep what they have by the order of the calls, as React's do. */
class Component {
  slots = [];
  cleanups = new Map();

  constructor() {
    const slot = (initial) => (this.slots[this.next++] ??= initial);
    const useRef = (current) => slot({ current });
    const useState = (initial) => {
      const own = slot({ value: initial });
      return [own.value, (value) => ((own.value = value), (this.isStale = true))];
    };
    const useEffect = (effect, deps) => {
      const own = slot({});
      if (own.deps?.every((each, index) => Object.is(each, deps[index]))) return;
      this.cleanups.get(own)?.();
      own.deps = deps;
      this.cleanups.set(own, effect());
    };
    const make = new Function("useEffect", "useRef", "useState", "PushSource", body);
    this.hook = make(useEffect, useRef, useState, PushSource);
  }

  async render(...props) {
    do {
      this.isStale = false;
      this.next = 0;
      this.status = this.hook(...props);
      await settle();
    } while (this.isStale);
    return this.status;
  }

  unmount() {
    for (const cleanup of this.cleanups.values()) cleanup?.();
  }
}

beforeEach(() => {
  server = new Server();
  component = new Component();
});

afterEach(() => component.unmount());

const URL_A = "http://localhost/a";
const URL_B = "http://localhost/b";

test("a component reads by its newest handlers, and its source is closed with it", async () => {
  const heard = [];
  await component.render(URL_A, { created: () => heard.push("old") }, { fetch: server.fetch });
  await component.render(URL_A, { created: ({ data }) => heard.push(data) }, { fetch: server.fetch });
  server.last.answer(new Answer()).write("event: created\ndata: tea\n\n");
  await settle();
  assert.deepEqual([heard, server.requests.length], [["tea"], 1]);
  component.unmount();
  assert.equal(server.last.isLive, false);
});

test("another URL is another source, and none tells nothing of the last one", async () => {
  const options = { fetch: server.fetch };
  await component.render(URL_A, {}, options);
  server.last.answer(new Answer()).write(":\n\n");
  await settle();
  assert.equal((await component.render(URL_A, {}, options)).state, "open");
  const { state, source } = await component.render(URL_B, {}, options);
  assert.deepEqual([state, source.url, server.requests[0].isLive], ["connecting", URL_B, false]);
  const last = await component.render(null, {}, options);
  assert.deepEqual([last.state, last.source, server.last.isLive], ["connecting", null, false]);
});

test("a component that reads nothing, and one without handlers, are fine", async () => {
  assert.equal((await component.render(null, {})).source, null);
  await component.render(URL_A, {}, { fetch: server.fetch });
  assert.equal(server.requests.length, 1);
});

test("a component that is gone hears nothing", async () => {
  await component.render(URL_A, {}, { fetch: server.fetch });
  component.unmount();
  component.isStale = false;
  server.last.fail();
  await settle();
  assert.equal(component.isStale, false);
});
