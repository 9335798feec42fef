/** Tabs that share a stream: the same script as page and as worker, with ports that a test can break. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Answer, Server, record, settle } from "./harness.mjs";

const SCRIPT = readFileSync(
  new URL("../../flask_sse_push/extension/client/sse-push.js", import.meta.url),
  "utf8",
);
const TYPES = ["message", "sse.reset"];

const realFetch = globalThis.fetch;
let server;
let workers;
let tabs;

/** Two ends of a port: what one posts the other hears, a copy, in order, and not at once. */
const makeChannel = () => {
  const ends = [{}, {}];
  ends.forEach((end, index) => {
    const other = ends[1 - index];
    end.postMessage = (data) => {
      if (end.drops?.(data)) return;
      queueMicrotask(() => !other.isClosed && other.onmessage?.({ data: structuredClone(data) }));
    };
    end.close = () => (end.isClosed = true);
  });
  return ends;
};

/** The global scope of a worker, with the script in it. */
const startWorker = () => {
  class Scope {}
  Object.setPrototypeOf(Scope.prototype, globalThis);
  const own = {
    SharedWorkerGlobalScope: Scope,
    location: new URL("http://localhost/worker"),
    fetch: server.fetch,
  };
  const scope = Object.assign(Object.create(Scope.prototype), own);
  new Function("globalThis", "SharedWorkerGlobalScope", SCRIPT)(scope, Scope);
  return scope;
};

class FakeSharedWorker {
  constructor(_, { name }) {
    if (!workers.has(name)) workers.set(name, { scope: startWorker(), ports: [] });
    const [page, inside] = makeChannel();
    this.port = page;
    const worker = workers.get(name);
    worker.ports.push(inside);
    queueMicrotask(() => worker.scope.onconnect({ ports: [inside] }));
  }
}

const openTab = async (options = {}) => {
  const source = new globalThis.PushSource("http://localhost/events", {
    share: "auto",
    script: "/sse-push.js",
    ...options,
  });
  const tab = { source, seen: record(source, TYPES) };
  tab.data = () => tab.seen.filter((event) => event.type === "message").map((event) => event.data);
  tabs.push(tab);
  await settle();
  return tab;
};

const events = (...numbers) => numbers.map((number) => `id: e-${number}\ndata: ${number}\n\n`).join("");
const theWorker = () => [...workers.values()].at(-1);

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1e12 });
  server = new Server();
  workers = new Map();
  tabs = [];
  globalThis.SharedWorker = FakeSharedWorker;
  globalThis.fetch = (...request) => server.fetch(...request); // of a tab that reads alone
  globalThis.location = new URL("http://localhost/page");
});

afterEach(async () => {
  for (const { source } of tabs) source.close();
  mock.timers.tick(60000);
  await settle();
  mock.timers.reset();
  globalThis.fetch = realFetch;
  delete globalThis.SharedWorker;
  delete globalThis.location;
});

test("tabs share one request, and each gets every event once", async () => {
  const [a, b] = [await openTab(), await openTab()];
  server.last.answer(new Answer()).write(`retry: 1000\nid: e-0\n\n${events(1, 2)}`);
  await settle();
  const c = await openTab();
  server.last.answered.write(events(3));
  await settle();
  assert.equal(server.requests.length, 1);
  assert.deepEqual([a.data(), b.data(), c.data()], [["1", "2", "3"], ["1", "2", "3"], ["3"]]);
  assert.deepEqual(
    [a, b, c].map(({ source }) => [source.readyState, source.lastEventId]),
    Array(3).fill([1, "e-3"]),
  );
});

test("a tab that lost a message sees the hole, and asks for what follows its place", async () => {
  const [a, b] = [await openTab(), await openTab()];
  server.last.answer(new Answer()).write(`retry: 1000\nid: e-0\n\n${events(1)}`);
  await settle();
  theWorker().ports[1].drops = ([word]) => word === "event";
  server.last.answered.write(events(2, 3));
  await settle();
  theWorker().ports[1].drops = null;
  assert.deepEqual(b.data(), ["1"]);
  server.last.answered.write(events(4));
  await settle();
  assert.deepEqual(
    [a.data(), b.data()],
    [
      ["1", "2", "3", "4"],
      ["1", "2", "3", "4"],
    ],
  );
  assert.equal(server.requests.length, 1);
});

test("a worker that begins anew on the same ports asks who is there, and nothing is lost", async () => {
  const [a, b] = [await openTab(), await openTab()];
  const first = server.last;
  first.answer(new Answer()).write(`retry: 1000\nid: e-0\n\n${events(1)}`);
  await settle();
  const worker = theWorker();
  const ports = worker.ports.splice(0);
  worker.scope = startWorker();
  first.fail();
  for (const port of ports) worker.scope.onconnect({ ports: [port] });
  await settle();
  assert.equal(server.last.headers.get("last-event-id"), "e-1");
  server.last.answer(new Answer()).write(`id: e-1\n\n${events(2)}`);
  await settle();
  assert.deepEqual(
    [a.data(), b.data()],
    [
      ["1", "2"],
      ["1", "2"],
    ],
  );
});

test("a tab whose place has left the worker's memory reads alone until it has caught up", async () => {
  const a = await openTab();
  server.last.answer(new Answer()).write("retry: 1000\nid: e-900\n\n");
  await settle();
  const shared = server.last;
  const b = await openTab({ lastEventId: "e-1" });
  assert.equal(server.requests.length, 2);
  assert.equal(server.last.headers.get("last-event-id"), "e-1");
  server.last.answer(new Answer()).write(`id: e-1\n\n${events(2, 900)}`);
  await settle();
  assert.deepEqual(b.data(), ["2", "900"]);
  mock.timers.tick(5000);
  await settle();
  assert.equal(server.last.isLive, false);
  shared.answered.write(events(901));
  await settle();
  assert.deepEqual([a.data(), b.data()], [["901"], ["2", "900", "901"]]);
});

for (const [what, headers, early, live] of [
  ["has a snapshot or a past", { "sse-push-sharing": "late" }, "", ""],
  ["keeps values", {}, ":kept\ndata: old\n\n", ""],
  ["has begun to keep values", {}, "", ":kept\nid: e-1\ndata: old\n\n"],
]) {
  test(`a new tab of a stream that ${what} gets what is there by a stream of its own`, async () => {
    const a = await openTab();
    const shared = server.last;
    shared.answer(new Answer({ headers })).write(`retry: 1000\n${early}id: e-${live ? 0 : 1}\n\n${live}`);
    await settle();
    const b = await openTab();
    assert.equal(server.requests.length, 2);
    assert.equal(server.last.headers.get("last-event-id"), null);
    server.last.answer(new Answer({ headers })).write(`retry: 1000\ndata: new\n\nid: e-1\n\n`);
    await settle();
    assert.deepEqual(b.data(), ["new"]);
    mock.timers.tick(5000);
    await settle();
    assert.equal(server.last.isLive, false);
    shared.answered.write(events(2));
    await settle();
    assert.deepEqual([a.data().at(-1), b.data()], ["2", ["new", "2"]]);
    assert.equal(server.requests.length, 2);
  });
}

test("a tab that is ahead of the shared stream joins it, and gets no event again", async () => {
  const a = await openTab();
  const shared = server.last;
  shared.answer(new Answer({ headers: { "sse-push-sharing": "late" } })).write("retry: 1000\nid: e-1\n\n");
  await settle();
  const b = await openTab();
  server.last.answer(new Answer()).write(`data: new\n\nid: e-5\n\n${events(8)}id: e-20\n\n`);
  await settle();
  mock.timers.tick(5000);
  await settle();
  assert.equal(server.last.isLive, false);
  assert.equal(b.source.lastEventId, "e-20");
  shared.answered.write(`id: e-4\n\n${events(8, 21)}`);
  await settle();
  assert.deepEqual(
    [a.data(), b.data()],
    [
      ["8", "21"],
      ["new", "8", "21"],
    ],
  );
  assert.equal(server.requests.length, 2);
  assert.equal(b.source.lastEventId, "e-21");
});

test("a tab that is ahead hears of a gap of the shared stream, and of another log nobody is ahead", async () => {
  const a = await openTab();
  const shared = server.last;
  shared.answer(new Answer({ headers: { "sse-push-sharing": "late" } })).write("retry: 1000\nid: e-1\n\n");
  await settle();
  const b = await openTab();
  server.last.answer(new Answer()).write("id: e-5\n\n");
  const c = await openTab();
  server.last.answer(new Answer()).write("id: f-5\n\n");
  await settle();
  mock.timers.tick(5000);
  await settle();
  assert.deepEqual([server.requests[1].isLive, server.requests[2].isLive], [false, true]);
  shared.answered.write("id: e-1\nevent: sse.reset\ndata: {}\n\ndata: all\n\nid: e-30\n\n");
  await settle();
  assert.deepEqual(
    [a, b].map((tab) => tab.seen.filter(({ type }) => TYPES.includes(type)).map(({ data }) => data)),
    [
      ["{}", "all"],
      ["{}", "all"],
    ],
  );
  assert.equal(b.source.lastEventId, "e-30");
  assert.deepEqual(c.data(), []);
});

test("what the worker's stream ends with, every tab hears", async () => {
  const [a, b] = [await openTab(), await openTab()];
  server.last.answer(new Answer({ status: 403, type: "application/json" }));
  await settle();
  for (const { source, seen } of [a, b]) {
    assert.equal(source.readyState, 2);
    assert.deepEqual(
      seen.filter((event) => event.type === "error").map((event) => [event.kind, event.final]),
      [["forbidden", true]],
    );
  }
});

test("where the server says that the stream is not to be shared, each tab has its own", async () => {
  const [a, b] = [await openTab(), await openTab()];
  server.last
    .answer(new Answer({ headers: { "sse-push-sharing": "no" } }))
    .write("id: secret-1\ndata: nobody's\n\n");
  await settle();
  const own = server.requests.slice(1);
  assert.equal(own.length, 2);
  own.forEach((request, index) =>
    request.answer(new Answer()).write(`id: e-1\n\nid: e-2\ndata: ${index}\n\n`),
  );
  await settle();
  assert.deepEqual([a.data(), b.data()], [["0"], ["1"]]);
  assert.equal(a.source.explain().shared, false);
});

test("the stream ends a second after its last tab", async () => {
  const [a, b] = [await openTab(), await openTab()];
  server.last.answer(new Answer()).write("retry: 1000\nid: e-0\n\n");
  await settle();
  a.source.close();
  b.source.close();
  await settle();
  assert.equal(server.last.isLive, true);
  mock.timers.tick(6000);
  await settle();
  assert.equal(server.last.isLive, false);
});

test("a page without a proof says so, and the server decides whether its tabs may share", async () => {
  await openTab();
  assert.equal(server.last.headers.get("sse-push-identity"), "unknown");
  await openTab({ identity: "proof" });
  assert.equal(server.last.headers.get("sse-push-identity"), "proof");
  await openTab({ share: false });
  assert.equal(server.last.headers.get("sse-push-identity"), null);
});

test("a module or a bundle takes the script and the proof of the page's tag", () => {
  const ofTag = globalThis.PushSource;
  const before = { script: ofTag.script, identity: ofTag.identity };
  Object.assign(ofTag, { script: "/events/client/sse-push.js?v=1", identity: "proof" });
  const load = (currentScript) => {
    globalThis.document = { currentScript };
    new Function(SCRIPT)();
    delete globalThis.document;
    return [globalThis.PushSource.script, globalThis.PushSource.identity];
  };
  assert.deepEqual(load(null), [ofTag.script, "proof"]);
  assert.deepEqual(load({ src: "/bundle.js", dataset: {} }), [ofTag.script, "proof"]);
  const ofNextPage = { src: "/events/client/sse-push.js?v=1", dataset: { identity: "of Bob" } };
  assert.deepEqual(load(ofNextPage), [ofTag.script, "of Bob"]);
  globalThis.PushSource = Object.assign(ofTag, before);
});

test("tabs of other visitors do not share", async () => {
  await openTab({ identity: "ann" });
  await openTab({ identity: "ann" });
  await openTab({ identity: "bob" });
  assert.deepEqual(
    server.requests.map((request) => request.headers.get("sse-push-identity")),
    ["ann", "bob"],
  );
});

test("tabs with other headers do not share, and an object of Headers is understood", async () => {
  await openTab({ headers: { "X-API-Key": "ann" } });
  await openTab({ headers: new Headers({ "X-API-Key": "ann" }) });
  await openTab({ headers: { "X-API-Key": "bob" } });
  assert.deepEqual(
    server.requests.map((request) => request.headers.get("x-api-key")),
    ["ann", "bob"],
  );
});

test("a replacement that is not to be shared is not", async () => {
  const [a, b] = [await openTab(), await openTab()];
  server.last.answer(new Answer()).write(`retry: 1000\nid: e-0\n\n${events(1)}`);
  await settle();
  a.source.reconnect();
  await settle();
  const replacement = server.last;
  replacement
    .answer(new Answer({ headers: { "sse-push-sharing": "no" } }))
    .write("id: e-1\n\ndata: ann's\n\n");
  await settle();
  assert.equal(replacement.isLive, false);
  assert.equal(server.requests.length, 4);
  assert.deepEqual([a.data(), b.data()], [["1"], ["1"]]);
});

test("a tab hears the last state of a shared stream", async () => {
  const tab = await openTab();
  server.last.answer(new Answer({ headers: { "sse-push-identity": "other" } }));
  await settle();
  assert.deepEqual(tab.seen.at(-1), { type: "sse.status", state: "closed", reason: "signed-out" });
  assert.equal(tab.source.explain().reason, "signed-out");
});

test("heartbeats take no place in the worker's memory", async () => {
  await openTab();
  const answer = server.last.answer(new Answer()).write(`retry: 1000\nid: e-0\n\n${events(1, 2)}`);
  await settle();
  answer.write(":\n\n".repeat(600));
  await settle();
  const late = await openTab({ lastEventId: "e-1" });
  assert.deepEqual(late.data(), ["2"]);
  assert.equal(server.requests.length, 1);
});

test("a tab that reads alone, and hears that it is over, does not hold the shared stream", async () => {
  const a = await openTab();
  const shared = server.last;
  shared.answer(new Answer()).write("retry: 1000\nid: e-900\n\n");
  await settle();
  const late = await openTab({ lastEventId: "e-1" });
  server.last.answer(new Answer({ status: 204 }));
  await settle();
  assert.deepEqual([late.source.readyState, late.seen.at(-1).state], [2, "closed"]);
  a.source.close();
  for (let beat = 0; beat < 3; beat++) {
    mock.timers.tick(5000);
    await settle();
  }
  assert.equal(shared.isLive, false);
});

test("close() in the open event of a tab that joins an open stream is final", async () => {
  await openTab();
  server.last.answer(new Answer()).write(`retry: 1000\nid: e-0\n\n${events(1, 2)}`);
  await settle();
  const source = new globalThis.PushSource("http://localhost/events", {
    share: "auto",
    script: "/sse-push.js",
    lastEventId: "e-1",
  });
  const seen = record(source, TYPES);
  source.addEventListener("open", () => source.close());
  tabs.push({ source, seen });
  await settle();
  assert.deepEqual(seen.at(-1), { type: "open" });
});
