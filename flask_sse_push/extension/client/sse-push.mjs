import "./sse-push.js";

export const PushSource = globalThis.PushSource;
PushSource.script ??= new URL(`./sse-push.js${new URL(import.meta.url).search}`, import.meta.url).href;
