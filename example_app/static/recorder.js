/** The recorder: what the machine does, as figures and as three charts under one clock. */

import { StripChart } from "./chart.js";

const KEPT_SECONDS = 120;
const intervalSeconds = Number(document.body.dataset.intervalSeconds);
const element = (id) => document.getElementById(id);
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

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

/** Forget all measurements: nobody knows which are missing. */
export function clearSamples() {
  samples = [];
}

/** Add measurements that are known already or come too late as well: each is kept once. */
export function addSamples(more) {
  const byTime = new Map([...more, ...samples].map((sample) => [sample.time, sample]));
  samples = [...byTime.values()].sort((a, b) => a.time - b.time);
  const newest = samples.at(-1)?.time ?? 0;
  samples = samples.filter((sample) => sample.time > newest - KEPT_SECONDS);
  if (samples.length) showSample(samples.at(-1));
}

/** Add a measurement that came by event; say whether it was made before a time of this machine's clock, in seconds. */
export function hearSample(sample, openedAt) {
  const isReplayed = lead < Infinity && sample.time + lead < openedAt;
  // The quickest delivery tells best; a little is forgotten each time, since clocks drift.
  lead = Math.min(lead + 0.005, Date.now() / 1000 - sample.time);
  addSamples([{ ...sample, isReplayed }]);
  return isReplayed;
}

function showSample(sample) {
  element("cpu").textContent = sample.cpu.toFixed(0);
  const busiest = Math.max(...sample.cores).toFixed(0);
  element("cpu-detail").textContent =
    sample.cores.length === 1 ? "1 core" : `${sample.cores.length} cores, busiest ${busiest} %`;
  element("memory").textContent = sample.memory_percent.toFixed(0);
  element("memory-detail").textContent =
    `${gibibytes(sample.memory_used)} of ${gibibytes(sample.memory_total)} GiB`;
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
  const points = (values) =>
    samples.map((sample) => ({ time: sample.time, values: values(sample), isMarked: sample.isReplayed }));
  charts.cpu.draw(
    points((sample) => [...sample.cores, sample.cpu]),
    [...Array(cores).fill(thin), main],
    now,
    100,
  );
  charts.memory.draw(
    points((sample) => [sample.memory_percent]),
    [main],
    now,
    100,
  );
  const highest = Math.max(1, ...samples.flatMap((sample) => sample.load));
  const pens = [{ width: 1, opacity: 0.5 }, { width: 1.5, opacity: 0.7 }, main];
  charts.load.draw(
    points((sample) => [...sample.load].reverse()),
    pens,
    now,
    2 ** Math.ceil(Math.log2(highest)),
  );
}

let drawnAt = 0;

function drawFrame() {
  requestAnimationFrame(drawFrame); // rests by itself while the tab is hidden
  if (!samples.length) return;
  // Behind the newest measurement, so that there is always one for the pens to move towards.
  const now =
    isStill.matches || lead === Infinity
      ? samples.at(-1).time
      : Date.now() / 1000 - lead - intervalSeconds * 1.2;
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
