/** The board: one text for every tab. */

const { boardUrl } = document.body.dataset;
const element = (id) => document.getElementById(id);

const tab = Math.random().toString(36).slice(2, 10);
const input = element("text");
const problem = element("problem");
const sentAt = new Map();
let notesSent = 0;
/** The text that is to stand on the board; null when there is nothing to send. */
let wanted = null;
let isSending = false;
let announcement = null;

/** Show what stands on the board; what is news is read out as well. */
export function showNote(note, isNews) {
  const board = element("board");
  board.textContent = note.text || "Nothing on the board yet.";
  board.classList.toggle("is-empty", !note.text);
  element("board-origin").textContent = note.tag ? describeOrigin(note) : "\u00a0";
  if (isNews && !note.tag.startsWith(`${tab}-`)) {
    // Not at every letter: who listens to the page hears it when the other one pauses.
    clearTimeout(announcement);
    const text = note.text ? `On the board: ${note.text}` : "The board is empty.";
    announcement = setTimeout(() => (element("announcer").textContent = text), 1000);
  }
}

function describeOrigin(note) {
  const time = new Date().toLocaleTimeString("en-GB");
  const sent = sentAt.get(note.tag);
  if (sent === undefined)
    return note.tag.startsWith(`${tab}-`) ? "From this tab" : `From another tab, ${time}`;
  return `From this tab: ${Math.max(1, Math.round(performance.now() - sent))} ms to the server and back as an event`;
}

/** Send what was typed last, one request at a time: what is typed meanwhile goes with the next. */
export async function sendNote() {
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
