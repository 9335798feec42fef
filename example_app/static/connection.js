/**
 * An EventSource that does not give up.
 *
 * The browser's own comes back by itself after most faults, and with its place in the stream. After an answer that is no
 * event stream (a proxy's 502 while the server restarts) it stops for ever: then a new one begins where the old one was.
 */

const FIRST_WAIT_MILLISECONDS = 1_000;
const LONGEST_WAIT_MILLISECONDS = 30_000;

/** Measurements come every second: after this long without one, the other end is gone and nobody said so. */
const SILENCE_MILLISECONDS = 10_000;

export class Connection {
  #source = null;
  #timer = null;
  #watchdog = null;
  #failures = 0;
  #lastEventId = "";

  /**
   * @param {string} url
   * @param {Record<string, (data: any) => void>} handlers  By type of event; called with the decoded JSON.
   * @param {{onstate: (state: "connecting" | "live" | "lost") => void, onevent: () => void}} observer
   */
  constructor(url, handlers, observer) {
    this.url = new URL(url, location.href);
    this.handlers = handlers;
    this.observer = observer;
    // A page that goes to the browser's cache of pages cannot keep a connection; one that comes out of it wants a new one.
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    addEventListener("online", () => this.#timer !== null && this.open());
  }

  /** Connect now. */
  open() {
    this.#close();
    if (this.#lastEventId) this.url.searchParams.set("last_event_id", this.#lastEventId);
    const source = (this.#source = new EventSource(this.url));
    source.onerror = () => this.#lose();
    for (const [type, handle] of Object.entries(this.handlers)) {
      source.addEventListener(type, (event) => {
        this.#lastEventId = event.lastEventId;
        this.#failures = 0;
        clearTimeout(this.#watchdog);
        this.#watchdog = setTimeout(() => this.#replace(), SILENCE_MILLISECONDS);
        // An answer alone proves little: a server that is full or stops answers too, and asks to come later.
        this.observer.onstate("live");
        this.observer.onevent();
        handle(JSON.parse(event.data));
      });
    }
  }

  #replace() {
    this.observer.onstate("lost");
    this.open();
  }

  #lose() {
    clearTimeout(this.#watchdog);
    this.observer.onstate("lost");
    if (this.#source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    this.#close();
    const wait = Math.min(LONGEST_WAIT_MILLISECONDS, FIRST_WAIT_MILLISECONDS * 2 ** this.#failures++);
    // Pages that were lost together must not come back together.
    this.#timer = setTimeout(() => this.open(), wait * (0.5 + Math.random()));
  }

  #close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#timer = null;
    this.#source?.close();
    this.#source = null;
  }
}
