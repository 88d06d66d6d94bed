// What a person does in the war room, in the page's own terms.

import { assert, until } from "./browser.mjs";

export async function join(page, name, seat, button) {
  await page.locator("#name").fill(name);
  await page.locator(".choice", { hasText: seat }).first().click();
  await page.getByRole("button", { name: button }).click();
}

/** Every journey's card: its title, the values of its SLIs, whether lines are drawn and all is within the SLO. */
export async function journeys(page) {
  return page.locator("article.journey").evaluateAll((cards) =>
    cards.map((card) => {
      const slis = [...card.querySelectorAll(".sli")];
      return {
        title: card.querySelector("h3")?.textContent ?? "",
        values: slis.map((sli) => sli.querySelector("strong")?.textContent ?? ""),
        drawn: slis.length > 0 && slis.every((sli) => sli.querySelector("svg.chart .line")),
        within: slis.every((sli) => sli.dataset.bad === "false" && /%$/.test(sli.querySelector("strong")?.textContent ?? "")),
      };
    }),
  );
}

/** Presses one of the buttons over the chat's box and fills in what it asks for. */
export async function declare(page, action, { text, to, button }) {
  await page.getByRole("tab", { name: "Chat" }).click();
  await page.getByRole("group", { name: "Declare and share" }).getByRole("button", { name: action, exact: true }).click();
  if (to) await page.getByLabel("To whom").selectOption(to);
  if (text) await page.locator(".composer textarea").fill(text);
  await page.locator(".composer").getByRole("button", { name: button, exact: true }).click();
  await page.locator('.composer[data-mode="say"]').waitFor();
}

/**
 * Types a line into the console and waits for its end. Answers what it printed; anything but exit code 0 is a failure,
 * unless a refusal is awaited: then its words.
 */
export async function runLine(page, line, { seconds = 60, refused = false, button = "Run", label = "Command" } = {}) {
  await page.locator("#tab-console").click();
  const runs = page.locator("section.run");
  const before = await runs.count();
  const box = page.getByRole("textbox", { name: label, exact: true });
  await until("the console is free", 30, () => box.isEnabled());
  await box.fill(line);
  await page.locator(".prompt").getByRole("button", { name: button }).click();
  await until(`${line}: the console takes it`, 10, async () => (await runs.count()) > before);
  const run = runs.last();
  const end = await until(`${line}: its end`, seconds, async () => {
    const state = await run.getAttribute("data-end");
    return state !== "running" && state;
  });
  const output = await run.locator("pre").innerText();
  if (refused) {
    assert(end === "refused", `${line}: should be refused, ended with ${end}`);
    return run.locator(".failure").innerText();
  }
  const words = end === "refused" ? await run.locator(".failure").innerText() : output;
  assert(end === "0", `${line}: ended with ${end}: ${words}`);
  assert(output.trim() !== "", `${line}: printed nothing`);
  return output;
}

/** The timeline has the command under the person's name. */
export async function commandInTimeline(page, name, line) {
  await page.getByRole("tab", { name: "Timeline" }).click();
  const moment = page.locator(".moment", { has: page.locator("code").getByText(line, { exact: true }) }).first();
  await moment.waitFor({ timeout: 10_000 });
  const who = await moment.locator(".who").innerText();
  assert(who === name, `${line} stands under ${who}, not ${name}`);
  await page.getByRole("tab", { name: "Chat" }).click();
}

/** Prometheus, Alertmanager and the app in their frames, with all their files; a query is asked. */
export async function atTheTools(page) {
  const failed = [];
  const listen = (response) => {
    if (response.status() >= 400 && /\/(prometheus|alertmanager|chirpy)\//.test(response.url())) failed.push(`${response.status()} ${response.url()}`);
  };
  page.on("response", listen);
  const frame = async (tab) => {
    await page.getByRole("tab", { name: tab, exact: true }).click();
    return page.frameLocator(`iframe[title="${tab}"]`);
  };
  const prometheus = await frame("Prometheus");
  await prometheus.locator("textarea").first().fill("count(up == 1)");
  await prometheus.getByText("Execute").click();
  await until("Prometheus' answer to a query", 20, async () => /\b[1-9]\d*\b/.test(await prometheus.locator("table").first().innerText()));
  const alertmanager = await frame("Alertmanager");
  await alertmanager.getByText("Alertmanager").first().waitFor();
  const app = await frame("App");
  await app.getByText("Chirpy").first().waitFor();
  page.off("response", listen);
  assert(failed.length === 0, `files that did not come: ${failed.join(", ")}`);
}

/** The debrief's score, as the page shows it. */
export async function atTheDebrief(page) {
  const score = page.locator("section.score");
  await score.waitFor({ timeout: 30_000 });
  const [points, of] = (await score.locator(".total").innerText()).match(/\d+/g).map(Number);
  const reasons = await score.locator("li .reason").allInnerTexts();
  return { points, of, reasons };
}
