/// <reference lib="esnext.disposable" />

/** Why a stream is not open. */
export type PushErrorKind =
  | "offline"
  | "network"
  | "timeout"
  | "stalled"
  | "server"
  | "auth"
  | "signed-out"
  | "forbidden"
  | "protocol"
  | "closed"
  | "gave-up";

/** An event of the stream. */
export interface PushEvent<Data = any> extends MessageEvent<string> {
  /** The data, parsed as JSON. Throws a SyntaxError when it is none. */
  readonly json: Data;
}

export interface PushErrorEvent extends Event {
  /** Null after a clean end of the stream, which is no fault. */
  readonly kind: PushErrorKind | null;
  /** The status of the answer, or 0 without one. */
  readonly status: number;
  /** Milliseconds until the next attempt, or null without one. */
  readonly retryIn: number | null;
  /** Whether no further attempt comes: `readyState` is CLOSED. */
  readonly final: boolean;
  /** The answer. Null without one, and for a stream that tabs share. */
  readonly response: Response | null;
}

export interface PushStatusEvent extends Event {
  readonly state: "connecting" | "open" | "waiting" | "closed";
  /** A kind of error, or "full" where the server asked to come back later. */
  readonly reason: PushErrorKind | "full" | null;
  readonly retryIn: number | null;
  /** When this state began, in milliseconds since 1970. */
  readonly since: number;
  /** Whether a SharedWorker holds the stream. */
  readonly shared: boolean;
}

export interface RetryOptions {
  /** Milliseconds of the first back-off. 500 unless given. */
  first?: number;
  /** By how much each back-off is longer than the one before. 2 unless given. */
  factor?: number;
  /** Milliseconds of the longest back-off. 30,000 unless given. */
  max?: number;
  /** Failed attempts in a row after which the source gives up. Infinity unless given. */
  limit?: number;
  /** Whether a method other than GET may be sent again. False unless given. */
  resend?: boolean;
}

/** A schedule of one's own: milliseconds until the next attempt, or null to give up. */
export type RetryFunction = (
  failures: number,
  error: Pick<PushErrorEvent, "kind" | "status" | "response">,
) => number | null;

export interface PushSourceOptions {
  /** Send cookies to other origins. */
  withCredentials?: boolean;
  /** Begin behind the event with this id. */
  lastEventId?: string | null;
  /** "auto": one stream for all tabs that ask for the same. False unless given. */
  share?: "auto" | false;
  /** Whose page this is, as the server wrote it. The tag of `sse_push_script()` sets it. */
  identity?: string;
  /** Where sse-push.js is, for the SharedWorker. The script finds it by itself, but in a bundle without the tag. */
  script?: string;
  /** Headers, or a function that is asked at each attempt. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Called once per success when the server says 401. Something true tries again. */
  onAuthError?: (error: { kind: "auth"; status: number; response: Response }) => unknown;
  method?: string;
  body?: BodyInit | null;
  fetch?: typeof fetch;
  retry?: RetryOptions | RetryFunction;
  /** Milliseconds until the headers of an answer must have come. 20,000 unless given; 0 for no limit. */
  connectTimeout?: number;
  /** Milliseconds of silence after which a stream is dead. "auto": the heartbeat that the server announced, and 5 s. */
  stallTimeout?: "auto" | number | false;
  /** The most bytes of one event. 4,000,000 unless given. */
  maxEventBytes?: number;
  signal?: AbortSignal;
}

export interface PushSourceEventMap {
  open: Event & { readonly response: Response | { url: string } };
  message: PushEvent;
  error: PushErrorEvent;
  "sse.status": PushStatusEvent;
  "sse.reset": PushEvent<{ reason: string; channels: string[] }>;
}

type Handler<Handled> = ((this: PushSource, event: Handled) => unknown) | null;

/** The EventSource interface (WHATWG HTML 9.2) on fetch. */
export declare class PushSource extends EventTarget implements AsyncIterable<PushEvent> {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSED: 2;
  static script: string | undefined;
  static identity: string | undefined;
  /** Read a body that is there already. It is never asked for again. */
  static fromReadableStream(stream: ReadableStream<Uint8Array>, options?: PushSourceOptions): PushSource;

  constructor(url: string | URL, options?: PushSourceOptions);

  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSED: 2;
  readonly url: string;
  readonly withCredentials: boolean;
  readonly readyState: 0 | 1 | 2;
  /** The id of the last event, or of the place where the stream stands. */
  readonly lastEventId: string;
  /** Milliseconds between attempts, as the server said last. */
  readonly reconnectionTime: number;
  // What is read has the types of an EventSource, so that a PushSource goes where one is asked for.
  get onopen(): EventSource["onopen"];
  set onopen(handler: Handler<PushSourceEventMap["open"]>);
  get onmessage(): EventSource["onmessage"];
  set onmessage(handler: Handler<PushEvent>);
  get onerror(): EventSource["onerror"];
  set onerror(handler: Handler<PushErrorEvent>);
  /** End for good. No event is dispatched after it. */
  close(): void;
  /** Try now; an open stream is replaced by a new one. */
  reconnect(): void;
  /** What is known about the stream, as plain data. */
  explain(): Record<string, unknown>;
  [Symbol.asyncIterator](): AsyncIterator<PushEvent>;
  [Symbol.dispose](): void;

  addEventListener<Type extends keyof PushSourceEventMap>(
    type: Type,
    listener: (this: PushSource, event: PushSourceEventMap[Type]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: (this: PushSource, event: PushEvent) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: ((event: any) => unknown) | EventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
