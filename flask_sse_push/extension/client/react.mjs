import { useEffect, useRef, useState } from "react";

import { PushSource } from "./sse-push.mjs";

const NOTHING = { state: "connecting", reason: null, retryIn: null, source: null };

/**
 * Read an event stream while a component is mounted.
 *
 * The source is made again when `url` changes. `on` and `options` may be new objects at each render.
 *
 * @param {string | null} url null reads nothing
 * @param {Record<string, (event: MessageEvent) => void>} on handlers by the type of the event
 * @param {object} [options] those of PushSource
 * @returns {{state: string, reason: string | null, retryIn: number | null, source: PushSource | null}}
 */
export function usePushSource(url, on, options) {
  const latest = useRef({ on, options });
  latest.current = { on, options };
  const [status, setStatus] = useState(NOTHING);
  const types = Object.keys(on).sort().join("\n");

  useEffect(() => {
    if (url === null) return undefined;
    const source = new PushSource(url, latest.current.options);
    for (const type of types ? types.split("\n") : []) {
      source.addEventListener(type, (event) => latest.current.on[type]?.(event));
    }
    source.addEventListener("sse.status", ({ state, reason, retryIn }) =>
      setStatus({ state, reason, retryIn, source }),
    );
    return () => {
      source.close();
      setStatus(NOTHING);
    };
  }, [url, types]);

  return status;
}
