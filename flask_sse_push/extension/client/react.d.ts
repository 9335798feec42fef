import type { PushEvent, PushSource, PushSourceOptions, PushStatusEvent } from "./sse-push.js";

/** Read an event stream while a component is mounted. */
export declare function usePushSource(
  url: string | null,
  on: Record<string, (event: PushEvent) => void>,
  options?: PushSourceOptions,
): Pick<PushStatusEvent, "state" | "reason" | "retryIn"> & { source: PushSource | null };
