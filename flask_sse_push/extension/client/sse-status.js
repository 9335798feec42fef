/**
 * <sse-status>: what a PushSource is doing, for people. Give it the source:
 *
 *     document.querySelector("sse-status").source = events;
 *
 * Parts for styles: dot, text, button. `texts` takes other words. Part of flask_sse_push. MIT licence.
 */
(() => {
  "use strict";

  if (!globalThis.customElements || customElements.get("sse-status")) return; // on a server, or a second copy

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
    #words = WORDS;

    connectedCallback() {
      if (!this.shadowRoot) this.#build();
      // What was set before this script ran hides the setter; and an element that was moved listens again.
      for (const name of ["source", "texts"]) {
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
    }

    disconnectedCallback() {
      clearInterval(this.#timer);
      this.#source?.removeEventListener("sse.status", this.#render);
    }

    #build() {
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet(); // an element <style> would need a nonce under a strict policy
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      for (const name of ["dot", "text", "count", "button"]) {
        const part = (this.#parts[name] = document.createElement(name === "button" ? name : "span"));
        part.setAttribute("part", name);
        root.append(part);
      }
      const { dot, text, count, button } = this.#parts;
      dot.ariaHidden = count.ariaHidden = "true"; // a screen reader hears the state, and not every second
      text.setAttribute("role", "status");
      button.type = "button";
      button.addEventListener("click", () => this.#source?.reconnect());
    }

    /** The PushSource that is shown. */
    get source() {
      return this.#source;
    }

    set source(source) {
      this.#source?.removeEventListener("sse.status", this.#render);
      this.#source = source;
      if (this.isConnected) source?.addEventListener("sse.status", this.#render);
      this.#render();
    }

    /** Other words, by the names in WORDS: `{ open: "Verbunden" }`. */
    get texts() {
      return this.#words;
    }

    set texts(texts) {
      this.#words = { ...WORDS, ...texts };
      this.#render();
    }

    #render = () => {
      const { dot, text, count, button } = this.#parts;
      if (!this.isConnected) return;
      const { state = "connecting", reason, since, retryIn } = this.#source?.explain() ?? {};
      dot.dataset.state = state;
      text.textContent = this.#words[reason] ?? this.#words[state];
      button.textContent = this.#words.retry;
      button.hidden = !retryIn;
      const tick = () => {
        const seconds = Math.ceil((since + retryIn - Date.now()) / 1000);
        count.textContent = seconds > 0 ? this.#words.seconds(seconds) : "";
      };
      clearInterval(this.#timer);
      if (retryIn) this.#timer = setInterval(tick, 1000);
      tick();
    };
  }

  customElements.define("sse-status", SSEStatus);
})();
