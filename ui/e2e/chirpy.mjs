// Chirpy's own page, as somebody uses it who is new there. One of Redis' nodes may refuse new connections meanwhile: what a
// person would try again is tried again.

import { assert, until } from "./browser.mjs";

/** The app in a tab of its own, by the link that the war room's frame of it has. */
export async function openTheApp(page) {
  await page.getByRole("tab", { name: "App", exact: true }).click();
  const [app] = await Promise.all([
    page.context().waitForEvent("page"),
    page.getByRole("link", { name: /Open in a new tab/ }).click(),
  ]);
  return app;
}

const posts = (app) => app.locator("main article.post");

/** Presses the button, again if need be, until what it is for is there. */
async function press(button, what, there) {
  await until(what, 60, async () => {
    if (await there()) return true;
    if (await button.isEnabled()) await button.click({ timeout: 5_000 });
    return false;
  }, 2_000);
}

const atHome = async (app) => (await app.locator("form.composer").count()) > 0;

/** Fills in the door's form and goes in by its button. */
async function enter(app, name, word) {
  await app.locator("input[name=name]").fill(name);
  await app.locator("input[name=password]").fill("correct-horse");
  assert(!(await atHome(app)), "somebody is logged in already");
  await press(app.getByRole("button", { name: word }), `${name}'s home`, () => atHome(app));
}

/** Registers; answers the name. */
export async function signUp(app) {
  const name = `mita${Date.now() % 1e6}`;
  await app.getByRole("link", { name: "Sign up" }).first().click();
  await enter(app, name, "Sign up");
  assert(await app.locator("nav").getByRole("link", { name: "Profile" }).isVisible(), "nobody is signed in");
  return name;
}

/** Logs out, and in again as the same. */
export async function comeBack(app, name) {
  await app.locator("nav").getByRole("link", { name: "Home" }).click();
  await app.getByRole("button", { name: "Log out" }).click();
  await enter(app, name, "Log in");
}

/** Posts, and sees the post in the own timeline. */
export async function post(app, text) {
  await app.locator("form.composer textarea").fill(text);
  const there = async () => (await posts(app).filter({ hasText: text }).count()) > 0;
  await press(app.locator("form.composer button.main"), "the post is there", there);
}

/** Searches; answers the texts of the posts that are found. */
export async function search(app, words) {
  return until(`posts with ${words}`, 60, async () => {
    await app.locator("nav").getByRole("link", { name: "Home" }).click();
    await app.locator("#q").fill(words);
    await app.locator("#q").press("Enter");
    await app.getByRole("heading", { name: words }).waitFor({ timeout: 5_000 });
    await posts(app).first().waitFor({ timeout: 5_000 });
    return posts(app).locator("p.text").allInnerTexts();
  });
}

/** Finds somebody by name and follows them. */
export async function follow(app, name) {
  await until(`@${name} is found`, 60, async () => {
    await app.locator("nav").getByRole("link", { name: "Home" }).click();
    await app.locator("#q").fill(name);
    await app.locator("#q").press("Enter");
    await app.locator("a.person", { hasText: `@${name}` }).first().click({ timeout: 5_000 });
    const button = app.locator(".profile button");
    await button.waitFor({ timeout: 5_000 });
    if ((await button.innerText()) === "Follow") await button.click();
    await app.getByRole("button", { name: "Unfollow" }).waitFor({ timeout: 5_000 });
    return true;
  });
}

const ids = async (of) => (await of.evaluateAll((all) => all.map((one) => Number(one.dataset.id)))).sort((a, b) => b - a);

/** At home, nothing pressed: a post of somebody one follows comes by itself. */
export async function comesLive(app, name) {
  await app.locator("nav").getByRole("link", { name: "Home" }).click();
  await app.locator(".state.live").waitFor({ timeout: 60_000 });
  const [newest = 0] = await ids(posts(app));
  const theirs = posts(app).filter({ has: app.locator("a.author", { hasText: `@${name}` }) });
  await until(`a new post by @${name}`, 60, async () => ((await ids(theirs))[0] ?? 0) > newest);
}

/** The same page in Japanese. */
export async function inJapanese(app) {
  await app.locator("#language").selectOption("ja");
  await app.locator('html[lang="ja"]').waitFor();
  await app.getByRole("heading", { name: "ホーム" }).waitFor();
  await app.getByRole("button", { name: "投稿する" }).waitFor();
  await app.getByRole("link", { name: "プロフィール" }).waitFor();
  await app.locator(".state").getByText("更新中").waitFor({ timeout: 60_000 });
}
