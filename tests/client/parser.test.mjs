/** A stream means the same however its bytes are cut. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { Answer, PushSource, URL_OF_STREAM } from "./harness.mjs";

const FOLDER = new URL("./corpus/", import.meta.url);
const TYPES = ["message", "created", "ready", "a b", "error"];

const read = async (chunks, options = {}) => {
  const answer = new Answer();
  const source = new PushSource(URL_OF_STREAM, {
    fetch: async () => answer.response,
    retry: { limit: 0 },
    ...options,
  });
  const events = [];
  for (const type of TYPES) {
    source.addEventListener(type, (event) => {
      if (event instanceof MessageEvent) events.push([event.type, event.data, event.lastEventId]);
    });
  }
  for (const chunk of chunks) answer.write(chunk);
  answer.end();
  await new Promise((resolve) =>
    source.addEventListener(
      "sse.status",
      (event) => ["waiting", "closed"].includes(event.state) && resolve(),
    ),
  );
  const { lastEventId, reconnectionTime } = source;
  source.close();
  return { events, lastEventId, reconnectionTime };
};

for (const name of readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .sort()) {
  const { stream, base64, ...expected } = JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"));
  const bytes = base64 ? Buffer.from(base64, "base64") : Buffer.from(stream);
  expected.reconnectionTime ??= 3000;

  test(`${name}: whole, byte by byte, and cut at every place`, async () => {
    assert.deepEqual(await read([bytes]), expected);
    assert.deepEqual(await read([...bytes].map((byte) => Uint8Array.of(byte))), expected, "byte by byte");
    for (let cut = 1; cut < bytes.length; cut++) {
      assert.deepEqual(await read([bytes.subarray(0, cut), bytes.subarray(cut)]), expected, `cut at ${cut}`);
    }
  });
}

test("an event above maxEventBytes ends the stream as a fault of protocol", async () => {
  const answer = new Answer();
  const source = new PushSource(URL_OF_STREAM, { fetch: async () => answer.response, maxEventBytes: 1000 });
  const failed = new Promise((resolve) => source.addEventListener("error", resolve));
  for (let size = 0; size < 2000; size += 100) answer.write("x".repeat(100));
  assert.equal((await failed).kind, "protocol");
  source.close();
});

test("many small events in one chunk are below maxEventBytes", async () => {
  const { events } = await read([Buffer.from("data: x\n\n".repeat(1000))], { maxEventBytes: 100 + 9000 });
  assert.equal(events.length, 1000);
});
