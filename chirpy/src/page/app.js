// Chirpy's page: where one is, and what is there.

import * as api from "./api.js";
import { avatar, h, icon, notice, trouble } from "./dom.js";
import { article, composer, feed, keepTime } from "./posts.js";
import { day, number, speak, t } from "./words.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const side = document.getElementById("side");
const query = document.getElementById("q");

/** Ends what the view before had going on. */
let leaving = new AbortController();

function show(title, ...nodes) {
  document.title = title ? `${title} / Chirpy` : "Chirpy";
  main.replaceChildren(...nodes);
}

function heading(title, ...beside) {
  return h("div", { class: "heading" }, h("h1", {}, title), ...beside);
}

// ---- Home

function home(signal) {
  const state = h("span", { class: "state", role: "status" });
  const waiting = [];
  const button = h("button", { class: "news", hidden: true, onclick: () => { take(); scrollTo({ top: 0, behavior: "smooth" }); } });
  const posts = feed({ path: "timeline", empty: t("emptyHome") });
  const take = () => {
    for (const post of waiting.splice(0)) posts.add(post);
    button.hidden = true;
  };
  const arrived = async (post) => {
    if (posts.has(post.id) || waiting.some((one) => one.id === post.id)) return;
    // Whoever reads further down is not pushed away from what they read.
    waiting.push(post);
    if (scrollY < 200) return take();
    button.textContent = t("newPosts", { n: number(waiting.length) });
    button.hidden = false;
  };
  show(t("home"), heading(t("home"), state), composer({ label: t("compose"), onPosted: (post) => posts.add(post) }), button, posts.node);
  posts.more().then(() => api.live({
    last: posts.newest(),
    signal,
    onPost: arrived,
    onState: (name) => { state.textContent = t(name); state.className = "state " + name; },
  }));
}

// ---- One post and its conversation

async function conversation(id, signal) {
  const list = h("div", { class: "feed" });
  show(t("conversation"), heading(t("conversation")), list);
  const load = async () => {
    try {
      const posts = await api.get(`posts/${id}/conversation?limit=200`);
      if (signal.aborted) return;
      list.replaceChildren(...posts.map((post) => article(post, { whole: post.id === id })));
      const own = posts.find((post) => post.id === id);
      if (own && api.user()) {
        const label = t("replyTo", { name: "@" + own.author });
        list.querySelector(".whole").after(composer({ replyTo: id, label, onPosted: load }));
      }
      list.querySelector(".whole")?.scrollIntoView({ block: "center" });
    } catch (error) {
      list.replaceChildren(trouble(error, load));
    }
  };
  await load();
}

// ---- Someone's page

async function profile(name, signal) {
  const head = h("div", { class: "profile" }, h("p", { class: "quiet center" }, t("loading")));
  const posts = feed({ path: `users/${name}/posts`, empty: t("emptyPosts") });
  show("@" + name, head, posts.node);
  try {
    const person = await api.get("users/" + name);
    if (signal.aborted) return;
    const followers = h("a", { href: `#/u/${name}/followers` });
    const count = () => followers.replaceChildren(h("b", {}, number(person.followers)), " " + t("followers", { n: person.followers }));
    count();
    head.replaceChildren(
      avatar(name, "big"),
      h("div", { class: "grow" },
        h("h1", {}, "@" + name),
        h("p", { class: "quiet" }, person.created_at ? t("joined", { date: day(person.created_at) }) : "", person.follows_me ? h("span", { class: "tag" }, t("followsYou")) : null),
        h("p", { class: "figures" },
          h("span", {}, h("b", {}, number(person.posts)), " " + t("posts", { n: person.posts })),
          h("a", { href: `#/u/${name}/following` }, h("b", {}, number(person.following)), " " + t("following")),
          followers)),
      followButton(person, count));
    posts.more();
  } catch (error) {
    head.replaceChildren(trouble(error, () => profile(name, signal)));
  }
}

function followButton(person, onChange) {
  const me = api.user();
  if (!me || me.id === person.id) return "";
  const button = h("button", {});
  const draw = () => {
    button.className = person.followed_by_me ? "" : "main";
    button.textContent = t(person.followed_by_me ? "unfollow" : "follow");
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await (person.followed_by_me ? api.remove("follow/" + person.name) : api.post("follow/" + person.name));
      person.followed_by_me = !person.followed_by_me;
      person.followers = Math.max(0, person.followers + (person.followed_by_me ? 1 : -1));
      onChange();
    } catch (error) {
      notice(error.message, "bad");
    }
    button.disabled = false;
    draw();
  });
  draw();
  return button;
}

const someone = (person) => h("a", { class: "person", href: "#/u/" + person.name }, avatar(person.name), h("span", {}, "@" + person.name));

async function people(name, which, signal) {
  const list = h("div", { class: "people" });
  show("@" + name, heading(`@${name} · ${t(which)}`), list);
  try {
    const all = await api.get(`users/${name}/${which}?limit=200`);
    if (!signal.aborted) list.replaceChildren(...(all.length ? all.map(someone) : [h("p", { class: "quiet center" }, t("nobody"))]));
  } catch (error) {
    list.replaceChildren(trouble(error, () => people(name, which, signal)));
  }
}

// ---- Search

async function search(words, signal) {
  query.value = words;
  const list = h("div", { class: "feed" }, h("p", { class: "quiet center" }, t("loading")));
  const found = h("div", { class: "people" });
  show(t("search"), heading(words ? t("found", { q: words }) : t("search")), found, list);
  if (!words) {
    list.replaceChildren(trendList(await trends()));
    return;
  }
  const q = encodeURIComponent(words);
  try {
    const [posts, persons] = await Promise.all([api.get(`search?q=${q}&limit=50&include=counts`), api.get(`search/people?q=${q}&limit=5`)]);
    if (signal.aborted) return;
    if (persons.length) found.replaceChildren(h("h2", {}, t("people")), ...persons.map(someone), h("h2", {}, t("posts")));
    list.replaceChildren(...(posts.length ? posts.map((post) => article(post)) : [h("p", { class: "quiet center" }, t("none"))]));
  } catch (error) {
    list.replaceChildren(trouble(error, () => search(words, signal)));
  }
}

// ---- Trends

const trends = () => api.get("trends?limit=8").catch(() => []);

function trendList(all) {
  return h("section", { class: "card" }, h("h2", {}, t("trends")),
    all.length
      ? h("ol", {}, all.map((trend) => h("li", {}, h("a", { href: "#/search/" + encodeURIComponent(trend.term) }, h("b", {}, trend.term), h("span", { class: "quiet small" }, t("trendCount", { n: number(trend.posts) }))))))
      : h("p", { class: "quiet" }, t("noTrends")));
}

async function beside() {
  side.replaceChildren(trendList(await trends()));
}

// ---- Signing in

function door(signup) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const name = h("input", { id: "name", name: "name", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, minlength: 2, maxlength: 32, "aria-describedby": signup ? "name-hint" : null });
  const password = h("input", { id: "password", name: "password", type: "password", required: true, minlength: signup ? 6 : 1, autocomplete: signup ? "new-password" : "current-password", "aria-describedby": signup ? "password-hint" : null });
  const button = h("button", { class: "main wide" }, t(signup ? "signup" : "login"));
  const form = h("form", {
    class: "door card",
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      problem.hidden = true;
      try {
        await api.enter(signup ? "register" : "login", { name: name.value.trim(), password: password.value });
        location.hash === "#/" || location.hash === "" ? draw() : (location.hash = "#/");
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
        password.focus();
      }
      button.disabled = false;
    },
  },
  h("h1", {}, t(signup ? "signup" : "login")),
  h("label", { for: "name" }, t("name")), name, signup ? h("small", { id: "name-hint", class: "quiet" }, t("nameHint")) : null,
  h("label", { for: "password" }, t("password")), password, signup ? h("small", { id: "password-hint", class: "quiet" }, t("passwordHint")) : null,
  problem, button,
  h("p", { class: "center quiet" }, t(signup ? "haveAccount" : "noAccount") + " ", h("a", { href: signup ? "#/login" : "#/signup" }, t(signup ? "login" : "signup"))));
  show(t(signup ? "signup" : "login"), h("div", { class: "welcome" }, h("p", { class: "tagline" }, t("tagline")), h("p", { class: "quiet" }, t("pitch")), form));
}

// ---- Around it all

function drawNav(here) {
  const me = api.user();
  nav.hidden = !me;
  document.body.classList.toggle("out", !me);
  if (!me) return;
  const entry = (hash, name, word) => h("a", { href: hash, "aria-current": here === hash ? "page" : null }, icon(name), h("span", {}, word));
  nav.replaceChildren(
    entry("#/", "home", t("home")),
    entry("#/search/", "search", t("search")),
    entry("#/u/" + me.name, "person", t("profile")),
    h("button", { onclick: () => { api.leave(); draw(); } }, icon("leave"), h("span", {}, t("logout"))));
  nav.setAttribute("aria-label", "Chirpy");
}

function draw() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const here = location.hash || "#/";
  const [, kind = "", what = "", which] = here.split("/").map(decode);
  drawNav(here);
  scrollTo(0, 0);
  if (kind !== "search") query.value = "";
  if (kind === "p" && /^\d+$/.test(what)) conversation(Number(what), signal);
  else if (kind === "u" && (which === "followers" || which === "following")) people(what, which, signal);
  else if (kind === "u" && what) profile(what, signal);
  else if (kind === "search") search(here.slice(9).split("/").map(decode).join("/"), signal);
  else if (api.user()) home(signal);
  else door(kind === "signup");
}

function decode(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

keepTime();

api.onEnd((expired) => {
  draw();
  if (expired) notice(t("ended"), "bad");
});

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = "#/search/" + encodeURIComponent(query.value.trim());
});

const language = document.getElementById("language");
language.addEventListener("change", () => {
  api.kept.set("chirpy.language", language.value);
  speak(language.value);
  draw();
  beside();
});

const theme = document.getElementById("theme");
const paint = (value) => {
  if (value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
};
theme.addEventListener("change", () => {
  api.kept.set("chirpy.theme", theme.value);
  paint(theme.value);
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

theme.value = api.kept.get("chirpy.theme") ?? "auto";
paint(theme.value);
// What the server chose by the browser's languages, until someone chooses otherwise.
speak(api.kept.get("chirpy.language") ?? document.documentElement.lang);
language.value = document.documentElement.lang;
addEventListener("hashchange", draw);
draw();
beside();
setInterval(() => { if (!document.hidden) beside(); }, 60_000);
