/** What goes wrong around a source: functions that never settle, odd options, calls at odd times. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Answer, PushSource, Server, URL_OF_STREAM, record, settle } from "./harness.mjs";

const PRELUDE = "retry: 1000\nid: e-1\n\n";
let server;
let source;
let seen;

const open = async (options = {}) => {
  server = new Server();
  source = new PushSource(URL_OF_STREAM, { fetch: server.fetch, ...options });
  seen = record(source);
  await settle();
  return server.last;
};

const pass = async (ms) => {
  mock.timers.tick(ms);
  await settle();
};

/** The clock is set; no timer fires for it. */
const setClock = (ms) => {
  const before = Date.now;
  mock.method(Date, "now", () => before() + ms);
};

const only = (type) => seen.filter((event) => event.type === type);

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1e12 });
  mock.method(Math, "random", () => 0.5);
});

afterEach(() => {
  source?.close();
  mock.restoreAll();
  mock.timers.reset();
});

for (const [what, options] of [
  ["headers()", { headers: () => new Promise(() => {}) }],
  ["a fetch() that ignores the signal", { fetch: () => new Promise(() => {}) }],
]) {
  test(`${what}, and never settles, is a timeout and tried again`, async () => {
    let asked = 0;
    const [[name, stuck]] = Object.entries(options);
    await open({ [name]: (...given) => (asked++, stuck(...given)) });
    await pass(20000);
    assert.deepEqual([only("error")[0]?.kind, source.readyState], ["timeout", 0]);
    await pass(only("error")[0].retryIn);
    assert.equal(asked, 2);
  });
}

test("an answer that comes after its timeout or after close() is let go", async () => {
  for (const end of [() => pass(20000), async () => source.close()]) {
    let resolve;
    await open({ fetch: () => new Promise((settled) => (resolve = settled)) });
    await end();
    const late = new Answer().write(PRELUDE);
    resolve(late.response);
    await settle();
    assert.equal(late.isCancelled, true);
    assert.equal(only("open").length, 0);
    source.close();
  }
});

test("close() in the open event lets go of a body whose fetch() ignores the signal", async () => {
  const answer = new Answer();
  source = new PushSource(URL_OF_STREAM, { fetch: async () => answer.response });
  source.addEventListener("open", () => source.close());
  await settle();
  assert.equal(answer.isCancelled, true);
});

test("what a refusal says can be read by who begins in the error event, final or not", async () => {
  for (const status of [403, 503]) {
    const request = await open();
    let said;
    source.addEventListener("error", ({ response }) => (said = response.text()));
    const answer = request.answer(new Answer({ status, type: "application/json" }));
    await settle();
    await pass(40000); // the next attempt is under way
    answer.write('{"message": "why"}').end();
    assert.equal(await said, '{"message": "why"}');
    source.close();
  }
});

test("a refusal that nobody reads keeps no connection", async () => {
  for (const status of [403, 503]) {
    const request = await open();
    request.answer(new Answer({ status, type: "application/json" }));
    await settle();
    assert.equal(request.isLive, false);
    source.close();
  }
});

for (const wrong of [NaN, -1, undefined, "soon", Promise.resolve(5)]) {
  test(`a schedule that returns ${wrong} is replaced by the usual one`, async () => {
    (await open({ retry: () => wrong })).fail();
    await settle();
    assert.equal(only("error")[0].retryIn, 3250);
  });
}

test("a schedule that returns Infinity is the longest wait, and 0 the shortest", async () => {
  for (const [given, wait] of [
    [Infinity, 2 ** 31 - 1],
    [0, 100],
  ]) {
    (await open({ retry: () => given })).fail();
    await settle();
    assert.equal(only("error")[0].retryIn, wait);
    source.close();
  }
});

test("close() in the schedule is final, and reconnect() in it is the next attempt", async () => {
  (await open({ retry: () => source.close() })).fail();
  await settle();
  await pass(60000);
  assert.deepEqual([source.readyState, only("error").length, server.requests.length], [2, 0, 1]);
  (await open({ retry: () => source.reconnect() })).fail();
  await settle();
  await pass(10000);
  assert.equal(server.requests.length, 2);
});

test("an option that is undefined or null is as if it were not there", async () => {
  const nothing = { connectTimeout: undefined, maxEventBytes: undefined, lastEventId: null, headers: null };
  const retry = { first: undefined, factor: undefined, max: undefined, limit: undefined };
  const request = await open({ ...nothing, retry });
  assert.equal(source.lastEventId, "");
  await pass(20000);
  assert.deepEqual([only("error")[0]?.kind, only("error")[0]?.retryIn], ["timeout", 3250]);
  await pass(3250);
  server.last.answer(new Answer()).write(`data: ${"x".repeat(4e6)}`);
  await settle();
  assert.equal(only("error").at(-1).kind, "protocol");
  assert.equal(request.isLive, false);
  assert.equal(new PushSource(URL_OF_STREAM, null).close(), undefined);
});

test("an option that is undefined leaves the identity of the tag", async () => {
  PushSource.identity = "proof";
  try {
    const request = await open({ identity: undefined });
    assert.equal(request.headers.get("sse-push-identity"), "proof");
  } finally {
    PushSource.identity = undefined;
  }
});

test("limit 0 gives up at the first failure, and not at a clean end of a useful stream", async () => {
  const request = await open({ retry: { limit: 0 } });
  request.answer(new Answer()).write(`${PRELUDE}data: x\n\n`).end();
  await settle();
  assert.equal(only("error")[0].final, false);
  await pass(1000);
  server.last.fail();
  await settle();
  assert.deepEqual([only("error")[1].kind, source.readyState], ["gave-up", 2]);
});

test("a signal that is aborted already asks for nothing, and for await ends at once", async () => {
  await open({ signal: AbortSignal.abort() });
  for await (const event of source) assert.fail(event);
  assert.deepEqual([source.readyState, server.requests.length, seen.length], [2, 0, 0]);
});

test("close() right after the constructor asks for nothing", async () => {
  server = new Server();
  source = new PushSource(URL_OF_STREAM, { fetch: server.fetch });
  source.close();
  await settle();
  assert.equal(server.requests.length, 0);
});

test("reconnect() right after the constructor is one attempt", async () => {
  server = new Server();
  source = new PushSource(URL_OF_STREAM, { fetch: server.fetch });
  source.reconnect();
  await settle();
  assert.equal(server.requests.length, 1);
});

test("reconnect() during a replacement, and while connecting, leaves no second request", async () => {
  const request = await open();
  source.reconnect();
  await settle();
  assert.deepEqual([request.isLive, server.requests.length], [false, 2]);
  server.last.answer(new Answer()).write(PRELUDE);
  await settle();
  for (let time = 0; time < 3; time++) source.reconnect();
  await settle();
  assert.equal(server.requests.length, 3);
});

test("onAuthError that never settles waits, and reconnect() goes past it", async () => {
  const request = await open({ onAuthError: () => new Promise(() => {}) });
  request.answer(new Answer({ status: 401 }));
  await settle();
  await pass(600000);
  assert.deepEqual([server.requests.length, only("error").length, source.readyState], [1, 0, 0]);
  source.reconnect();
  await settle();
  server.last.answer(new Answer()).write(PRELUDE);
  await settle();
  assert.deepEqual([source.readyState, request.isLive], [1, false]);
});

test("onAuthError that throws is final", async () => {
  const request = await open({ onAuthError: () => Promise.reject(new Error("mine")) });
  request.answer(new Answer({ status: 401 }));
  await settle();
  assert.deepEqual([only("error")[0].kind, source.readyState], ["auth", 2]);
});

test("a POST is not sent again after a sleep, nor when its page comes back from the cache", async () => {
  const heard = new Map();
  globalThis.addEventListener = (type, handler) => heard.set(type, handler);
  globalThis.removeEventListener = () => {};
  try {
    (await open({ method: "POST", body: "x" })).answer(new Answer()).write(PRELUDE);
    await settle();
    setClock(40000);
    heard.get("online")();
    await settle();
    assert.deepEqual([server.requests.length, source.readyState], [1, 1]);
    heard.get("pagehide")();
    heard.get("pageshow")();
    await settle();
    assert.equal(server.requests.length, 1);
    assert.deepEqual(
      [only("error")[0].kind, only("error")[0].final, source.readyState],
      ["network", true, 2],
    );
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test("a page that goes while it connects asks again when it comes back, without an error", async () => {
  const heard = new Map();
  globalThis.addEventListener = (type, handler) => heard.set(type, handler);
  globalThis.removeEventListener = (type) => heard.delete(type);
  try {
    const request = await open();
    heard.get("pagehide")();
    await settle();
    assert.equal(request.isLive, false);
    heard.get("pageshow")();
    await settle();
    for (let time = 0; time < 20; time++) heard.get("online")();
    await settle();
    assert.deepEqual([server.requests.length, only("error").length, source.readyState], [2, 0, 0]);
    source.close();
    assert.equal(heard.size, 0);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test("a clock that is put back does not blind the watchdog", async () => {
  (await open()).answer(new Answer()).write(PRELUDE);
  await settle();
  setClock(-3600000);
  for (let second = 0; second < 23; second++) await pass(1000);
  assert.equal(only("error")[0]?.kind, "stalled");
});

for (const [heartbeat, what] of [
  ["0", "0"],
  ["soon", "no number"],
]) {
  test(`a heartbeat of ${what} announces none`, async () => {
    (await open()).answer(new Answer({ headers: { "sse-push-heartbeat": heartbeat } })).write(PRELUDE);
    await settle();
    for (let second = 0; second < 60; second++) await pass(1000);
    assert.equal(only("error").length, 0);
  });
}

test("stallTimeout 0 and false mean no watchdog", async () => {
  for (const stallTimeout of [0, false]) {
    (await open({ stallTimeout })).answer(new Answer()).write(PRELUDE);
    await settle();
    for (let second = 0; second < 60; second++) await pass(1000);
    assert.deepEqual([only("error").length, source.readyState], [0, 1]);
    source.close();
  }
});

test("a quiet stream that the server ends after minutes is not full", async () => {
  let request = await open();
  for (let rotation = 0; rotation < 3; rotation++) {
    const answer = request.answer(new Answer({ headers: { "retry-after": "15" } })).write(PRELUDE);
    for (let second = 0; second < 300; second++) {
      if (second % 15 === 0) answer.write(":\n\n");
      await pass(1000);
    }
    answer.end();
    await settle();
    assert.equal(only("sse.status").at(-1).reason, null);
    assert.equal(only("error").at(-1).retryIn, 1000);
    await pass(1000);
    request = server.last;
  }
});

test("a replaced stream without ids of its own loses no event of the new one", async () => {
  const answer = (await open()).answer(new Answer()).write("data: a\n\n");
  await settle();
  source.reconnect();
  await settle();
  answer.write("data: b\n\n");
  await settle();
  server.last.answer(new Answer()).write("data: c\n\ndata: d\n\n");
  await settle();
  assert.deepEqual(
    only("message").map((event) => event.data),
    ["a", "b", "c", "d"],
  );
});

test("a stream that gave up throws out of for await, also where a handler closes", async () => {
  const request = await open();
  source.onerror = () => source.close();
  const loop = (async () => {
    for await (const event of source) assert.fail(event);
  })();
  await settle();
  request.answer(new Answer({ status: 403 }));
  await assert.rejects(loop, { kind: "forbidden" });
});

test("explain() says why", async () => {
  (await open()).answer(new Answer({ status: 503 }));
  await settle();
  const { state, reason, retryIn } = source.explain();
  assert.deepEqual([state, reason, retryIn], ["waiting", "server", 3250]);
});

test("answers that are no streams at all are told, and never hang", async () => {
  for (const [answer, kind] of [
    [{ status: 0, headers: new Headers(), redirected: false, type: "opaque" }, "protocol"],
    [new Response(null, { headers: { "content-type": "text/event-stream" } }), "network"],
    [undefined, "network"],
  ]) {
    await open({ fetch: async () => answer });
    assert.equal(only("error")[0].kind, kind);
    source.close();
  }
});

test("a copy that a module loads keeps what the tag said, and a later tag is believed", async () => {
  const run = async (identity, copy) => {
    globalThis.document = { currentScript: identity && { src: `/${identity}.js`, dataset: { identity } } };
    await import(`../../flask_sse_push/extension/client/sse-push.js?${copy}`);
    delete globalThis.document;
    return [globalThis.PushSource.identity, globalThis.PushSource.script];
  };
  try {
    assert.deepEqual(await run("nobody", 1), ["nobody", "/nobody.js"]);
    assert.deepEqual(await run(null, 2), ["nobody", "/nobody.js"]);
    assert.deepEqual(await run("ann", 3), ["ann", "/nobody.js"]); // a bundle would name itself
  } finally {
    globalThis.PushSource = PushSource;
  }
});

test("a server that renders pages may import the module", async () => {
  delete globalThis.PushSource;
  try {
    const module = await import("../../flask_sse_push/extension/client/sse-push.mjs");
    assert.match(module.PushSource.script, /sse-push\.js$/);
    assert.equal(module.PushSource.identity, undefined);
  } finally {
    globalThis.PushSource = PushSource;
  }
});
