// The lab, walked through as a product manager does, on the real system:
//
//   node ui/e2e/lab.mjs URL [--shots DIR] [--chromium PROGRAM]
//
// URL is a host's link (`hikeshi up` prints it). Exits 0 when every step showed what it should. With --shots, pictures of what was
// seen are left in DIR.

import { assert, called, LAPTOP, launch, PHONE, steps, until, walked } from "./browser.mjs";
import { join } from "./room.mjs";
import { dictionary, untranslated } from "./words.mjs";

const { url, ...values } = await called("lab.mjs");

const words = await dictionary();
const browser = await launch(values.chromium);
let page;
const step = steps(() => page, values.shots);

const language = (name) => page.getByRole("group", { name: /Language|言語/ }).getByRole("button", { name, exact: true }).click();
const app = () => page.frameLocator(".l-app iframe");
const slot = (name) => page.locator(".l-slots button", { has: page.locator("b", { hasText: name }) });

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
      if (values.shots) await page.screenshot({ path: `${values.shots}/lab-${name}-${lang}${look}.png`, fullPage: look === "-phone" });
    }
    await page.setViewportSize(LAPTOP);
    await page.emulateMedia({ colorScheme: "light" });
  }
}

/** Edits the person's own post once; how long it took until the page said that it is saved. */
async function edit(text) {
  const post = app().locator("article.post", { has: app().getByRole("button", { name: "Edit" }) }).first();
  await post.getByRole("button", { name: "Edit" }).click();
  await post.locator("form.editing textarea").fill(text);
  const from = Date.now();
  await post.locator("form.editing").getByRole("button", { name: "Save" }).click();
  await app().locator("form.editing").waitFor({ state: "detached", timeout: 30_000 });
  return (Date.now() - from) / 1000;
}

async function walk() {
  const told = [];
  await step("a product manager comes in and finds the lab", async () => {
    page = await browser.open("en-US");
    page.on("response", async (response) => {
      if (response.url().endsWith("/api/lab")) told.push(await response.text().catch(() => ""));
    });
    await page.goto(url);
    await join(page, "mofu", "Observer", "Take the seat");
    await page.getByRole("link", { name: "Lab", exact: true }).click();
    await page.getByRole("heading", { name: "Prepare a lab" }).waitFor();
  });
  await everyLook("prepare");
  await step("a lab about editing is prepared", async () => {
    await page.getByLabel("Journey").selectOption({ label: "Editing" });
    await page.getByText("99 % within 1 s").waitFor();
    await page.getByLabel("Comparisons for each person").fill("1");
    await page.getByRole("button", { name: "Prepare", exact: true }).click();
    await page.getByRole("heading", { name: "The lab is ready" }).waitFor({ timeout: 90_000 });
  });
  await everyLook("ready");
  await step("sitting down, the real app is beside the questions", async () => {
    await page.getByRole("button", { name: "Sit down" }).click();
    await app().getByRole("link", { name: "Sign up" }).first().click();
    const name = `mofu${Date.now() % 1e6}`;
    await app().locator("input[name=name]").fill(name);
    await app().locator("input[name=password]").fill("correct-horse");
    await app().getByRole("button", { name: "Sign up" }).click();
    await app().locator("form.composer textarea").fill("hello from the lab");
    await app().locator("form.composer").getByRole("button", { name: "Post" }).click();
    await app().getByText("hello from the lab").first().waitFor();
    return name;
  });
  const waits = {};
  await step("A, B and X are used, and one of A and B is slower", async () => {
    await page.getByRole("button", { name: "Begin the first comparison" }).click();
    for (const name of ["A", "B", "X"]) {
      await slot(name).click();
      await page.getByText(`You are using ${name}`).waitFor({ timeout: 60_000 });
      await page.locator(".l-cover").waitFor({ state: "detached" });
      waits[name] = Math.min(await edit(`in ${name}, once`), await edit(`in ${name}, twice`));
    }
    await until("the uses are counted", 30, async () => (await slot("X").innerText()).includes("2 / 2") || null);
    return JSON.stringify(waits);
  });
  await everyLook("trial");
  await step("what the page was told until now does not tell A from B", () => {
    assert(told.length > 3, "the lab was asked for");
    for (const text of told) for (const word of ["micros", "level_was", "a_is_level", "x_is_a", "ppm"]) {
      // The presets of the journeys are what one may choose, not what was chosen.
      const on = JSON.stringify(JSON.parse(text).on ?? null);
      assert(!on.includes(word), `${word} in ${on}`);
    }
  });
  await step("she judges, and only now is told what was what", async () => {
    const same = Math.abs(waits.X - waits.A) < Math.abs(waits.X - waits.B) ? "A" : "B";
    const questions = page.locator(".l-questions");
    await questions.getByRole("button", { name: same, exact: true }).click();
    await questions.getByRole("button", { name: "Yes" }).click();
    await questions.getByLabel(/What was it like/).fill("one of them dragged");
    await questions.getByRole("button", { name: "Answer" }).click();
    await page.waitForURL(/\/lab\/[^/]+$/, { timeout: 60_000 });
    const line = page.locator(".l-trials li").first();
    await line.getByText("right").waitFor();
    await line.locator('.l-mark[data-state="good"]').waitFor();
    return (await line.innerText()).replaceAll("\n", " ");
  });
  await everyLook("result");
  await step("no error was written to the browser's console", () => {
    assert(browser.problems.length === 0, browser.problems.join("\n"));
  });
}

await walked(browser, 8, walk);
