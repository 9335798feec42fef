/** The page: one connection, three charts, and the board. */

import { StripChart } from "./chart.js";
import { Connection } from "./connection.js";

const { eventsUrl, stateUrl, boardUrl, intervalSeconds } = document.body.dataset;
const element = (id) => document.getElementById(id);
const announce = (text) => (element("announcer").textContent = text);
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

// ---- Measurements

const KEPT_SECONDS = 120;
const RATE_SECONDS = 10;

/** All that the page has, in order of time. */
let samples = [];
/** How far this machine's clock is ahead of the server's, delivery included, in seconds. */
let lead = Infinity;

const percent = (value) => `${value} %`;
const charts = {
  cpu: new StripChart(element("cpu-chart"), { label: percent }),
  memory: new StripChart(element("memory-chart"), { label: percent }),
  load: new StripChart(element("load-chart"), { label: (value) => value.toFixed(1), hasClock: true }),
};

function addSamples(more) {
  const byTime = new Map([...samples, ...more].map((sample) => [sample.time, sample]));
  samples = [...byTime.values()].sort((a, b) => a.time - b.time);
  const newest = samples.at(-1)?.time ?? 0;
  samples = samples.filter((sample) => sample.time > newest - KEPT_SECONDS);
  if (samples.length) showSample(samples.at(-1));
}

function showSample(sample) {
  element("cpu").textContent = sample.cpu.toFixed(0);
  const busiest = Math.max(...sample.cores).toFixed(0);
  element("cpu-detail").textContent = sample.cores.length === 1 ? "1 core" : `${sample.cores.length} cores, busiest ${busiest} %`;
  element("memory").textContent = sample.memory_percent.toFixed(0);
  element("memory-detail").textContent = `${gibibytes(sample.memory_used)} of ${gibibytes(sample.memory_total)} GiB`;
  const [one, five, fifteen] = sample.load.map((value) => value.toFixed(2));
  element("load").textContent = one;
  element("load-5").textContent = `5 min ${five}`;
  element("load-15").textContent = `15 min ${fifteen}`;
  showCores(sample.cores);
}

const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(1);

function showCores(cores) {
  const list = element("cores");
  while (list.children.length > cores.length) list.lastChild.remove();
  while (list.children.length < cores.length) list.append(document.createElement("li"));
  [...list.children].forEach((item, index) => {
    const bar = item.firstElementChild ?? item.appendChild(document.createElement("span"));
    bar.style.setProperty("--share", `${cores[index]}%`);
    item.setAttribute("aria-label", `core ${index + 1}: ${cores[index].toFixed(0)} %`);
  });
}

/** Draw all charts as they look at a time of the server's clock. */
function draw(now) {
  const cores = samples.at(-1)?.cores.length ?? 1;
  const thin = { width: 1, opacity: Math.max(0.12, 0.5 / Math.sqrt(cores)) };
  const main = { width: 2, opacity: 1, fill: true };
  const points = (values) => samples.map((sample) => ({ time: sample.time, values: values(sample) }));
  charts.cpu.draw(points((sample) => [...sample.cores, sample.cpu]), [...Array(cores).fill(thin), main], now, 100);
  charts.memory.draw(points((sample) => [sample.memory_percent]), [main], now, 100);
  const highest = Math.max(1, ...samples.flatMap((sample) => sample.load));
  const pens = [{ width: 1, opacity: 0.5 }, { width: 1.5, opacity: 0.7 }, main];
  charts.load.draw(points((sample) => [...sample.load].reverse()), pens, now, 2 ** Math.ceil(Math.log2(highest)));
}

let drawnAt = 0;

function drawFrame() {
  requestAnimationFrame(drawFrame); // rests by itself while the tab is hidden
  if (!samples.length) return;
  // Behind the newest measurement, so that there is always one for the pens to move towards.
  const now = isStill.matches || lead === Infinity ? samples.at(-1).time : Date.now() / 1000 - lead - intervalSeconds * 1.2;
  // Half a pixel is the least that shows. This page shows the processor's use, and should not be what it shows.
  const { seconds, width } = charts.cpu;
  if (Math.abs(now - drawnAt) * width < seconds * 0.5) return;
  drawnAt = now;
  draw(now);
}

function restyle() {
  for (const chart of Object.values(charts)) chart.restyle();
  drawnAt = 0;
  if (!samples.length) draw(Date.now() / 1000);
}

new ResizeObserver(restyle).observe(document.querySelector(".recorder"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
requestAnimationFrame(drawFrame);

// ---- Connection

/** How many events of these kinds came: an answer that was read before the last of them is old. */
const heard = { notes: 0, streams: 0 };
const arrivals = [];
let received = 0;
let connectionState = "connecting";
let liveSince = 0;

const STATE_TEXTS = { connecting: "connecting", live: "live", lost: "lost: reconnecting" };

function showState(state) {
  if (state === connectionState) return;
  connectionState = state;
  element("connection").dataset.state = document.body.dataset.state = state;
  element("connection-text").textContent = STATE_TEXTS[state];
  announce(`Connection: ${STATE_TEXTS[state]}`);
  if (state === "live") {
    liveSince = performance.now();
    loadState();
    sendNote();
  } else {
    element("streams").textContent = "–";
  }
}

function countEvent() {
  arrivals.push(performance.now());
  element("received").textContent = ++received;
  showRate();
}

function showRate() {
  const now = performance.now();
  while (arrivals.length && arrivals[0] < now - RATE_SECONDS * 1000) arrivals.shift();
  const seconds = Math.max(1, Math.min(RATE_SECONDS, (now - liveSince) / 1000));
  element("rate").textContent = connectionState === "connecting" ? "–" : (arrivals.length / seconds).toFixed(1);
}

setInterval(showRate, 1000);

/** Load what events to come cannot tell: what happened before this page, or what it missed. */
async function loadState() {
  const before = { ...heard };
  try {
    const response = await fetch(stateUrl, { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) return;
    const state = await response.json();
    addSamples(state.samples);
    // What came by event in the meantime is newer, or the event of this one is on its way.
    if (heard.streams === before.streams) element("streams").textContent = state.streams;
    if (heard.notes === before.notes) showNote(state.note, false);
  } catch {
    // The connection is lost again: the next one loads it.
  }
}

const connection = new Connection(
  eventsUrl,
  {
    sample(sample) {
      // The quickest delivery tells best; a little is forgotten each time, since clocks drift.
      lead = Math.min(lead + 0.005, Date.now() / 1000 - sample.time);
      addSamples([sample]);
    },
    streams({ streams }) {
      heard.streams++;
      element("streams").textContent = streams;
    },
    note(note) {
      heard.notes++;
      showNote(note, true);
    },
    "sse.reset"() {
      loadState();
    },
  },
  { onstate: showState, onevent: countEvent },
);

// ---- Board

const tab = Math.random().toString(36).slice(2, 10);
const input = element("text");
const problem = element("problem");
const sentAt = new Map();
let notesSent = 0;
/** The text that is to stand on the board; null when there is nothing to send. */
let wanted = null;
let isSending = false;
let announcement = null;

function showNote(note, isNews) {
  const board = element("board");
  board.textContent = note.text || "Nothing on the board yet.";
  board.classList.toggle("is-empty", !note.text);
  element("board-origin").textContent = note.tag ? describeOrigin(note) : "\u00a0";
  if (isNews && !note.tag.startsWith(`${tab}-`)) {
    // Not at every letter: who listens to the page hears it when the other one pauses.
    clearTimeout(announcement);
    announcement = setTimeout(() => announce(note.text ? `On the board: ${note.text}` : "The board is empty."), 1000);
  }
}

function describeOrigin(note) {
  const time = new Date().toLocaleTimeString("en-GB");
  const sent = sentAt.get(note.tag);
  if (sent === undefined) return note.tag.startsWith(`${tab}-`) ? "From this tab" : `From another tab, ${time}`;
  return `From this tab: ${Math.max(1, Math.round(performance.now() - sent))} ms to the server and back as an event`;
}

/** Send what was typed last, one request at a time: what is typed meanwhile goes with the next. */
async function sendNote() {
  if (isSending) return;
  isSending = true;
  try {
    while (wanted !== null) {
      const text = wanted;
      const tag = `${tab}-${++notesSent}`;
      sentAt.clear();
      sentAt.set(tag, performance.now());
      const response = await fetch(boardUrl, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ text, tag }),
        signal: AbortSignal.timeout(10_000),
      });
      if (response.status >= 500) throw new Error(`status ${response.status}`);
      if (wanted === text) wanted = null;
      if (response.ok) showProblem("");
      else showProblem(`The server did not take it. ${(await response.json()).message}`);
    }
  } catch {
    showProblem("The server cannot be reached. Your text is sent when the connection is back.");
  } finally {
    isSending = false;
  }
}

function showProblem(text) {
  problem.hidden = !text;
  problem.textContent = text;
}

function write() {
  element("count").textContent = `${input.value.length} of ${input.maxLength} characters`;
  wanted = input.value;
  sendNote();
}

input.addEventListener("input", write);
element("clear").addEventListener("click", () => {
  input.value = "";
  write();
  input.focus();
});
element("board-form").addEventListener("submit", (event) => event.preventDefault());

connection.open();
