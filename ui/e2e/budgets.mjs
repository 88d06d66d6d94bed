// The page of error budgets during an incident, as two people see it: one in English, one in Japanese.

import { assert, LAPTOP, PHONE, until } from "./browser.mjs";
import { untranslated } from "./words.mjs";

const number = (text) => Number.parseFloat(text.replace(/[^\d.-]/g, ""));

/** The page in a tab of its own, beside the war room of the same person. */
async function opened(warRoom) {
  const page = await warRoom.context().newPage();
  await page.goto(new URL("/budgets/read-timeline-freshness", warRoom.url()).href);
  await page.locator(".b-figures").waitFor({ timeout: 30_000 });
  return page;
}

/** In every language and scheme, and on a phone: nothing is wider than the screen, nothing is left in the other language. */
async function everyLook(pages, words, shots) {
  for (const [lang, page] of pages) {
    const left = lang === "ja" ? await untranslated(page, words) : [];
    assert(left.length === 0, `the budgets: not in Japanese: ${left.join(" | ")}`);
    for (const [look, size, colorScheme] of [["", LAPTOP, "light"], ["-dark", LAPTOP, "dark"], ["-phone", PHONE, "light"]]) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme });
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert(wider <= 0, `the budgets${look} in ${lang}: ${wider} px wider than the screen`);
      if (shots) await page.screenshot({ path: `${shots}/budgets-${lang}${look}.png` });
    }
    await page.setViewportSize(LAPTOP);
    await page.emulateMedia({ colorScheme: "light" });
  }
}

/** What the page says of `read-timeline-freshness` while timelines are stale. Answers the figures in a line. */
export async function atTheBudgets(english, japanese, words, shots) {
  const page = await opened(english);
  const ja = await opened(japanese);
  await page.getByText("clock runs 60 times faster").waitFor();
  const journeys = await page.locator(".b-journey h3").allInnerTexts();
  assert(journeys.join() === "Posting,Timeline", `not in order of business impact: ${journeys.join()}`);
  assert((await page.locator(".b-journey", { hasText: "Timeline" }).innerText()).includes("timeline"), "no owner team");
  const figure = (name) => page.locator(`[data-figure="${name}"]`).innerText();
  // The page asks again by itself; a drill spends its budget within minutes.
  const left = await until("a budget of which some is spent", 120, async () => {
    const text = await figure("left");
    return number(text) < 99 && text;
  });
  const failed = await until("the drill among what spent it", 60, async () => {
    const row = page.locator(".b-spenders tbody tr", { hasText: "Some timelines stop updating" });
    const cells = await row.locator("td").allInnerTexts();
    return number(cells[1]) > 0 && number(cells[2]) > 0 && `${cells[1]} failures, ${cells[2]}`;
  });
  const burn = number(await figure("burn"));
  assert(burn > 1, `timelines are stale, and the burn rate is ${burn}`);
  for (const name of ["minutes", "events", "gone"]) assert(number(await figure(name)) >= 0, `${name}: ${await figure(name)}`);
  const sentence = await page.locator(".b-words").innerText();
  assert(/error budget/.test(sentence), `no plain words: ${sentence}`);
  await page.getByText("% of this window", { exact: false }).waitFor();
  // The page alert's chart: its lines, its threshold, that it fires; and the same as a table.
  await page.locator('.b-alert-state[data-fires="true"]').waitFor({ timeout: 60_000 });
  const chart = page.locator(".b-chart", { hasText: "what the alerts wait for" });
  assert((await chart.locator("path.b-line").count()) === 2, "two burn rates");
  assert((await chart.locator(".b-legend").innerText()).includes("×14.4"), "the page's threshold");
  await chart.getByText("As a table").click();
  assert((await chart.locator("tbody tr").count()) > 10, "the chart's figures as a table");
  await chart.getByText("As a table").click();
  await page.getByRole("button", { name: "Ticket 1d" }).click();
  await chart.getByText("×3.00", { exact: false }).first().waitFor();
  await page.getByText("first seen").waitFor();
  await page.locator(".b-agreed").getByText("The weekly review looks at what spent it").waitFor();
  await ja.locator(".b-words", { hasText: "エラーバジェット" }).waitFor();
  await everyLook([["en", page], ["ja", ja]], words, shots);
  // On a phone one thing at a time: the list, then the objective, and back.
  await page.setViewportSize(PHONE);
  await page.getByRole("link", { name: "Back to the list" }).click();
  await page.locator(".b-overview").waitFor();
  assert(!(await page.locator(".b-detail").isVisible()), "the list and the objective at once on a phone");
  if (shots) await page.screenshot({ path: `${shots}/budgets-en-phone-list.png` });
  await Promise.all([page.close(), ja.close()]);
  return `${left} left, burning at ×${burn}; ${failed}`;
}
