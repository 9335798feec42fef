import { useEffect, useLayoutEffect, useRef, useState } from "react";

import { PushSource } from "./sse-push.mjs";

const NOTHING = { state: "connecting", reason: null, retryIn: null, source: null };

/**
 * Read an event stream while a component is mounted.
 *
 * The source is made again when `url` changes, and only then: `on` and `options` may be new objects at each
 * render. An event goes to the handler of the newest render; options count when the source is made.
 *
 * @param {string | null} url null reads nothing
 * @param {Record<string, (event: Event) => void>} on handlers by the type of the event
 * @param {object} [options] those of PushSource
 * @returns {{state: string, reason: string | null, retryIn: number | null, source: PushSource | null}}
 */
export function usePushSource(url, on, options) {
  const newest = useRef();
  const current = useRef(null);
  const [status, setStatus] = useState(null);
  const types = Object.keys(on).sort().join("\n");

  useLayoutEffect(() => {
    newest.current = { on, options };
  });

  useEffect(() => {
    if (url === null) return undefined;
    const source = new PushSource(url, newest.current.options);
    source.addEventListener("sse.status", ({ state, reason, retryIn }) =>
      setStatus({ state, reason, retryIn, source }),
    );
    current.current = source;
    return () => {
      source.close();
      current.current = null;
      setStatus(null);
    };
  }, [url]);

  // After the effect above, so that a new source has its listeners before it asks for its stream.
  useEffect(() => {
    const source = current.current;
    if (!source || !types) return undefined;
    const listen = (event) => newest.current.on[event.type]?.(event);
    for (const type of types.split("\n")) source.addEventListener(type, listen);
    return () => {
      for (const type of types.split("\n")) source.removeEventListener(type, listen);
    };
  }, [url, types]);

  return (
    status ?? { state: url === null ? "closed" : "connecting", reason: null, retryIn: null, source: null }
  );
}
