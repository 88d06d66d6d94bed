// A browser of its own for each run, and the words with which a step fails.

import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What a person sees at 1366x860, the smallest laptop that is still common. */
export const LAPTOP = { width: 1366, height: 860 };
export const PHONE = { width: 390, height: 844 };

/**
 * What a walk was called with: `URL [--shots DIR] [--chromium PROGRAM]`, and the options of its own. Without a URL or a
 * browser it says so and ends.
 */
export async function called(script, options = {}) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { shots: { type: "string" }, chromium: { type: "string", default: "/usr/bin/chromium" }, ...options },
  });
  const refuse = (words) => {
    console.error(words);
    process.exit(2);
  };
  const own = Object.keys(options).map((name) => ` [--${name} ...]`);
  if (!positionals[0]) refuse(`usage: node ${script} URL [--shots DIR] [--chromium PROGRAM]${own.join("")}`);
  if (!existsSync(values.chromium)) refuse(`there is no ${values.chromium}: install chromium, or say where it is with --chromium`);
  if (values.shots) await mkdir(values.shots, { recursive: true });
  return { url: positionals[0], ...values };
}

/** Walks to the end, or for so many minutes: each wait has an end of its own, this one is for what should never hang. */
export async function walked(browser, minutes, walk) {
  setTimeout(() => {
    console.error(`FAIL gave up after ${minutes} minutes`);
    process.exit(1);
  }, minutes * 60_000).unref();
  try {
    await walk();
  } catch {
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

/**
 * Starts Chromium with nothing kept from before. `open(locale)` gives a page of another person: cookies are not shared.
 */
export async function launch(executablePath) {
  const folder = await mkdtemp(path.join(tmpdir(), "hikeshi-chromium-"));
  // A profile on disk belongs to one person only; the others come as contexts without one.
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    args: FLAGS,
    env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder },
  });
  const problems = [];
  return {
    problems,
    async open(locale) {
      const context = await browser.newContext({
        locale,
        viewport: LAPTOP,
        permissions: ["clipboard-read", "clipboard-write"],
      });
      const page = await context.newPage();
      // Only what the page itself says: Prometheus' and others' pages in its frames have troubles of their own, and a
      // score that is not there yet is asked for again.
      page.on("pageerror", (error) => {
        if (/\/assets\//.test(error.stack ?? "")) problems.push(`${locale}: ${error.message}`);
      });
      page.on("console", (message) => {
        const { url } = message.location();
        const own = !/\/(prometheus|alertmanager|chirpy)\//.test(url) && !/\/(score|story|postmortem)(\?|$)/.test(url);
        if (message.type() === "error" && own) problems.push(`${locale}: ${message.text()} (${url})`);
      });
      return page;
    },
    async close() {
      await browser.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

export function assert(holds, words) {
  if (!holds) throw new Error(words);
}

/** Asks until the answer is neither null nor false; what it was asked for stands in the failure. */
export async function until(what, seconds, ask, everyMs = 500) {
  const end = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== false && answer !== undefined) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= end) throw new Error(`${what}: not within ${seconds} s${last ? ` (${last.message})` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** Names each step as it passes; at the first that does not, tells what was on the page. */
export function steps(pageNow, shots) {
  const begun = Date.now();
  return async function step(name, act) {
    const from = Date.now();
    try {
      const found = await act();
      const seconds = ((Date.now() - from) / 1000).toFixed(1);
      console.log(`ok   ${name} (${seconds} s)${typeof found === "string" ? `: ${found}` : ""}`);
      return found;
    } catch (error) {
      console.error(`FAIL ${name} (${((Date.now() - begun) / 1000).toFixed(0)} s after the start): ${error.message}`);
      const page = pageNow();
      if (page) {
        const picture = path.join(shots ?? (await mkdtemp(path.join(tmpdir(), "hikeshi-e2e-"))), "failure.png");
        await page.screenshot({ path: picture }).then(
          () => console.error(`     picture: ${picture}`),
          (reason) => console.error(`     no picture: ${reason.message}`),
        );
        const text = await page.locator("body").innerText().catch(() => "(the page is gone)");
        console.error(`     ${page.url()}\n${text.replace(/^/gm, "     | ").slice(0, 6000)}`);
      }
      throw error;
    }
  };
}
