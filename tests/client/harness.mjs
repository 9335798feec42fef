/** What the tests of the browser's half share: the script itself, and a server inside of fetch(). */
import { readFileSync } from "node:fs";

new Function(
  readFileSync(new URL("../../flask_sse_push/extension/client/sse-push.js", import.meta.url), "utf8"),
)();

export const PushSource = globalThis.PushSource;
export const URL_OF_STREAM = "http://localhost/events";

/** An answer whose body a test writes, piece by piece. */
export class Answer {
  constructor({ status = 200, type = "text/event-stream", headers = {}, redirected = false, url = "" } = {}) {
    this.body = new ReadableStream({
      start: (controller) => (this.controller = controller),
      cancel: () => (this.isCancelled = true),
    });
    const body = [204, 304].includes(status) ? null : this.body;
    this.response = new Response(body, {
      status,
      headers: type ? { "content-type": type, "sse-push-heartbeat": "15000", ...headers } : headers,
    });
    if (redirected)
      Object.defineProperties(this.response, { redirected: { value: true }, url: { value: url } });
  }

  write(text) {
    this.controller.enqueue(typeof text === "string" ? new TextEncoder().encode(text) : text);
    return this;
  }

  end() {
    this.controller.close();
    return this;
  }

  cut() {
    this.controller.error(new TypeError("network error"));
    return this;
  }
}

/** A fetch() that a test answers: `requests` has what was asked, and how to answer it. */
export class Server {
  requests = [];

  fetch = (url, init) =>
    new Promise((resolve, reject) => {
      const request = { url, ...init, isLive: true };
      request.answer = (answer) => {
        request.answered = answer;
        resolve(answer.response);
        return answer;
      };
      request.fail = (error = new TypeError("failed to fetch")) => {
        request.isLive = false;
        reject(error);
      };
      init.signal.addEventListener("abort", () => {
        request.isLive = false;
        reject(init.signal.reason);
        try {
          request.answered?.controller.error(init.signal.reason);
        } catch {}
      });
      this.requests.push(request);
    });

  get last() {
    return this.requests.at(-1);
  }
}

/** Let everything that is ready happen: promises, streams, microtasks. */
export const settle = async () => {
  for (let turn = 0; turn < 40; turn++) await null;
};

/** All events of a source, in order, as plain data. */
export const record = (source, types = ["message"]) => {
  const seen = [];
  for (const type of ["open", "error", "sse.status", ...types]) {
    source.addEventListener(type, (event) => {
      if (type === "error")
        seen.push({
          type,
          kind: event.kind,
          status: event.status,
          retryIn: event.retryIn,
          final: event.final,
        });
      else if (type === "sse.status") seen.push({ type, state: event.state, reason: event.reason });
      else if (type === "open") seen.push({ type });
      else seen.push({ type, data: event.data, id: event.lastEventId });
    });
  }
  return seen;
};
