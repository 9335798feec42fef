/**
 * <sse-status>: what a PushSource is doing, for people. Give it the source:
 *
 *     document.querySelector("sse-status").source = events;
 *
 * Parts for styles: dot, text, button. `texts` takes other words. Part of flask_sse_push. MIT licence.
 */
(() => {
  "use strict";

  const WORDS = {
    connecting: "Connecting",
    open: "Live",
    waiting: "Reconnecting",
    offline: "Offline",
    full: "Waiting for a free place",
    closed: "Ended",
    "signed-out": "Signed out",
    auth: "Signed out",
    forbidden: "Not allowed",
    "gave-up": "Not connected",
    retry: "Try now",
    seconds: (seconds) => `in ${seconds} s`,
  };

  const STYLE = `
    :host { display: inline-flex; align-items: center; gap: .5em; font-size: .875em; }
    [part=dot] { inline-size: .65em; block-size: .65em; border-radius: 50%; background: #b45309; flex: none; }
    [part=dot][data-state=open] { background: #15803d; }
    [part=dot][data-state=closed] { background: #b91c1c; }
    [part=button] { font: inherit; }
    [hidden] { display: none; }
    @media (prefers-color-scheme: dark) {
      [part=dot] { background: #fbbf24; }
      [part=dot][data-state=open] { background: #4ade80; }
      [part=dot][data-state=closed] { background: #f87171; }
    }
    @media (prefers-reduced-motion: no-preference) {
      [part=dot]:not([data-state=open], [data-state=closed]) { animation: wait 1s infinite alternate; }
      @keyframes wait { to { opacity: .3; } }
    }`;

  class SSEStatus extends HTMLElement {
    #source = null;
    #parts = {};
    #timer = 0;
    #dueAt = 0;
    #words = WORDS;
    #show = (event) => this.#render(event);

    connectedCallback() {
      if (this.shadowRoot) return;
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet(); // an element <style> would need a nonce under a strict policy
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      for (const [name, tag] of Object.entries({
        dot: "span",
        text: "span",
        count: "span",
        button: "button",
      })) {
        const part = (this.#parts[name] = document.createElement(tag));
        part.setAttribute("part", name);
        root.append(part);
      }
      const { dot, text, count, button } = this.#parts;
      dot.ariaHidden = count.ariaHidden = "true"; // a screen reader hears the state, and not every second
      text.setAttribute("role", "status");
      button.type = "button";
      button.addEventListener("click", () => this.#source?.reconnect());
      this.#render();
    }

    disconnectedCallback() {
      clearInterval(this.#timer);
    }

    /** The PushSource that is shown. */
    get source() {
      return this.#source;
    }

    set source(source) {
      this.#source?.removeEventListener("sse.status", this.#show);
      this.#source = source;
      source?.addEventListener("sse.status", this.#show);
      this.#render();
    }

    /** Other words, by the names in WORDS: `{ open: "Verbunden" }`. */
    set texts(texts) {
      this.#words = { ...WORDS, ...texts };
      this.#render();
    }

    #render(event) {
      const { dot, text, button } = this.#parts;
      if (!dot) return;
      const { state = "connecting", reason } = event ?? this.#source?.explain() ?? {};
      const isWaiting = state === "waiting";
      dot.dataset.state = state;
      text.textContent = this.#words[reason] ?? this.#words[state];
      button.textContent = this.#words.retry;
      button.hidden = !isWaiting;
      this.#dueAt = Date.now() + (event?.retryIn ?? 0);
      clearInterval(this.#timer);
      this.#timer = isWaiting ? setInterval(() => this.#count(), 1000) : 0;
      this.#count();
    }

    #count() {
      const seconds = Math.ceil((this.#dueAt - Date.now()) / 1000);
      this.#parts.count.textContent = this.#timer && seconds > 0 ? this.#words.seconds(seconds) : "";
    }
  }

  customElements.define("sse-status", SSEStatus);
})();
