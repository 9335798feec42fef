/** The public API as a user of TypeScript writes it. Checked, and never run. */
import { PushSource, type PushErrorEvent, type PushSourceOptions } from "sse-push";

const options: PushSourceOptions = {
  share: "auto",
  retry: (failures, error) => (error.kind === "server" ? failures * 1000 : null),
  headers: async () => ({ Authorization: "Bearer x" }),
  onAuthError: async ({ response }) => response.ok,
  lastEventId: document.body.getAttribute("data-cursor"),
  signal: AbortSignal.timeout(1000),
  stallTimeout: false,
  fetch,
};
export const source = new PushSource(new URL("https://app.test/events"), options);

// Where a library asks for the browser's own, this one is taken.
export const asEventSource: EventSource = source;

source.onopen = () => {};
source.onmessage = function ({ data, lastEventId }) {
  const texts: string[] = [data, lastEventId];
  if (texts.length) this.close();
};
source.onerror = ({ final, response }) => final && response?.text();

source.addEventListener("error", ({ kind, retryIn }) => [kind === "signed-out", retryIn]);
source.addEventListener("sse.status", ({ state, shared }) => state === "open" && shared);
source.addEventListener("created", ({ json, data }) => [json.item, data.length]);
source.addEventListener("created", { handleEvent: (event: Event) => event.type });
const onError = (event: PushErrorEvent) => event.status;
source.addEventListener("error", onError, { once: true });
source.removeEventListener("error", onError);

// @ts-expect-error: no such kind
source.addEventListener("error", ({ kind }) => kind === "lost");
// @ts-expect-error: read-only
source.url = "";
// @ts-expect-error: no such value
new PushSource("/events", { share: true });

export const read = async (): Promise<string[]> => {
  using answer = PushSource.fromReadableStream(new ReadableStream());
  const types: string[] = [];
  for await (const event of answer) types.push(event.type);
  return types;
};
