/**
 * PushSource: the EventSource interface (WHATWG HTML 9.2) on fetch, with errors told apart, a back-off,
 * wake-ups, and one stream for all tabs of a browser.
 *
 * The same file is the script of a page and of the SharedWorker that holds the stream of several tabs.
 * Part of flask_sse_push. MIT licence.
 */
(() => {
  "use strict";

  const CONNECTING = 0;
  const OPEN = 1;
  const CLOSED = 2;

  const FIRST_RETRY = 3000; // ms between attempts until the server says `retry:`, as browsers have it
  const LEAST_RETRY = 100; // a server that says `retry: 0` would be asked without a pause
  const MOST_RETRY = 2 ** 31 - 1; // setTimeout() takes more for "now"
  const STALL_MARGIN = 5000; // a heartbeat may be so late
  const QUIET = 30000; // silence after which a wake-up replaces a stream whose server announces no heartbeat
  const TICK = 1000;
  const SLEPT = 5000; // a tick that is so late shows that the machine slept
  const BUFFERED = 3000; // headers without a byte for so long: something on the way holds the bytes back

  const now = () => Date.now();
  const clamp = (ms) => (ms > LEAST_RETRY ? Math.min(ms, MOST_RETRY) : LEAST_RETRY); // also what is no number

  /** Read an event stream (WHATWG HTML 9.2.6), in chunks that may be cut anywhere. */
  class Parser {
    #decoder = new TextDecoder(); // it takes one byte order mark away, and a second one is data
    #line = []; // pieces of a line whose end has not come: joined once, however many there are
    #afterCR = false;
    #data = [];
    #type = "";
    #id;
    #size = 0;

    /**
     * @param {string} lastEventId what an event without an id of its own carries
     * @param {number} maxBytes of an event, until its end has come
     * @param {{event: Function, retry: Function, kept: Function}} to who is told
     */
    constructor(lastEventId, maxBytes, to) {
      this.#id = lastEventId;
      this.maxBytes = maxBytes;
      this.to = to;
    }

    /**
     * @param {Uint8Array} bytes
     * @throws {RangeError} when an event is larger than it may be
     */
    feed(bytes) {
      const text = this.#decoder.decode(bytes, { stream: true });
      this.#size += bytes.length;
      let from = this.#afterCR && text[0] === "\n" ? 1 : 0;
      if (text) this.#afterCR = text.endsWith("\r");
      const ends = /\r\n?|\n/g;
      ends.lastIndex = from;
      for (let end; (end = ends.exec(text)); from = ends.lastIndex) {
        this.#line.push(text.slice(from, end.index));
        const line = this.#line.join("");
        this.#line = [];
        if (line) this.#field(line);
        else {
          this.#dispatch();
          this.#size = text.length - ends.lastIndex;
        }
      }
      if (from < text.length) this.#line.push(text.slice(from));
      if (this.#size > this.maxBytes) throw new RangeError();
    }

    #field(line) {
      const [, name, value = ""] = /([^:]*)(?:: ?(.*))?/s.exec(line);
      if (name === "data") this.#data.push(value);
      else if (name === "event") this.#type = value;
      else if (name === "id") {
        if (!value.includes("\0")) this.#id = value;
      } else if (name === "retry" && /^\d+$/.test(value)) this.to.retry(clamp(+value));
      else if (line === ":kept") this.to.kept();
    }

    #dispatch() {
      const type = this.#type || "message";
      const data = this.#data;
      this.#type = "";
      this.#data = [];
      this.to.event(this.#id, type, data.length ? data.join("\n") : null);
    }
  }

  /** Say what an answer means that is no event stream, or null for one. */
  const judge = (response, url) => {
    const { status, headers } = response;
    const isStream = status === 200 && /^text\/event-stream\s*(;|$)/i.test(headers.get("content-type"));
    if (isStream) return headers.get("sse-push-identity") === "other" ? "signed-out" : null;
    if (status === 204) return "closed";
    if (status === 401) return "auth";
    if (status === 403) return "forbidden";
    if (status === 408 || status === 429 || status >= 500) return "server";
    const isMoved = response.redirected && new URL(response.url).origin === new URL(url).origin;
    return isMoved && status === 200 ? "signed-out" : "protocol";
  };

  /** Return the milliseconds of a Retry-After header (RFC 9110 10.2.3), 0 without one. */
  const retryAfter = (headers) => {
    const value = headers.get("retry-after");
    const ms = /^\d+$/.test(value) ? value * 1000 : Date.parse(value) - now();
    return ms > 0 ? clamp(ms) : 0;
  };

  /** What an answer says about the visitor or the stream itself, rather than about the way to it. */
  const VERDICTS = new Set(["closed", "auth", "signed-out", "forbidden"]);

  /** Bytes of UTF-8, as the characters that fetch() takes in a header. */
  const toHeader = (text) => String.fromCharCode(...new TextEncoder().encode(text));

  /** End the request of an attempt; its body as well, since an own fetch() may ignore the signal. */
  const drop = (attempt) => {
    attempt.abort.abort();
    (attempt.reader ?? attempt.response?.body)?.cancel().catch(() => {});
  };

  /**
   * One stream, and the attempts to have it. It tells a sink, which is a page's source or a shared worker:
   * `open(response)`, `event(previous, id, type, data)`, `error(detail)`, `status(detail)`.
   */
  class Connection {
    readyState = CONNECTING;
    reconnectionTime = FIRST_RETRY;
    lastEventId;
    facts = { events: 0, doubles: 0, resets: 0, attempts: 0, opened: 0 };
    isLate = false; // for new readers: what they get first, such as a snapshot, is not in what follows

    #options;
    #sink;
    #attempt = null; // the newest one; `replaced` is the older one that it takes over from
    #failures = 0; // attempts in a row that brought nothing
    #mayAsk = true; // for a new login, once per success
    #wasOpen = false;
    #timer = 0;
    #dueAt = 0;
    #ticker = 0;
    #tickedAt = 0;

    constructor(options, sink) {
      this.#options = options;
      this.#sink = sink;
      this.lastEventId = options.lastEventId;
    }

    start() {
      this.#tickedAt = now();
      this.#ticker ||= setInterval(() => this.#tick(), TICK);
      this.#ticker.unref?.();
      // A page that comes back from the back/forward cache sends no POST again.
      if (!this.facts.attempts || this.#isRepeatable) this.#connect();
      else this.#ended((this.#attempt = {}), "network");
    }

    /** Whether the request may be sent again without being told to. */
    get #isRepeatable() {
      const { method, retry } = this.#options;
      return method === "GET" || method === "HEAD" || retry.resend;
    }

    /** End without a word: nothing of a running attempt arrives any more. */
    stop(readyState = CLOSED) {
      const attempt = this.#attempt;
      this.#attempt = null;
      this.readyState = readyState;
      clearTimeout(this.#timer);
      clearInterval(this.#ticker);
      this.#timer = this.#ticker = 0;
      if (attempt?.replaced) drop(attempt.replaced);
      if (attempt) drop(attempt);
    }

    /** Try now, whatever the back-off says; an open stream is replaced. */
    reconnect() {
      if (!this.#ticker) return; // it has not begun, or has ended
      this.#failures = 0;
      if (this.readyState === OPEN) this.#replace();
      else this.#connect();
    }

    /** The page came back, or the network did: end a wait, and replace a stream that is silent. */
    wake() {
      if (this.#timer) this.#connect();
      else if (
        this.#isRepeatable &&
        this.readyState === OPEN &&
        this.silence > (this.facts.heartbeat || QUIET)
      )
        this.#replace();
    }

    /** Milliseconds since the last byte. */
    get silence() {
      return now() - (this.#attempt?.replaced ?? this.#attempt)?.heardAt;
    }

    #replace() {
      if (!this.#attempt.replaced) this.#connect(this.#attempt);
    }

    #tick() {
      const passed = now() - this.#tickedAt;
      const hasSlept = passed > SLEPT;
      this.#tickedAt = now();
      if (this.#timer) {
        if (now() >= this.#dueAt) this.#connect(); // a timer's clock stops while the machine sleeps
      } else if (this.readyState === OPEN) {
        if (hasSlept) this.wake();
        const stall =
          this.#options.stallTimeout ?? (this.facts.heartbeat && this.facts.heartbeat + STALL_MARGIN);
        const attempt = this.#attempt.replaced ?? this.#attempt;
        if (passed < 0) attempt.heardAt = now(); // the clock was put back
        if (stall && !hasSlept && this.silence > stall) this.#giveUp(attempt, "stalled");
        else if (!attempt.bytes && this.silence > BUFFERED) this.facts.buffered = true;
      }
    }

    #giveUp(attempt, kind) {
      drop(attempt);
      this.#ended(attempt, kind); // an own fetch(), or headers(), may never settle
    }

    #isHeard(attempt) {
      return attempt === this.#attempt || attempt === this.#attempt?.replaced;
    }

    #connect(replaced = null) {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.facts.attempts++;
      if (this.#attempt && this.#attempt !== replaced) drop(this.#attempt);
      const attempt = (this.#attempt = {
        abort: new AbortController(),
        replaced,
        seen: new Set(),
        heardAt: now(),
        bytes: 0,
        events: 0,
      });
      if (!replaced) this.#tell("connecting");
      if (this.#attempt === attempt) this.#run(attempt);
    }

    async #run(attempt) {
      const { connectTimeout } = this.#options;
      const timeout = connectTimeout && setTimeout(() => this.#giveUp(attempt, "timeout"), connectTimeout);
      try {
        const response = (attempt.response = await this.#request(attempt));
        clearTimeout(timeout);
        if (!this.#isHeard(attempt)) return drop(attempt);
        const kind = judge(response, this.#options.url);
        if (kind) return await this.#refused(attempt, kind, response);
        this.#opened(attempt, response);
        attempt.reader = response.body.getReader();
        for (let chunk; !(chunk = await attempt.reader.read()).done;) {
          if (!this.#isHeard(attempt)) return;
          attempt.heardAt = now();
          attempt.bytes += chunk.value.length;
          attempt.parser.feed(chunk.value);
        }
        this.#ended(attempt, null);
      } catch (error) {
        clearTimeout(timeout);
        drop(attempt);
        this.#ended(
          attempt,
          error instanceof RangeError
            ? "protocol"
            : globalThis.navigator?.onLine === false
              ? "offline"
              : "network",
        );
      }
    }

    async #request(attempt) {
      const { url, method, body, credentials, headers, fetch, identity } = this.#options;
      const sent = new Headers(typeof headers === "function" ? await headers() : headers);
      if (!sent.has("accept")) sent.set("accept", "text/event-stream");
      const target = new URL(url);
      if (!fetch && !/^https?:$/.test(target.protocol)) throw new RangeError();
      attempt.lastEventId = this.lastEventId;
      const isOwnOrigin = target.origin === globalThis.location?.origin || !globalThis.location;
      if (this.lastEventId) {
        // Across origins the header would cost a preflight, and fail where the server answers none.
        if (isOwnOrigin || headers) sent.set("last-event-id", toHeader(this.lastEventId));
        else
          target.search += `${target.search ? "&" : "?"}last_event_id=${encodeURIComponent(this.lastEventId)}`;
      }
      if (identity && isOwnOrigin) sent.set("sse-push-identity", identity);
      return (fetch ?? globalThis.fetch)(target.href, {
        method,
        body,
        credentials,
        headers: sent,
        signal: attempt.abort.signal,
        cache: "no-store",
      });
    }

    #opened(attempt, response) {
      const { replaced } = attempt;
      attempt.replaced = null;
      if (replaced) drop(replaced);
      attempt.openedAt = attempt.heardAt = now();
      attempt.id = this.lastEventId;
      attempt.parser = new Parser(this.lastEventId, this.#options.maxEventBytes, {
        event: (id, type, data) => this.#event(attempt, id, type, data),
        retry: (ms) => this.#isHeard(attempt) && (this.reconnectionTime = ms),
        kept: () => (this.isLate = true),
      });
      this.#mayAsk = this.#wasOpen = true;
      this.facts.opened++;
      this.facts.heartbeat = +response.headers.get("sse-push-heartbeat") || undefined;
      this.facts.buffered = false;
      this.readyState = OPEN;
      const sharing = response.headers.get("sse-push-sharing");
      this.isLate ||= sharing;
      if (sharing === "no") this.#sink.unshare?.();
      if (replaced || this.#attempt !== attempt) return; // to the page nothing has happened
      this.#sink.open(response);
      if (this.#attempt === attempt) this.#tell("open");
    }

    #event(attempt, id, type, data) {
      const previous = this.lastEventId;
      const isBare = data !== null && id === attempt.id; // without an id of its own it has no double
      attempt.id = id;
      if (!this.#isHeard(attempt) || (data === null && id === previous)) return;
      const successor = this.#attempt !== attempt && this.#attempt;
      if (successor) {
        if (!isBare) successor.seen.add(id);
      } else if (!isBare && attempt.seen.size && (attempt.seen.delete(id) || id === attempt.lastEventId)) {
        if (data !== null) this.facts.doubles++; // the stream that was replaced had brought it
        return;
      }
      this.lastEventId = id;
      if (data !== null) {
        attempt.events++;
        this.facts.events++;
        if (type === "sse.reset") this.facts.resets++;
      }
      this.#sink.event(previous, id, type, data);
    }

    async #refused(attempt, kind, response) {
      const { onAuthError } = this.#options;
      if (kind === "auth" && onAuthError && this.#mayAsk) {
        this.#mayAsk = false;
        let isRenewed = false;
        try {
          isRenewed = await onAuthError({ kind, status: response.status, response });
        } catch (error) {
          globalThis.reportError?.(error);
        }
        if (!this.#isHeard(attempt)) return;
        if (isRenewed) return this.#connect(attempt.replaced);
      }
      this.#ended(attempt, kind);
    }

    #ended(attempt, kind) {
      const newest = this.#attempt;
      if (!this.#isHeard(attempt)) return;
      if (attempt !== newest) {
        newest.replaced = null; // the one that takes over is on its way
        return;
      }
      if (attempt.replaced) {
        if (!VERDICTS.has(kind)) {
          this.#attempt = attempt.replaced; // the older stream may still live; its watchdog will tell
          return;
        }
        drop(attempt.replaced);
      }
      this.#attempt = null;
      this.readyState = CONNECTING;
      const { response } = attempt;
      // Who begins in the handler may read what a refusal says; nobody else keeps its connection.
      queueMicrotask(() => response && !response.bodyUsed && drop(attempt));
      const { retry } = this.#options;
      const most = (failures) => Math.min(retry.max, retry.first * retry.factor ** failures);
      const isUseful =
        attempt.events || now() - attempt.openedAt > this.reconnectionTime + most(this.#failures);
      const isSoft = !kind && !isUseful && this.lastEventId === attempt.lastEventId;
      const floor = Math.max(this.reconnectionTime, response && !isUseful ? retryAfter(response.headers) : 0);
      if (isUseful) this.#failures = +!!kind;
      else this.#failures++;
      const detail = {
        kind,
        status: response?.status ?? 0,
        response: response ?? null,
        retryIn: null,
        final: true,
        reason: isSoft ? "full" : kind,
      };
      const isLasting =
        (kind === "forbidden" || kind === "protocol" ? !this.#wasOpen : VERDICTS.has(kind)) ||
        !this.#isRepeatable;
      if (isLasting) return this.#finish(detail, kind ?? "closed");
      if (this.#failures > retry.limit) return this.#finish(detail, "gave-up");
      let wait;
      try {
        wait = retry.delay?.(this.#failures, detail);
      } catch (error) {
        globalThis.reportError?.(error);
      }
      if (this.#attempt || this.readyState === CLOSED) return; // the function said reconnect() or close()
      if (wait === null) return this.#finish(detail, "gave-up");
      if (!(wait >= 0)) {
        wait =
          floor +
          (kind === "offline" ? retry.max : this.#failures && Math.random() * most(this.#failures - 1));
      }
      wait = clamp(wait);
      this.#dueAt = now() + wait;
      const timer = (this.#timer = setTimeout(() => this.#connect(), wait));
      this.#sink.error({ ...detail, retryIn: wait, final: false });
      if (this.#timer === timer) this.#tell("waiting", { reason: detail.reason, retryIn: wait });
    }

    #finish(detail, kind) {
      this.stop();
      this.#sink.error({ ...detail, kind });
      this.#tell("closed", { reason: kind });
    }

    #tell(state, more) {
      const detail = { state, since: now(), reason: null, retryIn: null, ...more };
      Object.assign(this.facts, detail);
      this.#sink.status(detail);
    }
  }

  const BEAT = 5000;
  const MOST_UNANSWERED = 2; // beats, after which a worker counts as dead
  const SENT = ["url", "credentials", "method", "connectTimeout", "stallTimeout", "maxEventBytes"];
  const RING_EVENTS = 500;
  const RING_CHARACTERS = 256 * 1024;

  /** Whether an id of the server's is of the same log as another one, and at it or behind it. */
  const isAhead = (id, other) => {
    const [log, number] = other.split("-");
    return id.startsWith(`${log}-`) && id.split("-")[1] >= +number;
  };

  /**
   * A tab's end of a stream that a SharedWorker holds. The tab keeps its own cursor: an event carries the id
   * before it, so a tab sees a hole, and asks for what follows its cursor. What the worker does not have any
   * more comes by a connection of the tab's own, until it has caught up.
   */
  class Link {
    readyState = CONNECTING;
    reconnectionTime = FIRST_RETRY;
    lastEventId;
    facts = { events: 0, doubles: 0, resets: 0, shared: true };

    #options;
    #sink;
    #port = null;
    #own = null;
    #beat = 0;
    #unanswered = 0;
    #isAnswered = false;
    #silent = 0; // workers in a row that never answered
    #linger = 0; // ms that a stream outlives its last tab
    #place; // of the worker's stream, which the tab may be ahead of

    constructor(options, sink) {
      this.#options = options;
      this.#sink = sink;
      this.lastEventId = options.lastEventId;
    }

    start() {
      const { url, credentials, identity, headers, script } = this.#options;
      const name = JSON.stringify([url, credentials, identity, [...new Headers(headers)], this.#silent]);
      let isExtended = false;
      try {
        const worker = new SharedWorker(script, {
          name: `sse-push ${name}`,
          get extendedLifetime() {
            return (isExtended = true); // nobody asks where it is not known
          },
        });
        worker.onerror = () => this.#goAlone(true);
        this.#port = worker.port;
        this.#port.onmessage = ({ data }) => this.#hear(...data);
      } catch {
        return this.#goAlone(true);
      }
      this.facts.shared = true; // also when the page comes back
      this.#linger = isExtended ? 5000 : 1000;
      this.#unanswered = 0;
      this.#isAnswered = false;
      this.#beat = setInterval(() => this.#check(), BEAT);
    }

    stop(readyState = CLOSED) {
      this.readyState = readyState;
      clearInterval(this.#beat);
      this.#say("leave");
      this.#port?.close();
      this.#own?.stop(readyState);
      this.#port = this.#own = null;
    }

    reconnect() {
      this.#own?.reconnect();
      this.#say("reconnect");
    }

    wake() {
      this.#own?.wake();
      this.#say("wake");
    }

    get silence() {
      return (this.#own ?? this.facts).silence;
    }

    #say(...words) {
      this.#port?.postMessage(words);
    }

    #join() {
      const { identity, headers, retry } = this.#options;
      const options = Object.fromEntries(SENT.map((name) => [name, this.#options[name]]));
      options.identity = identity ?? "unknown"; // the server lets nobody share it who is somebody
      options.headers = [...new Headers(headers)]; // an object of the class cannot be sent
      options.retry = { ...retry, delay: null }; // nor a function, so a source with one is not shared
      options.linger = this.#linger;
      this.#say("join", options, this.lastEventId);
    }

    #check() {
      if (this.#unanswered++ < MOST_UNANSWERED) {
        this.#say("beat");
        if (this.#own?.readyState === OPEN) this.#join();
        return;
      }
      this.#port.close();
      clearInterval(this.#beat);
      // The name of a worker that died begins another one, for all tabs; that of one that hangs leads to it again.
      this.#silent = this.#isAnswered ? 0 : this.#silent + 1;
      if (this.#silent > 2) this.#goAlone(true);
      else this.start();
    }

    #hear(word, ...values) {
      const [detail] = values;
      this.#unanswered = 0;
      this.#isAnswered = true;
      if (!this.#port) return;
      if (word === "who") this.#join();
      else if (word === "at") this.#placed(...values);
      else if (word === "behind") this.#goAlone(false);
      else if (word === "unshared") this.#goAlone(true);
      else if (this.#own) return;
      else if (word === "facts") Object.assign(this.facts, detail);
      else if (word === "event") this.#event(...values);
      else if (word === "open") this.#opened();
      else if (word === "error") {
        if (detail.final) this.stop();
        else this.readyState = CONNECTING;
        this.#sink.error({ ...detail, response: null });
        // What the worker says next is for those who have not left.
        if (detail.final) this.#status({ state: "closed", since: now(), reason: detail.kind, retryIn: null });
      } else if (word === "status") this.#status(detail);
    }

    #status(detail) {
      Object.assign(this.facts, detail);
      this.#sink.status(detail);
    }

    #opened() {
      if (this.readyState === OPEN) return;
      this.readyState = OPEN;
      this.#sink.open({ url: this.#options.url });
    }

    #placed(asked, place, events, readyState, reconnectionTime, status) {
      if (asked !== this.lastEventId) return this.#join(); // events came meanwhile, by the connection of our own
      this.#own?.stop();
      this.#own = null;
      this.#place = place;
      this.lastEventId ||= place;
      this.reconnectionTime = reconnectionTime;
      if (readyState === OPEN) this.#opened();
      else this.readyState = CONNECTING;
      if (this.readyState === CLOSED) return;
      this.#status(status);
      for (const event of events) this.#event(...event);
    }

    #event(previous, id, type, data) {
      if (this.readyState === CLOSED) return;
      if (previous !== this.#place) return this.#join();
      this.#place = id;
      if (id !== previous && isAhead(this.lastEventId, id)) return; // the tab has it by its own stream
      this.lastEventId = id;
      if (data !== null) this.facts.events++;
      if (type === "sse.reset") this.facts.resets++;
      this.#sink.event(previous, id, type, data);
    }

    #goAlone(isForGood) {
      if (isForGood) {
        clearInterval(this.#beat);
        this.#say("leave");
        this.#port?.close();
        this.#port = null;
        this.facts.shared = false;
      }
      if (this.#own || this.readyState === CLOSED) return;
      const sink = {};
      for (const name of ["open", "event", "error", "status"]) {
        sink[name] = (value, ...more) => {
          const { lastEventId, reconnectionTime, readyState } = this.#own ?? this;
          Object.assign(this, { lastEventId, reconnectionTime, readyState });
          if (value.final) this.stop();
          this.#sink[name](value, ...more);
        };
      }
      this.#own = new Connection({ ...this.#options, lastEventId: this.lastEventId }, sink);
      this.facts = Object.assign(this.#own.facts, this.facts); // one object from now on
      this.#own.start();
    }
  }

  /** What runs in the SharedWorker: one stream, for the tabs of one address, credentials and identity. */
  class Hub {
    #tabs = new Map(); // port → when it was heard
    #connection = null;
    #ring = [];
    #characters = 0;
    #status = null;
    #linger = 0;
    #lingers = 0;

    constructor(scope) {
      scope.onconnect = ({ ports: [port] }) => {
        port.onmessage = ({ data }) => this.#hear(port, ...data);
        port.postMessage(["who"]);
      };
      setInterval(() => this.#sweep(), BEAT);
    }

    #hear(port, word, ...values) {
      if (word === "leave") return this.#remove(port);
      if (word === "join") this.#join(port, ...values);
      else if (!this.#tabs.has(port))
        return port.postMessage(["who"]); // it was frozen, or this worker is new
      else this.#connection?.[word]?.(); // reconnect or wake; a beat does nothing more
      this.#tabs.set(port, now());
      const { events, resets, ...facts } = this.#connection?.facts ?? {}; // those are each tab's own
      port.postMessage(["facts", { ...facts, tabs: this.#tabs.size, silence: this.#connection?.silence }]);
    }

    #join(port, options, cursor) {
      clearTimeout(this.#linger);
      this.#lingers = options.linger;
      this.#tabs.set(port, now());
      if (!this.#connection) {
        this.#ring = [];
        this.#characters = 0;
        this.#connection = new Connection({ ...options, lastEventId: cursor }, this.#sink());
        this.#connection.start();
      }
      const { isLate, lastEventId, readyState, reconnectionTime } = this.#connection;
      const isHere = !cursor || cursor === lastEventId || isAhead(cursor, lastEventId);
      const index = isHere ? RING_EVENTS : this.#ring.findIndex(([previous]) => previous === cursor);
      if (index < 0 || (isLate && !cursor)) return port.postMessage(["behind"]);
      const place = [cursor, isHere ? lastEventId : cursor, this.#ring.slice(index)];
      port.postMessage(["at", ...place, readyState, reconnectionTime, this.#status]);
    }

    #sink() {
      return {
        open: () => this.#tell("open"),
        event: (...event) => {
          this.#ring.push(event);
          this.#characters += size(event);
          while (this.#ring.length > RING_EVENTS || this.#characters > RING_CHARACTERS) {
            this.#characters -= size(this.#ring.shift());
          }
          this.#tell("event", ...event);
        },
        error: ({ response, ...detail }) => {
          this.#tell("error", detail);
          if (detail.final) this.#connection = null;
        },
        status: (detail) => this.#tell("status", (this.#status = detail)),
        unshare: () => {
          this.#tell("unshared");
          this.#end();
        },
      };
    }

    #tell(...words) {
      for (const port of this.#tabs.keys()) port.postMessage(words);
    }

    #remove(port) {
      this.#tabs.delete(port);
      if (!this.#tabs.size) {
        clearTimeout(this.#linger);
        this.#linger = setTimeout(() => this.#end(), this.#lingers);
      }
    }

    /** A tab that crashed says no word, and one that is frozen would only gather messages. */
    #sweep() {
      for (const [port, heardAt] of this.#tabs) if (now() - heardAt > 4 * BEAT) this.#remove(port);
    }

    #end() {
      this.#connection?.stop();
      this.#connection = null;
    }
  }

  const size = ([, , , data]) => data?.length ?? 0;

  if (globalThis.SharedWorkerGlobalScope && globalThis instanceof SharedWorkerGlobalScope)
    new Hub(globalThis);

  class PushEvent extends MessageEvent {
    /** The data, parsed as JSON when it is asked for. */
    get json() {
      return JSON.parse(this.data);
    }
  }

  /** An `error` or `sse.status` event: its detail is on the event itself. */
  class PushStateEvent extends Event {
    constructor(type, detail) {
      super(type);
      Object.assign(this, detail);
    }
  }

  /** Whether several tabs may read one stream: the same request, of the same origin, without functions. */
  const canShare = ({ share, url, method, headers, fetch, onAuthError, retry, script }) =>
    share === "auto" &&
    globalThis.SharedWorker &&
    script &&
    method === "GET" &&
    new URL(url).origin === location.origin &&
    ![headers, fetch, onAuthError, retry.delay].some((value) => typeof value === "function") &&
    !new Headers(headers).has("authorization");

  const DEFAULTS = { first: 500, factor: 2, max: 30000, limit: Infinity };

  /** The options that have a value: the others are as usual. */
  const given = (options) =>
    Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value != null));

  class PushSource extends EventTarget {
    // A module or a bundle that comes after the server's tag knows neither: it takes what the tag said.
    /** Where this script is, for a SharedWorker; without a tag, a module or a bundle sets it. */
    static script = globalThis.PushSource?.script ?? globalThis.document?.currentScript?.src;
    /** Whose page this is, as the server wrote it into the script's tag. */
    static identity = globalThis.document?.currentScript?.dataset.identity ?? globalThis.PushSource?.identity;

    #url;
    #withCredentials;
    #connection;
    #origin = "";
    #handlers = {};
    #readers = new Set(); // loops of `for await`
    #isPaused = false;
    #unlisten = [];

    /**
     * @param {string | URL} url
     * @param {object} [options] `withCredentials`, and what sse-push.d.ts lists
     */
    constructor(url, options) {
      super();
      options = given(options);
      try {
        this.#url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href).href;
      } catch {
        throw new DOMException(`PushSource: "url" must be a URL, got "${url}".`, "SyntaxError");
      }
      const { withCredentials, retry, method = "GET", stallTimeout = "auto", signal } = options;
      this.#withCredentials = !!withCredentials;
      const settings = {
        connectTimeout: 20000,
        maxEventBytes: 4e6,
        lastEventId: "",
        identity: PushSource.identity,
        script: PushSource.script,
        ...options,
        url: this.#url,
        method: method.toUpperCase(),
        credentials: withCredentials ? "include" : "same-origin",
        retry: { ...DEFAULTS, ...(typeof retry === "function" ? { delay: retry } : given(retry)) },
        stallTimeout: stallTimeout === "auto" ? undefined : stallTimeout || Infinity,
      };
      this.#connection = new (canShare(settings) ? Link : Connection)(settings, this.#sink());
      if (signal?.aborted) return this.close();
      if (signal) this.#listen(signal, { abort: () => this.close() });
      this.#listen(globalThis, {
        pagehide: () => this.#pause(),
        pageshow: () => this.#resume(),
        online: () => this.#connection.wake(),
      });
      this.#listen(globalThis.document, {
        resume: () => this.#connection.wake(),
        visibilitychange: () => document.visibilityState === "visible" && this.#connection.wake(),
      });
      queueMicrotask(() => this.readyState !== CLOSED && this.#connection.start());
    }

    get url() {
      return this.#url;
    }

    get withCredentials() {
      return this.#withCredentials;
    }

    get readyState() {
      return this.#connection.readyState;
    }

    /** The id of the last event, or of the place where the stream stands. */
    get lastEventId() {
      return this.#connection.lastEventId;
    }

    /** Milliseconds between attempts, as the server said last. */
    get reconnectionTime() {
      return this.#connection.reconnectionTime;
    }

    /** End for good. No event is dispatched after it. */
    close() {
      this.#connection.stop();
      for (const unlisten of this.#unlisten.splice(0)) unlisten();
      for (const reader of this.#readers) reader.end();
    }

    /** Try now, without waiting for the back-off; an open stream is replaced by a new one. */
    reconnect() {
      this.#connection.reconnect();
    }

    /** What is known about the stream, as plain data. */
    explain() {
      const { facts, readyState, lastEventId, reconnectionTime, silence } = this.#connection;
      return {
        ...facts,
        url: this.#url,
        readyState,
        lastEventId,
        reconnectionTime,
        silence: readyState === OPEN ? silence : null,
        protocol: globalThis.performance?.getEntriesByType?.("navigation")[0]?.nextHopProtocol ?? null,
        serviceWorker: !!globalThis.navigator?.serviceWorker?.controller,
      };
    }

    [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
      this.close();
    }

    /** Every event of the stream, of any type. Leaving the loop closes the source. */
    async *[Symbol.asyncIterator]() {
      const events = [];
      let wake = () => {};
      let failure;
      const reader = {
        push: (event) => (events.push(event), wake()),
        end: (error) => ((failure ??= error ?? null), wake()),
      };
      if (this.readyState === CLOSED) return;
      this.#readers.add(reader);
      try {
        for (;;) {
          if (events.length) yield events.shift();
          else if (failure !== undefined) {
            if (failure) throw failure;
            return;
          } else await new Promise((resolve) => (wake = resolve));
        }
      } finally {
        this.#readers.delete(reader);
        this.close();
      }
    }

    #sink() {
      return {
        open: (response) => {
          this.#origin = new URL(response.url || this.#url).origin;
          this.dispatchEvent(new PushStateEvent("open", { response }));
        },
        event: (previous, id, type, data) => {
          if (data === null) return;
          const event = new PushEvent(type, { data, lastEventId: id, origin: this.#origin });
          for (const reader of this.#readers) reader.push(event);
          this.dispatchEvent(event);
        },
        error: (detail) => {
          if (detail.final) {
            for (const unlisten of this.#unlisten.splice(0)) unlisten();
            const error =
              detail.kind === "closed"
                ? null
                : Object.assign(new Error(`the stream ended: ${detail.kind}`), detail);
            for (const reader of this.#readers) reader.end(error);
          }
          this.dispatchEvent(new PushStateEvent("error", detail));
        },
        status: (detail) => {
          const shared = !!this.#connection.facts.shared;
          this.dispatchEvent(new PushStateEvent("sse.status", { ...detail, shared }));
        },
      };
    }

    #listen(target, handlers) {
      for (const [type, handler] of Object.entries(handlers)) {
        target?.addEventListener?.(type, handler);
        this.#unlisten.push(() => target?.removeEventListener?.(type, handler));
      }
    }

    #pause() {
      // A page in the back/forward cache must hold no connection; and what breaks while a page goes is no error.
      this.#isPaused = this.readyState !== CLOSED;
      if (this.#isPaused) this.#connection.stop(CONNECTING);
    }

    #resume() {
      if (this.#isPaused) this.#connection.start();
      else this.#connection.wake();
      this.#isPaused = false;
    }

    #handler(type, handler) {
      if (!(type in this.#handlers))
        this.addEventListener(type, (event) => this.#handlers[type]?.call(this, event));
      this.#handlers[type] = typeof handler === "function" ? handler : null;
    }

    static {
      for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSED })) {
        for (const target of [this, this.prototype])
          Object.defineProperty(target, name, { value, enumerable: true });
      }
      for (const type of ["open", "message", "error"]) {
        Object.defineProperty(this.prototype, `on${type}`, {
          get() {
            return this.#handlers[type] ?? null;
          },
          set(handler) {
            this.#handler(type, handler);
          },
          enumerable: true,
          configurable: true,
        });
      }
    }

    /**
     * Read a stream that is there already, such as the body of a POST's answer. It is never asked for again.
     * @param {ReadableStream<Uint8Array>} stream
     */
    static fromReadableStream(stream, options = {}) {
      const headers = { "content-type": "text/event-stream" };
      const url = globalThis.document?.baseURI ?? globalThis.location?.href ?? "about:blank";
      const fetch = async () => new Response(stream, { headers });
      return new this(url, { ...options, method: "POST", body: null, fetch });
    }
  }

  globalThis.PushSource = PushSource;
})();
