/** The ledger: the number of every measurement that the stream brought, and those that it did not. */

const CELLS = 30;
const LINES = 6;
const element = (id) => document.getElementById(id);

const counts = { received: 0, replayed: 0, told: 0, lost: 0 };
/** The newest number. */
let newest = null;
/** Whether the server said that something is missing from here on. */
let isTold = false;
/** How many came again since the stream is back; null while there is nothing to sum up. */
let replayedNow = null;

/** Enter a measurement's number. It was replayed when it was measured while the stream was cut. */
export function enter(number, isReplayed) {
  const missing = newest === null ? 0 : Math.max(0, number - newest - 1); // a new server counts from 1
  const kind = isTold ? "told" : "lost";
  counts[kind] += missing;
  for (let before = Math.min(missing, CELLS); before > 0; before--) addCell(number - before, kind);
  newest = number;
  isTold = false;
  counts.received++;
  addCell(number, isReplayed ? "replayed" : "live");
  if (isReplayed) {
    counts.replayed++;
    replayedNow++;
  } else if (replayedNow !== null) {
    note(`Back: ${replayedNow} replayed, ${counts.lost} lost, ${counts.told} missed and told.`);
    replayedNow = null;
  }
  for (const [name, value] of Object.entries(counts)) element(`count-${name}`).textContent = value;
  element("count-lost").classList.toggle("is-some", counts.lost > 0);
}

/** The stream is back: the next measurements are those that were missed, if the server has them. */
export function expectReplay() {
  replayedNow = 0;
}

/** The server says that events were missed. */
export function tellGap(reason) {
  isTold = true;
  const gap = element("gap");
  gap.hidden = false;
  gap.textContent =
    `The server said that events are missing (sse.reset, reason “${reason}”) before it sent any later one. ` +
    "So the page has loaded its state again: the charts are whole, and the numbers that were missed are crossed out.";
}

/** Hide the notice of a gap that is over. */
export function clearGap() {
  element("gap").hidden = true;
}

/** Write a line into the diary, the newest first. It is read out. */
export function note(text) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString("en-GB");
  line.append(time, ` ${text}`);
  const diary = element("diary");
  diary.prepend(line);
  while (diary.children.length > LINES) diary.lastChild.remove();
}

function addCell(number, kind) {
  const cell = document.createElement("li");
  cell.textContent = number;
  cell.className = kind;
  const ledger = element("ledger");
  if (kind === "replayed") cell.style.setProperty("--turn", replayedNow ?? 0); // they slide in one after the other
  ledger.append(cell);
  while (ledger.children.length > CELLS) ledger.firstChild.remove();
}
