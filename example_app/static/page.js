/** The page: one stream, and what it tells. */

import { clearSamples, addSamples, hearSample } from "./recorder.js";
import { sendNote, showNote } from "./board.js";
import { clearGap, enter, expectReplay, note, tellGap } from "./ledger.js";

const { eventsUrl, stateUrl, plugUrl, restartUrl, cutSeconds } = document.body.dataset;
const element = (id) => document.getElementById(id);

/** The secret name of this browser, which all its tabs know: with it one can cut this browser's stream, and no other. */
const visitor = findVisitor();

function findVisitor() {
  const made = [...crypto.getRandomValues(new Uint8Array(24))]
    .map((byte) => (byte % 36).toString(36))
    .join("");
  try {
    return (localStorage["example_app.visitor"] ??= made);
  } catch {
    return made; // a browser that stores nothing has a name for each tab
  }
}

// ---- The stream

const url = new URL(eventsUrl, location.href);
url.searchParams.append("channel", `visitor.${visitor}`);
const events = new PushSource(url, { share: "auto" });
element("connection").source = events;

/** When the stream was opened last, in seconds; 0 before it was interrupted for the first time. */
let openedAgainAt = 0;
let isCut = false;
let hasState = false;
let notesHeard = 0;
let received = 0;

events.addEventListener("open", () => {
  if (isCut) {
    isCut = false;
    openedAgainAt = Date.now() / 1000;
    expectReplay();
  }
  if (!hasState) loadState();
  sendNote();
});

events.addEventListener("error", ({ kind }) => {
  if (!isCut)
    note(
      kind ? `Connection lost (${kind}).` : "The server ended the stream, and asked this page to come back.",
    );
  isCut = true;
});

events.addEventListener("sse.status", ({ state }) => {
  document.body.dataset.state = state;
  if (state !== "open") element("streams").textContent = "–";
  if (state === "waiting" && !hasState) loadState();
});

events.addEventListener("sample", ({ json: sample }) => {
  element("received").textContent = ++received;
  element("streams").textContent = sample.streams;
  element("tabs").textContent = events.explain().tabs ?? 1;
  enter(sample.number, hearSample(sample, openedAgainAt));
});

events.addEventListener("note", ({ json }) => {
  element("received").textContent = ++received;
  notesHeard++;
  showNote(json, true);
});

events.addEventListener("process", ({ json }) => {
  element("received").textContent = ++received;
  showProcess(json.pid);
});

events.addEventListener("sse.reset", ({ json }) => {
  tellGap(json.reason);
  note(`sse.reset: events were missed (${json.reason}).`);
  clearSamples();
  hasState = false;
  loadState();
});

/** Load what events to come cannot tell: what happened before this page, or what it missed. */
async function loadState() {
  const notesBefore = notesHeard;
  // Before the stream has its place, something may come between the state and its first event.
  const isComplete = events.readyState === PushSource.OPEN;
  try {
    const response = await fetch(`${stateUrl}?visitor=${visitor}`, { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) return;
    const state = await response.json();
    hasState = isComplete;
    addSamples(state.samples);
    if (state.pid) showProcess(state.pid);
    // A note that came by event in the meantime is newer, or the event of this one is on its way.
    if (notesHeard === notesBefore) showNote(state.note, false);
  } catch {
    // The connection is lost again: the next one loads it.
  }
}

function showProcess(pid) {
  const before = element("pid").textContent;
  if (before === String(pid)) return;
  element("pid").textContent = pid;
  if (before !== "–") note(`Moved from process ${before} to process ${pid}.`);
}

// ---- The plug

async function ask(url, body, done) {
  clearGap();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ visitor, ...body }),
      signal: AbortSignal.timeout(10_000),
    });
    note(response.ok ? done : `The server did not do it. ${(await response.json()).message}`);
  } catch {
    note("The server cannot be reached.");
  }
}

element("pull").addEventListener("click", () =>
  ask(plugUrl, { loses_history: false }, `You pulled the plug: ${cutSeconds} seconds without a stream.`),
);
element("lose").addEventListener("click", () =>
  ask(plugUrl, { loses_history: true }, "You lost your history."),
);
element("restart")?.addEventListener("click", () => ask(restartUrl, {}, "Your worker was told to end."));
