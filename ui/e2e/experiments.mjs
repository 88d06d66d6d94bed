// Experiments, walked through as a person does, on the real system:
//
//   kubectl apply -f ui/e2e/nginx-app.yaml                  # what the talk's manifest aims at
//   node ui/e2e/experiments.mjs URL [--shots DIR] [--chromium PROGRAM]
//
// URL is a host's link (`hikeshi drill start ... --json`, its "url"). Exits 0 when every step showed what it should. With
// --shots, pictures of what was seen are left in DIR.

import { assert, called, LAPTOP, launch, PHONE, steps, until, walked } from "./browser.mjs";
import { join } from "./room.mjs";
import { dictionary, untranslated } from "./words.mjs";

const { url, ...values } = await called("experiments.mjs");

const words = await dictionary();
const browser = await launch(values.chromium);
let page;
const step = steps(() => page, values.shots);

const language = (name) => page.getByRole("group", { name: /Language|言語/ }).getByRole("button", { name }).click();
const button = (name) => page.getByRole("button", { name });
const sheet = () => page.getByRole("textbox", { name: "Manifest" });
const field = (name) => page.locator(".x-form").getByLabel(name, { exact: true });
const start = () => page.locator(".x-start .primary");

/** The page as it stands, in both languages, both schemes and on a phone; in Japanese nothing English is left. */
async function everyLook(name) {
  for (const [lang, label] of [["ja", "日本語"], ["en", "EN"]]) {
    await language(label);
    await page.locator(`html[lang=${lang}]`).waitFor();
    if (lang === "ja") {
      const left = await untranslated(page, words);
      assert(left.length === 0, `${name}: not in Japanese: ${left.join(" | ")}`);
    }
    for (const [look, size, colorScheme] of [["", LAPTOP, "light"], ["-dark", LAPTOP, "dark"], ["-phone", PHONE, "light"]]) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme });
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert(wider <= 0, `${name}${look} in ${lang}: ${wider} px wider than the screen`);
      if (values.shots) await page.screenshot({ path: `${values.shots}/experiments-${name}-${lang}${look}.png` });
    }
    await page.setViewportSize(LAPTOP);
    await page.emulateMedia({ colorScheme: "light" });
  }
}

async function ready() {
  await until("the start button is free", 30, async () => (await start().isEnabled()) || null);
  return (await start().innerText()).replaceAll("\n", ": ");
}

/** The records of the experiment on the page: `[{state, pod}]`. */
async function records() {
  return page.locator(".x-records > li").evaluateAll((all) => all.map((one) => ({ state: one.dataset.state, pod: one.querySelector(".x-pod")?.textContent })));
}

const ended = (seconds) => page.locator('.x-phases [aria-current="step"]', { hasText: "Ended" }).waitFor({ timeout: seconds * 1000 });
const recovered = () => page.locator('.x-outcome [data-recovered="true"]').waitFor({ timeout: 60_000 });

async function walk() {
  await step("the host comes in and finds the experiments", async () => {
    page = await browser.open("en-US");
    await page.goto(url);
    await join(page, "pika7", "Commander", "Take the seat");
    await page.getByRole("link", { name: "Experiments" }).click();
    await page.getByRole("heading", { name: "Experiments" }).waitFor();
  });
  await step("the talk's manifest stands in the editor as it was printed", async () => {
    await button("Delay and 500 (http-delay)").click();
    const text = await sheet().inputValue();
    for (const line of ["kind: HTTPChaos  # タイプを指定", "      app: nginx-app", "  path: '/test*'  # Pathも指定できる"]) assert(text.includes(line), `no ${line} in:\n${text}`);
  });
  await step("its blast radius is shown before anything starts", async () => {
    const promise = await ready();
    const count = Number(await page.locator(".x-count strong").innerText());
    assert(count > 0, "no pod would be hit: is nginx-app running in the namespace default?");
    assert((await page.locator('.x-dots [data-hit="true"]').count()) === count, "as many squares as pods hit");
    assert((await page.locator(".x-effect").innerText()).length > 10, "the effect is not told");
    return promise;
  });
  await everyLook("compose");
  await step("the traffic that a fault would hit is told in figures, and by journey", async () => {
    await button("1.5 % errors on one route").click();
    const figure = page.locator(".x-traffic strong").first();
    const told = await until("requests per second", 90, async () => {
      const text = await figure.innerText();
      return Number.parseFloat(text.split("–").at(-1)) > 0 ? text : null;
    });
    await page.locator(".x-traffic li", { hasText: "Posting" }).getByText("1.5%").waitFor();
    return told;
  });
  await everyLook("traffic");
  await step("the composer offers what runs", async () => {
    await field("Choose a workload").selectOption({ label: "default / nginx-app (2)" });
    assert((await sheet().inputValue()).includes("app: nginx-app"), "the workload's label is not in the manifest");
    await button("Delay and 500 (http-delay)").click();
    await ready();
  });
  await step("a slip of the pen is shown at its line, and nothing can be started", async () => {
    const text = await sheet().inputValue();
    await sheet().fill(text.replace("  delay: 1s", "  dely: 1s"));
    const problem = page.locator(".x-problems li", { hasText: "dely" }).first();
    await problem.waitFor();
    const line = text.split("\n").findIndex((one) => one.includes("delay: 1s")) + 1;
    const place = await problem.getByRole("button").innerText();
    assert(place.startsWith(`${line}:`), `the slip is in line ${line}, shown at ${place}`);
    assert(await start().isDisabled(), "a manifest with a problem could be started");
    await page.locator(".x-form .x-caution code", { hasText: "spec.dely" }).waitFor();
    await problem.getByRole("button").click();
    const cursor = await sheet().evaluate((area) => area.value.slice(0, area.selectionStart).split("\n").length);
    assert(cursor === line, `the cursor went to line ${cursor}`);
    await sheet().fill(text);
    await ready();
    return place;
  });
  await step("what is typed into the manifest stands in the form, and the other way round", async () => {
    const text = await sheet().inputValue();
    await sheet().fill(text.replace("port: 80", "port: 8081"));
    await until("the form follows", 10, async () => (await field("Port").inputValue()) === "8081" || null);
    await field("Port").fill("80");
    assert((await sheet().inputValue()).includes("  port: 80\n"), "the manifest does not follow the form");
  });
  await step("start", async () => {
    await ready();
    await start().click();
    await page.waitForURL(/\/experiments\/[^/]+$/);
    await until("every pod is hit", 60, async () => {
      const all = await records();
      return (all.length > 0 && all.every((one) => one.state === "hit")) || null;
    });
    await page.locator('.x-phases [aria-current="step"]', { hasText: "Running" }).waitFor();
    return (await records()).map((one) => one.pod).join(", ");
  });
  await everyLook("watch");
  await step("stop: the pods recover, and that is verified", async () => {
    await button("Stop the experiment").click();
    await ended(60);
    await recovered();
    const all = await records();
    assert(all.every((one) => one.state === "good"), `not recovered: ${JSON.stringify(all)}`);
    return (await page.locator(".x-outcome").innerText()).replaceAll("\n", " ");
  });
  await step("run again brings it back into the editor", async () => {
    await button("Run again").click();
    assert((await sheet().inputValue()).includes("http-delay"), "another manifest stands in the editor");
  });
  await step("an experiment with a hypothesis is composed in the form", async () => {
    await field("Name").fill("walked");
    await field("Length").fill("50ms");
    await field("Answer with status").fill("");
    await field("Replace headers: Value").fill("walked");
    await field("Duration").fill("10s");
    await page.getByRole("group", { name: "Hypothesis (steady state)" }).getByRole("button", { name: "Add" }).click();
    await field("Hypothesis (steady state): Short name").fill("up");
    await field("Hypothesis (steady state): A PromQL comparison, or slo:").fill("vector(1) > 0");
    await page.locator('.x-checks [data-state="good"]', { hasText: "vector(1) > 0" }).waitFor();
    return ready();
  });
  await step("it ends by itself, and the hypothesis held", async () => {
    await start().click();
    await page.locator(".x-lease progress").waitFor();
    await ended(120);
    await recovered();
    await page.getByRole("heading", { name: "The hypothesis held" }).waitFor();
    // A level line has no height, which passes for hidden.
    await page.locator(".x-figure .x-curve").first().waitFor({ state: "attached" });
  });
  await everyLook("ended");
  await step("both stand in the history, with their verdicts", async () => {
    await page.getByRole("link", { name: "History" }).click();
    await page.locator(".x-entry", { hasText: "walked" }).first().getByText("The hypothesis held").waitFor();
    await page.locator(".x-entry", { hasText: "http-delay" }).first().getByText("No verdict").waitFor();
  });
  await everyLook("history");
  await step("no error was written to the browser's console", () => {
    assert(browser.problems.length === 0, browser.problems.join("\n"));
  });
}

await walked(browser, 10, walk);
