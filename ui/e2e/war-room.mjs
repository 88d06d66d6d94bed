// A whole drill of `timelines-stop-updating`, walked through the war room as a person does, on the real system:
//
//   hikeshi drill start timelines-stop-updating --json     # its "url"
//   node ui/e2e/war-room.mjs URL [--shots DIR] [--chromium PROGRAM] [--scenario FILE]
//
// Exits 0 when every step showed what it should. With --shots, pictures of what was seen are left in DIR.

import { fileURLToPath } from "node:url";
import { atTheBudgets } from "./budgets.mjs";
import { assert, called, LAPTOP, launch, PHONE, steps, until, walked } from "./browser.mjs";
import { comeBack, comesLive, follow, inJapanese as chirpyInJapanese, openTheApp, post, search, signUp } from "./chirpy.mjs";
import { atTheDebrief, atTheTools, commandInTimeline, declare, join, journeys, runLine } from "./room.mjs";
import { firstFix } from "./scenario.mjs";
import { dictionary, untranslated } from "./words.mjs";

const SCENARIO = fileURLToPath(new URL("../../scenarios/timelines-stop-updating/scenario.yaml", import.meta.url));
const { url, ...values } = await called("war-room.mjs", { scenario: { type: "string", default: SCENARIO } });

const words = await dictionary();
const fix = await firstFix(values.scenario);
const browser = await launch(values.chromium);
let page;
let japanese;
let acting;
const step = steps(() => acting, values.shots);

async function shot(of, name, { size = LAPTOP, scheme = "light" } = {}) {
  if (!values.shots) return;
  await of.setViewportSize(size);
  await of.emulateMedia({ colorScheme: scheme });
  // A picture of a chat that is scrolling would be of nothing in particular.
  await of.waitForTimeout(400);
  await of.screenshot({ path: `${values.shots}/${name}.png` });
  await of.setViewportSize(LAPTOP);
  await of.emulateMedia({ colorScheme: "light" });
}

async function everyLook(name) {
  for (const [lang, of] of [["en", page], ["ja", japanese]]) {
    await shot(of, `${name}-${lang}`);
    await shot(of, `${name}-${lang}-dark`, { scheme: "dark" });
    await shot(of, `${name}-${lang}-phone`, { size: PHONE });
  }
}

const pages = () => page.locator('.alert-card[data-severity="page"]');
const milestone = (name) => page.locator('.milestones li[data-done="true"]', { hasText: name });

async function inJapanese(where) {
  assert((await japanese.locator("html").getAttribute("lang")) === "ja", `${where}: the page does not say lang="ja"`);
  const left = await untranslated(japanese, words);
  assert(left.length === 0, `${where}: not in Japanese: ${left.join(" | ")}`);
}

async function walk() {
  await step("the host's link opens the door", async () => {
    page = acting = await browser.open("en-US");
    await page.goto(url);
    await page.getByRole("heading", { name: "Some timelines stop updating" }).waitFor();
    await page.getByText("You join as the host").waitFor();
    assert((await page.locator("html").getAttribute("lang")) === "en", 'the page does not say lang="en"');
    await shot(page, "join-en");
  });
  await step("a handle and a seat are taken", async () => {
    await join(page, "pika7", "Commander", "Take the seat");
    await page.getByText("pika7 · Commander").first().waitFor();
  });
  await step("the briefing is read", async () => {
    await page.getByText("Before you begin").waitFor();
    await page.getByText("Look at the normal state", { exact: true }).waitFor();
    await page.getByText("Tell a loud symptom (CPU) from its cause").waitFor();
  });
  await step("a second person comes by invitation, in Japanese", async () => {
    await page.getByRole("button", { name: "Invite", exact: true }).click();
    const link = await until("an invite link", 10, async () => {
      const text = await page.evaluate(() => navigator.clipboard.readText());
      return text.includes("/join/") && text;
    });
    assert(link !== url, "the host's own link was handed on");
    japanese = acting = await browser.open("ja-JP");
    await japanese.goto(link);
    await japanese.getByRole("heading", { name: "一部のタイムラインが更新されない" }).waitFor();
    await inJapanese("the door");
    await japanese.locator("#name").fill("hoge 123");
    await japanese.getByRole("button", { name: "参加する" }).click();
    assert((await japanese.locator("#name").count()) === 1, "a handle with a space was taken");
    await join(japanese, "hoge123", "対応者", "参加する");
    await japanese.getByText("hoge123 · 対応者").first().waitFor();
    await inJapanese("the briefing");
    acting = page;
    await page.locator(".people").getByText("hoge123").waitFor();
  });
  await step("the charts show the normal state", async () => {
    const normal = await until("every journey within its SLO, and no page", 240, async () => {
      const seen = await journeys(page);
      return seen.length === 2 && seen.every((one) => one.drawn && one.within) && (await pages().count()) === 0 && seen;
    });
    return normal.map((one) => `${one.title} ${one.values.join(" ")}`).join("; ");
  });
  await step("Prometheus, Alertmanager and the app answer inside the page", () => atTheTools(page));
  await everyLook("briefing");
  await step("the service map shows what goes over every dependency", async () => {
    const arrow = (of, name) => of.locator(`.map-label[aria-label^="${name}"]`);
    for (const [of, tab] of [[page, "Service map"], [japanese, "サービスマップ"]]) {
      await of.getByRole("tab", { name: tab }).click();
      await arrow(of, "gateway → chirpy-server, ").filter({ hasText: /[1-9]/ }).waitFor({ timeout: 60_000 });
    }
    await until("Redis' commands", 60, async () => /cmd\/s/.test(await arrow(page, "timeline-service → redis-cluster, ").innerText()));
    await arrow(page, "timeline-service → redis-cluster, ").click();
    await page.locator(".map-details").getByText("only its users (about a third)").waitFor();
    await arrow(japanese, "timeline-service → redis-cluster, ").click();
    await inJapanese("the service map");
    await everyLook("map");
    return (await arrow(page, "gateway → chirpy-server, ").getAttribute("aria-label")) ?? "";
  });
  await step("begin", async () => {
    await page.getByRole("tab", { name: "Briefing" }).click();
    await page.getByRole("button", { name: "Begin the drill" }).click();
    await page.locator('.state[data-state="running"]').waitFor();
    await japanese.locator('.state[data-state="running"]').waitFor();
  });
  await step("somebody new signs in to the app, posts, searches, follows, comes back, and sees what they follow arrive", async () => {
    const app = await openTheApp(page);
    acting = app;
    const name = await signUp(app);
    await post(app, `${name}: 東京は晴れ`);
    const found = await search(app, "東京");
    assert(found.every((text) => text.includes("東京")), `not about 東京: ${found.join(" | ")}`);
    await follow(app, "tenki");
    await comeBack(app, name);
    await comesLive(app, "tenki");
    await chirpyInJapanese(app);
    acting = page;
    await app.close();
    return `${name}, ${found.length} posts with 東京`;
  });
  await step("normal pods are looked at", async () => {
    const output = await runLine(page, "kubectl get pods");
    assert(/chirpy-server-\S+\s+1\/1\s+Running/.test(output), `no running chirpy-server in:\n${output}`);
  });
  await step("an alert pages", async () => {
    await until("a firing page", 300, async () => (await pages().count()) > 0);
    await milestone("Alert").waitFor();
    assert(/^\(\d+\) /.test(await page.title()), `the tab's title does not tell: ${await page.title()}`);
    return (await pages().first().locator(".name strong").innerText()).replaceAll("\n", "");
  });
  await step("acknowledge", async () => {
    await pages().first().getByRole("button", { name: "Acknowledge" }).click();
    await page.getByText("acknowledged by pika7").first().waitFor();
    await milestone("Detect").waitFor();
  });
  await step("take command", async () => {
    await declare(page, "Commander", { to: "pika7", button: "Declare" });
    await page.locator(".messages").getByText("→ pika7").waitFor();
    await milestone("Assign").waitFor();
  });
  await step("state the impact", async () => {
    const impact = "New posts do not reach some users' timelines; posting works.";
    await declare(page, "Impact", { text: impact, button: "Share" });
    await page.locator(".messages").getByText(impact).waitFor();
  });
  await step("look at Redis in the console", async () => {
    const line = "kubectl get pods -l app=redis-cluster";
    const output = await runLine(page, line);
    assert(/redis-cluster-2\s+1\/1\s+Running/.test(output), `redis-cluster-2 should look healthy in:\n${output}`);
    await commandInTimeline(page, "pika7", line);
  });
  await step("a line that needs a shell is refused in words", async () => {
    const refusal = await runLine(page, "kubectl get pods | grep redis", { refused: true });
    assert(/without a shell/.test(refusal), `refused with: ${refusal}`);
    const ja = await runLine(japanese, "kubectl get pods | grep redis", { refused: true, button: "実行", label: "コマンド" });
    assert(/[ぁ-ん]/.test(ja), `not in Japanese: ${ja}`);
  });
  await step("the second person writes and is heard", async () => {
    const said = "timeline-service のログを見ます";
    await japanese.getByRole("textbox", { name: "チャット" }).fill(said);
    await japanese.keyboard.press("Enter");
    await page.locator(".messages").getByText(said).waitFor();
    const output = await runLine(japanese, "kubectl logs -l app=timeline-service --since=1m --tail=3", {
      button: "実行",
      label: "コマンド",
    });
    assert(output.includes("Fan-out failed"), `timeline-service does not tell what it fails at:\n${output}`);
    await inJapanese("the running incident");
  });
  await step("write a hypothesis", async () => {
    const hypothesis = "CPU is the symptom: something behind timeline-service holds it up. I look at its stores before scaling.";
    await declare(page, "Hypothesis", { text: hypothesis, button: "Share" });
    await page.locator(".messages").getByText(hypothesis).waitFor();
  });
  await everyLook("incident");
  await step("the error budgets tell what this incident costs", () => atTheBudgets(page, japanese, words, values.shots));
  await step(`mend it: ${fix.title}`, async () => {
    for (const line of fix.lines) await runLine(page, line, { seconds: 180 });
    await commandInTimeline(page, "pika7", fix.lines[0]);
  });
  await step("the pages stop and users are served again", () =>
    until("no page firing, every journey within its SLO", 300, async () => {
      const seen = await journeys(page);
      return (await pages().count()) === 0 && seen.every((one) => one.within);
    }),
  );
  await step("declare mitigated", async () => {
    await declare(page, "Mitigated", { text: "Bounded the fan-out; timelines update again.", button: "Declare" });
    await milestone("Mitigate").waitFor();
  });
  await step("declare resolved", async () => {
    await declare(page, "Resolved", { text: "The fan-out is bounded for good, so a slow shard cannot fill a node again.", button: "Declare" });
    await milestone("Resolve").waitFor();
    await page.getByRole("status").filter({ hasText: "Once it is seen to hold" }).waitFor();
  });
  await step("the oracle agrees: the debrief opens by itself", async () => {
    await page.getByRole("heading", { name: "Debrief" }).waitFor({ timeout: 180_000 });
    await page.locator('.state[data-state="ended"]').waitFor();
    // The record is read anew with what was hidden: nothing of it may be lost on the way.
    for (const name of ["Alert", "Detect", "Assign", "Mitigate", "Resolve"]) await milestone(name).waitFor();
    await page.getByRole("tab", { name: "Timeline" }).click();
    await page.locator(".moment", { hasText: "Fault injected" }).waitFor();
    await page.getByRole("tab", { name: "Chat" }).click();
  });
  await step("the score explains itself", async () => {
    const score = await atTheDebrief(page);
    assert(score.points > 0 && score.points <= score.of, `a score of ${score.points} / ${score.of}`);
    assert(score.reasons.length >= 5, `only ${score.reasons.length} explained lines`);
    assert(score.reasons.every((reason) => reason.length > 5), `an empty reason: ${JSON.stringify(score.reasons)}`);
    return `${score.points} / ${score.of}, ${score.reasons.length} lines`;
  });
  for (const [name, word] of [["Postmortem draft", "pika7"], ["Incident report and chat log", "Chirpy"]]) {
    await step(`${name} opens`, async () => {
      const document = page.locator("details.document", { hasText: name });
      await document.locator("summary").click();
      const text = await document.locator("pre").innerText();
      assert(text.includes(word) && text.length > 500, `${name} says only: ${text.slice(0, 300)}`);
      const [opened] = await Promise.all([page.context().waitForEvent("page"), document.getByRole("link").click()]);
      await opened.getByText(word).first().waitFor();
      await opened.close();
      await document.locator("summary").click();
    });
  }
  await step("the same debrief in Japanese", async () => {
    acting = japanese;
    const score = await atTheDebrief(japanese);
    assert(score.reasons.every((reason) => /[ぁ-んァ-ヶ一-龠]/.test(reason)), `not in Japanese: ${score.reasons.join(" | ")}`);
    await inJapanese("the debrief");
    acting = page;
  });
  await everyLook("debrief");
  await step("no error was written to the browser's console", () => {
    assert(browser.problems.length === 0, browser.problems.join("\n"));
  });
}

await walked(browser, 25, walk);
