"use strict";
const words = {
  ja: { login: "ログイン", register: "登録", logout: "ログアウト", post: "投稿する", search: "検索", follow: "フォロー",
        name: "名前", password: "パスワード", text: "いまなにしてる？", q: "ことばで探す", who: "フォローする人の名前",
        home: "ホームタイムライン", found: "検索結果", empty: "まだ何もありません。", edit: "編集", remove: "削除", edited: "編集済み",
        followed: "フォローしました", failed: "うまくいきませんでした", slow: "時間がかかっています…", unfollow: "フォロー解除" },
  en: { login: "Log in", register: "Sign up", logout: "Log out", post: "Post", search: "Search", follow: "Follow",
        name: "Name", password: "Password", text: "What's happening?", q: "Search for words", who: "Name of someone to follow",
        home: "Home timeline", found: "Search results", empty: "Nothing here yet.", edit: "Edit", remove: "Delete", edited: "edited",
        followed: "Followed", failed: "That did not work", slow: "This is taking a while…", unfollow: "Unfollow" },
};
const t = words[document.documentElement.lang] || words.en;
const $ = id => document.getElementById(id);
document.querySelectorAll("[data-t]").forEach(e => e.textContent = t[e.dataset.t]);
$("login").name.placeholder = t.name; $("login").password.placeholder = t.password;
$("post").text.placeholder = t.text; $("search").q.placeholder = t.q; $("follow").name.placeholder = t.who;
let session = JSON.parse(sessionStorage.getItem("chirpy") || "null"), query = "";

const say = text => { $("message").textContent = text || ""; };
async function api(method, path, body) {
  const headers = {};
  if (session) headers.authorization = "Bearer " + session.token;
  if (body) headers["content-type"] = "application/json";
  const slow = setTimeout(() => say(t.slow), 1500);
  try {
    // Relative, so that the page also works behind a prefix.
    const answer = await fetch("api/" + path, { method, headers, body: body && JSON.stringify(body) });
    const data = await answer.json().catch(() => ({}));
    if (answer.status === 401 && session) { keep(null); }
    if (!answer.ok) throw new Error(data.error || t.failed);
    say("");
    return data;
  } finally { clearTimeout(slow); }
}
function keep(value) {
  session = value;
  if (value) sessionStorage.setItem("chirpy", JSON.stringify(value)); else sessionStorage.removeItem("chirpy");
  $("login").hidden = !!value; $("home").hidden = !value; $("logout").hidden = !value;
  $("who").textContent = value ? "@" + value.user.name : "";
}
function button(label, action) {
  const b = document.createElement("button");
  b.textContent = label; b.onclick = () => action().then(refresh).catch(e => say(e.message));
  return b;
}
function show(posts) {
  $("title").textContent = query ? t.found : t.home;
  $("posts").replaceChildren(...posts.map(post => {
    const article = document.createElement("article"), small = document.createElement("small"), p = document.createElement("p");
    small.textContent = "@" + post.author + " · " + new Date(post.created_at).toLocaleTimeString() + (post.edited_at ? " · " + t.edited : "") + " ";
    p.textContent = post.text;
    if (post.author_id === session.user.id) {
      small.append(button(t.edit, async () => {
        const text = prompt(t.edit, post.text);
        if (text) await api("POST", `posts/${post.id}/update`, { text });
      }), " ", button(t.remove, () => api("DELETE", "posts/" + post.id)));
    } else if (!query) small.append(button(t.unfollow, () => api("DELETE", "follow/" + post.author)));
    article.append(small, p);
    return article;
  }));
  if (!posts.length) $("posts").textContent = t.empty;
}
async function refresh() {
  if (!session) return;
  try { show(await api("GET", query ? "search?q=" + encodeURIComponent(query) : "timeline?limit=30")); }
  catch (e) { say(e.message); }
}
const fields = form => Object.fromEntries(new FormData(form));
const on = (id, action) => $(id).addEventListener("submit", event => {
  event.preventDefault();
  action(fields(event.target), event.target).catch(e => say(e.message));
});
const enter = async path => { keep(await api("POST", path, fields($("login")))); await refresh(); };
on("login", () => enter("login"));
$("register").onclick = () => enter("register").catch(e => say(e.message));
$("logout").onclick = () => { api("POST", "logout", { refresh_token: session.refresh_token }).catch(() => {}); keep(null); };
on("post", async (body, form) => { await api("POST", "posts", body); form.reset(); await refresh(); });
on("search", async body => { query = body.q.trim(); await refresh(); });
on("follow", async (body, form) => { await api("POST", "follow/" + encodeURIComponent(body.name)); form.reset(); say(t.followed); await refresh(); });
keep(session); refresh();
setInterval(() => { if (!document.hidden && !query) refresh(); }, 3000);
