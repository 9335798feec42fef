import type { PushSource, PushSourceEventMap, PushSourceOptions, PushStatusEvent } from "./sse-push.js";

/** Handlers by the type of the event. */
export type PushHandlers = {
  [Type in keyof PushSourceEventMap]?: (event: PushSourceEventMap[Type]) => void;
} & { [type: string]: ((event: any) => void) | undefined };

/** Read an event stream while a component is mounted. */
export declare function usePushSource(
  url: string | null,
  on: PushHandlers,
  options?: PushSourceOptions,
): Pick<PushStatusEvent, "state" | "reason" | "retryIn"> & { source: PushSource | null };
