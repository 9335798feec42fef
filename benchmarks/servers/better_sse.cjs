// better-sse on node's own http server: a channel for each name, and broadcast() to its sessions. Usage: node better_sse.cjs PORT
"use strict";

const http = require("node:http");
const { setImmediate: turn, setTimeout: wait } = require("node:timers/promises");
const { createChannel, createSession } = require("better-sse");

const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, createChannel());
  return channels.get(name);
}

async function publishInALoop(query) {
  const [seconds, rate, count, most, text] = ["seconds", "rate", "channels", "most", "text"].map((name) => Number(query.get(name)));
  const filling = "0".repeat(text);
  const took = [];
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  while (took.length < most && elapsed() < seconds && !(rate && took.length / rate >= seconds)) {
    const number = took.length;
    const before = process.hrtime.bigint();
    const data = `{"channel":${number % count},"seq":${Math.floor(number / count)},"ts":${before},"text":"${filling}"}`;
    channel(`c${number % count}`).broadcast(data);
    took.push(Number(process.hrtime.bigint() - before));
    const pause = rate ? took.length / rate - elapsed() : 0;
    await (pause > 0 ? wait(1000 * pause) : turn());
  }
  took.sort((a, b) => a - b);
  return { published: took.length, median_nanoseconds: took[took.length >> 1] ?? 0 };
}

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, "http://127.0.0.1");
  if (url.pathname === "/events") {
    // The data is JSON already, as it is for every other server here.
    const session = await createSession(request, response, { serializer: (data) => data });
    channel(url.searchParams.get("channel")).register(session);
  } else {
    response.setHeader("Connection", "close");
    response.end(JSON.stringify(await publishInALoop(url.searchParams)));
  }
});

server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
