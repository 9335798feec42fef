/** What each answer means, when the next attempt comes, and that a closed source is silent. */
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

/** The machine sleeps: its clock goes on, and no timer fires. */
const sleep = async (ms) => {
  const before = Date.now;
  mock.method(Date, "now", () => before() + ms);
  await pass(1000);
};

const only = (type) => seen.filter((event) => event.type === type);
const setOnLine = (isOnLine) =>
  Object.defineProperty(globalThis.navigator ?? (globalThis.navigator = {}), "onLine", {
    value: isOnLine,
    configurable: true,
  });

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1e12 });
  mock.method(Math, "random", () => 0.5);
});

afterEach(() => {
  source?.close();
  mock.restoreAll();
  mock.timers.reset();
  delete globalThis.navigator?.onLine;
});

test("a source is an EventSource: constants, attributes, handlers", async () => {
  const request = await open({ withCredentials: true });
  assert.deepEqual([PushSource.CONNECTING, PushSource.OPEN, PushSource.CLOSED, source.OPEN], [0, 1, 2, 1]);
  assert.deepEqual([source.url, source.withCredentials, source.readyState], [URL_OF_STREAM, true, 0]);
  assert.equal(request.credentials, "include");
  assert.equal(request.cache, "no-store");
  assert.equal(request.headers.get("accept"), "text/event-stream");
  const heard = [];
  source.onmessage = (event) => heard.push(event.data);
  source.onmessage = (event) => heard.push(event.json.n, event.origin);
  assert.equal(source.onopen, null);
  request.answer(new Answer()).write(`${PRELUDE}id: e-2\ndata: {"n": 5}\n\n`);
  await settle();
  assert.equal(source.readyState, 1);
  assert.deepEqual(heard, [5, "http://localhost"]);
  assert.deepEqual([source.lastEventId, source.reconnectionTime], ["e-2", 1000]);
});

const BEFORE = [
  // status, type, redirected, kind, final before the first success, final after it
  [204, null, false, "closed", true, true],
  [401, "text/html", false, "auth", true, true],
  [403, "application/json", false, "forbidden", true, false],
  [404, "text/html", false, "protocol", true, false],
  [400, "application/json", false, "protocol", true, false],
  [200, "text/html", false, "protocol", true, false],
  [200, "text/html", true, "signed-out", true, true],
  [408, "text/html", false, "server", false, false],
  [429, "text/html", false, "server", false, false],
  [500, "text/html", false, "server", false, false],
  [502, "text/html", false, "server", false, false],
  [503, "text/html", false, "server", false, false],
];

for (const [status, type, redirected, kind, isFinalFirst, isFinalAfter] of BEFORE) {
  for (const isAfter of [false, true]) {
    for (const method of ["GET", "POST"]) {
      const isFinal = method === "POST" || (isAfter ? isFinalAfter : isFinalFirst);
      if (isAfter && method === "POST") continue; // a POST is never sent again, so there is no second answer
      test(`${status} ${type} ${redirected ? "redirected " : ""}to a ${method}, ${isAfter ? "after" : "before"} a success, is ${kind}`, async () => {
        let request = await open({ method, body: method === "POST" ? "{}" : undefined });
        if (isAfter) {
          request.answer(new Answer()).write(`${PRELUDE}data: x\n\n`).end();
          await settle();
          await pass(1000);
          request = server.last;
          seen.length = 0;
        }
        request.answer(new Answer({ status, type, redirected, url: "http://localhost/login" }));
        await settle();
        const [error] = only("error");
        assert.deepEqual([error.kind, error.status, error.final], [kind, status, isFinal]);
        assert.equal(source.readyState, isFinal ? 2 : 0);
        const before = server.requests.length;
        await pass(120000);
        assert.equal(server.requests.length > before, !isFinal);
      });
    }
  }
}

test("a clean end fires error without a kind, and costs the retry time only", async () => {
  (await open()).answer(new Answer()).write(`${PRELUDE}id: e-2\ndata: x\n\n`).end();
  await settle();
  assert.deepEqual(only("error"), [{ type: "error", kind: null, status: 200, retryIn: 1000, final: false }]);
  assert.equal(source.readyState, 0);
  await pass(999);
  assert.equal(server.requests.length, 1);
  await pass(1);
  assert.equal(server.requests.length, 2);
  assert.equal(server.last.headers.get("last-event-id"), "e-2");
});

test("a soft refusal is waiting, full, and its Retry-After counts", async () => {
  (await open())
    .answer(new Answer({ headers: { "retry-after": "20" } }))
    .write(": full\nretry: 15000\n")
    .end();
  await settle();
  assert.deepEqual(only("sse.status").at(-1), { type: "sse.status", state: "waiting", reason: "full" });
  assert.ok(only("error")[0].retryIn >= 20000);
});

test("the wait grows while nothing useful comes, and never goes below the retry time", async () => {
  let request = await open();
  const waits = [];
  for (let attempt = 0; attempt < 12; attempt++) {
    request.answer(new Answer()).write("retry: 1000\nid: e-1\n\n").end();
    await settle();
    waits.push(only("error").at(-1).retryIn);
    await pass(waits.at(-1));
    request = server.last;
  }
  assert.deepEqual(waits.slice(0, 5), [1250, 1500, 2000, 3000, 5000]);
  assert.equal(waits.at(-1), 1000 + 15000);
});

test("a useful stream makes the next wait short again", async () => {
  let request = await open();
  for (const last of ["", "", "", "data: x\n\n"]) {
    request.answer(new Answer()).write(`retry: 1000\nid: e-1\n\n${last}`).end();
    await settle();
    const { retryIn } = only("error").at(-1);
    if (last) assert.equal(retryIn, 1000);
    await pass(retryIn);
    request = server.last;
  }
});

test("a planned end every two seconds never counts as a failure", async () => {
  let request = await open();
  for (let rotation = 0; rotation < 15; rotation++) {
    const answer = request.answer(new Answer());
    answer.write("retry: 1000\nid: e-1\n\ndata: x\n\n");
    await pass(2000);
    answer.end();
    await settle();
    assert.equal(only("error").at(-1).retryIn, 1000);
    await pass(1000);
    request = server.last;
  }
});

test("limit ends with gave-up", async () => {
  let request = await open({ retry: { limit: 3 } });
  for (let attempt = 0; attempt < 4; attempt++) {
    request.fail();
    await settle();
    if (attempt < 3) await pass(only("error").at(-1).retryIn);
    request = server.last;
  }
  assert.equal(server.requests.length, 4);
  assert.deepEqual(
    [only("error").at(-1).kind, only("error").at(-1).final, source.readyState],
    ["gave-up", true, 2],
  );
});

test("a function is the schedule, and null gives up", async () => {
  const asked = [];
  let request = await open({
    retry: (failures, error) => (asked.push([failures, error.kind]), failures < 3 ? 700 : null),
  });
  for (let attempt = 0; attempt < 3; attempt++) {
    request.fail();
    await settle();
    await pass(700);
    request = server.last;
  }
  assert.deepEqual(asked, [
    [1, "network"],
    [2, "network"],
    [3, "network"],
  ]);
  assert.equal(only("error").at(-1).kind, "gave-up");
});

test("a schedule that throws is replaced by the usual one", async () => {
  const request = await open({
    retry: () => {
      throw new Error("mine");
    },
  });
  request.fail();
  await settle();
  await pass(60000);
  assert.equal(server.requests.length, 2);
});

test("offline is named, tried again, and tried at once on online", async () => {
  setOnLine(false);
  const request = await open();
  request.fail();
  await settle();
  assert.equal(only("error")[0].kind, "offline");
  assert.ok(only("error")[0].retryIn >= 30000);
  setOnLine(true);
  globalThis.dispatchEvent?.(new Event("online"));
  source.reconnect();
  await settle();
  assert.equal(server.requests.length, 2);
});

test("401 asks onAuthError once per success, with fresh headers, then is final", async () => {
  let token = 0;
  const asked = [];
  const request = await open({
    headers: async () => ({ Authorization: `Bearer ${token}` }),
    onAuthError: async ({ status }) => (asked.push(status), ++token),
  });
  assert.equal(request.headers.get("authorization"), "Bearer 0");
  request.answer(new Answer({ status: 401 }));
  await settle();
  assert.equal(server.last.headers.get("authorization"), "Bearer 1");
  assert.equal(only("error").length, 0);
  server.last.answer(new Answer({ status: 401 }));
  await settle();
  assert.deepEqual(asked, [401]);
  assert.deepEqual([only("error")[0].kind, source.readyState], ["auth", 2]);
});

test("after a success 401 may ask again", async () => {
  const asked = [];
  let request = await open({ onAuthError: () => asked.push(1) });
  for (let round = 0; round < 2; round++) {
    request.answer(new Answer({ status: 401 }));
    await settle();
    server.last.answer(new Answer()).write(`${PRELUDE}data: x\n\n`).end();
    await settle();
    await pass(1000);
    request = server.last;
  }
  assert.equal(asked.length, 2);
});

test("headers that never come are a timeout", async () => {
  const request = await open({ connectTimeout: 20000 });
  await pass(20000);
  assert.deepEqual([only("error")[0].kind, request.isLive], ["timeout", false]);
  await pass(60000);
  assert.equal(server.requests.length, 2);
});

test("silence longer than the announced heartbeat and 5 s is stalled", async () => {
  (await open()).answer(new Answer()).write(PRELUDE);
  await settle();
  for (let second = 0; second < 20; second++) await pass(1000);
  assert.equal(only("error").length, 0);
  for (let second = 0; second < 2; second++) await pass(1000);
  assert.equal(only("error")[0].kind, "stalled");
});

test("comments feed the watchdog", async () => {
  const answer = (await open()).answer(new Answer()).write(PRELUDE);
  for (let beat = 0; beat < 8; beat++) {
    for (let second = 0; second < 15; second++) await pass(1000);
    answer.write(":\n\n");
    await settle();
  }
  assert.equal(only("error").length, 0);
  assert.equal(server.requests.length, 1);
});

test("after a sleep a silent stream is replaced without an error, the new attempt first", async () => {
  const old = await open();
  const answer = old.answer(new Answer()).write(`${PRELUDE}id: e-2\ndata: a\n\n`);
  await settle();
  await sleep(40000);
  assert.equal(server.requests.length, 2);
  assert.equal(old.isLive, true);
  answer.write("id: e-3\ndata: b\n\n"); // the old stream was only slow
  await settle();
  server.last.answer(new Answer()).write("id: e-2\n\nid: e-3\ndata: b\n\nid: e-4\ndata: c\n\n");
  await settle();
  assert.equal(old.isLive, false);
  assert.deepEqual(
    only("message").map((event) => event.data),
    ["a", "b", "c"],
  );
  assert.deepEqual([only("error").length, only("open").length, source.lastEventId], [0, 1, "e-4"]);
});

test("what a replacement is told without an id is none that the old stream has brought", async () => {
  const answer = (await open()).answer(new Answer()).write(PRELUDE);
  await settle();
  await sleep(40000);
  answer.write("id: e-3\ndata: b\n\n");
  await settle();
  const told = "event: sse.reset\ndata: {}\n\ndata: shown\n\nid: e-3\n\nid: e-4\ndata: c\n\n";
  server.last.answer(new Answer()).write(told);
  await settle();
  assert.deepEqual(
    only("message").map((event) => event.data),
    ["b", "shown", "c"],
  );
  assert.equal(source.explain().resets, 1);
});

test("a replacement that fails leaves the old stream alone", async () => {
  const answer = (await open()).answer(new Answer()).write(PRELUDE);
  await settle();
  await sleep(40000);
  server.last.fail();
  await settle();
  answer.write("id: e-2\ndata: still here\n\n");
  await settle();
  assert.deepEqual(
    only("message").map((event) => event.data),
    ["still here"],
  );
  assert.equal(only("error").length, 0);
});

test("a replacement that hears that the visitor is another one ends the old stream", async () => {
  const old = await open();
  old.answer(new Answer()).write(PRELUDE);
  await settle();
  source.reconnect();
  await settle();
  server.last
    .answer(new Answer({ headers: { "sse-push-identity": "other" } }))
    .write("data: not for this page\n\n");
  await settle();
  assert.deepEqual([only("error")[0].kind, source.readyState, old.isLive], ["signed-out", 2, false]);
  assert.equal(only("message").length, 0);
});

test("a stream that is cut after a byte of a POST is never sent again", async () => {
  (await open({ method: "POST", body: "x" })).answer(new Answer()).write(`${PRELUDE}data: x\n\n`).cut();
  await settle();
  assert.deepEqual([only("error")[0].kind, only("error")[0].final], ["network", true]);
  await pass(600000);
  assert.equal(server.requests.length, 1);
});

test("an AbortError that is not ours is a broken network", async () => {
  (await open()).fail(new DOMException("foreign", "AbortError"));
  await settle();
  assert.deepEqual([only("error")[0].kind, source.readyState], ["network", 0]);
});

test("across origins the id travels in the query, without a header", async () => {
  globalThis.location = new URL("http://localhost/page");
  try {
    server = new Server();
    source = new PushSource("http://other.test/events?channel=a", { fetch: server.fetch });
    seen = record(source);
    await settle();
    server.last.answer(new Answer()).write("retry: 1000\nid: e 1\ndata: x\n\n").end();
    await settle();
    await pass(1000);
    assert.equal(server.last.url, "http://other.test/events?channel=a&last_event_id=e%201");
    assert.equal(server.last.headers.has("last-event-id"), false);
  } finally {
    delete globalThis.location;
  }
});

test("a signal closes, and close() from within any handler is final", async () => {
  for (const type of ["open", "message", "error", "sse.status"]) {
    const request = await open();
    let calls = 0;
    source.addEventListener(type, () => {
      calls++;
      source.close();
    });
    request.answer?.(new Answer()).write(`${PRELUDE}data: 1\n\ndata: 2\n\n`).end();
    await settle();
    await pass(600000);
    assert.equal(source.readyState, 2, type);
    assert.equal(calls, 1, type);
    assert.ok(server.requests.length <= 1, type);
  }
  const controller = new AbortController();
  await open({ signal: controller.signal });
  controller.abort();
  assert.equal(source.readyState, 2);
});

test("for await gives every event, and leaving the loop closes", async () => {
  const answer = (await open())
    .answer(new Answer())
    .write(`${PRELUDE}event: a\ndata: 1\n\ndata: 2\n\nevent: b\ndata: 3\n\n`);
  const got = [];
  const loop = (async () => {
    for await (const event of source) {
      got.push([event.type, event.data]);
      if (event.data === "4") break;
    }
  })();
  await settle();
  answer.write("data: 4\n\ndata: 5\n\n");
  await loop;
  assert.deepEqual(got.at(-1), ["message", "4"]);
  assert.equal(source.readyState, 2);
});

test("fromReadableStream() reads a body that is there, and does not ask again", async () => {
  const answer = new Answer();
  source = PushSource.fromReadableStream(answer.body);
  seen = record(source);
  answer.write("id: 1\ndata: x\n\n").end();
  await settle();
  assert.deepEqual(only("message"), [{ type: "message", data: "x", id: "1" }]);
  assert.deepEqual([only("error")[0].kind, only("error")[0].final, source.readyState], ["closed", true, 2]);
});

test("1,000 random lives: never two live requests without a replacement, no event after close", async () => {
  mock.restoreAll();
  let state = 42;
  const random = (most) => (state = (state * 1103515245 + 12345) % 2147483648) % most;
  for (let life = 0; life < 1000; life++) {
    await open({ onAuthError: () => random(2), retry: { limit: 4 } });
    let isClosed = false;
    for (let step = 0; step < 12; step++) {
      const request = server.last;
      const answer = request.answered;
      const word = random(13);
      if (word === 0) (source.close(), (isClosed = true));
      else if (word === 1) source.reconnect();
      else if (word === 2) await pass(random(40000));
      else if (word === 3) await pass(1000);
      else if (word === 4) request.fail();
      else if (word < 8 && !answer)
        request.answer(new Answer({ status: [200, 200, 204, 401, 403, 500][random(6)] }));
      else if (answer && request.isLive && answer.response.status === 200) {
        try {
          if (word === 8) answer.end();
          else if (word === 9) answer.cut();
          else answer.write(`id: e-${step}\ndata: ${step}\n\n`);
        } catch {} // it has ended already
      }
      if (random(2)) await settle();
      const live = server.requests.filter((each) => each.isLive && !each.answered?.isCancelled);
      if (source.readyState === 2) {
        await settle();
        const [events, requests] = [seen.length, server.requests.length];
        await pass(100000);
        assert.deepEqual(
          [seen.length, server.requests.length],
          [events, requests],
          `life ${life}: silent after its end`,
        );
        break;
      }
      const unanswered = live.filter((each) => !each.answered);
      assert.ok(unanswered.length <= 1, `life ${life}: ${unanswered.length} requests wait for an answer`);
    }
    assert.ok(!isClosed || source.readyState === 2);
    source.close();
    await settle();
    assert.equal(
      server.requests.filter((each) => !each.answered && each.isLive).length,
      0,
      `life ${life}: nothing is left`,
    );
  }
});
