/**
 * Tabs in Firefox that share a stream: node firefox.mjs PUPPETEER PROGRAM PAGE.
 *
 * It asks for three events by a line on its output, and takes a line as the answer that they were published.
 * The last line is what the tabs saw, as JSON.
 */
import { createInterface } from "node:readline";

const [puppeteerPath, executablePath, page] = process.argv.slice(2);
const { default: puppeteer } = await import(puppeteerPath);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
const problems = [];
const tabs = [];
for (let number = 0; number < 3; number++) {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => problems.push(error.message));
  await tab.goto(page);
  tabs.push(tab);
}
const [mover, other] = tabs;

const until = async (tab, condition) => {
  for (let tries = 0; !(await tab.evaluate(condition)); tries++) {
    if (tries > 200) throw new Error(`never: ${condition}; ${await tab.evaluate("JSON.stringify(seen)")}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
let last = 0;
const publish = async () => {
  console.log("publish");
  await answers.next();
  last += 3;
  for (const tab of tabs) await until(tab, `seen.last === ${last}`);
};

for (const tab of tabs) await until(tab, "events.readyState === 1");
await publish();
for (const title of ["one", "two"]) await mover.goto(page.replace("?", `${title}?`));
await until(mover, "events.readyState === 1");
await publish();
await mover.evaluate("history.back()");
await until(mover, "document.title === 'one' && events.readyState === 1");
await publish();
console.log(
  JSON.stringify({ problems, mover: await mover.evaluate("seen"), other: await other.evaluate("seen") }),
);
await browser.close();
process.exit(); // it would wait for more answers
