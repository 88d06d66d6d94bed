// Posts: how one looks, what can be done with it, writing one, and long lists of them.

import * as api from "./api.js";
import { avatar, h, icon, notice, sure, trouble } from "./dom.js";
import { draft } from "./drafts.js";
import { ago, fullTime, number, t } from "./words.js";

/** Longest post, characters; as the server counts them. */
const LONGEST = 280;
const length = (text) => [...text.trim()].length;

/**
 * A form to write in. Nothing written is lost: the text stays until the server has taken it, and a second attempt carries the
 * same key, so that a post whose answer got lost is not posted twice; both across reloads too.
 */
export function composer({ replyTo, label, onPosted, focus }) {
  const kept = draft(api.kept, "chirpy.draft." + (replyTo ?? "new"));
  const area = h("textarea", { name: "text", rows: replyTo ? 2 : 3, placeholder: label, "aria-label": label, value: kept.text });
  const count = h("span", { class: "count" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const button = h("button", { class: "main" }, t(replyTo ? "reply" : "post"));
  let sending = false;
  const look = () => {
    const rest = LONGEST - length(area.value);
    count.textContent = rest < 0 ? t("over", { n: number(-rest) }) : rest <= 60 ? t("left", { n: number(rest) }) : "";
    count.classList.toggle("bad", rest < 0);
    button.disabled = sending || rest < 0 || length(area.value) === 0;
  };
  area.addEventListener("input", () => {
    kept.write(area.value);
    look();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) form.requestSubmit();
  });
  const form = h("form", {
    class: "composer",
    onsubmit: async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      sending = true;
      button.textContent = t("posting");
      problem.hidden = true;
      area.readOnly = true;
      look();
      try {
        const posted = await api.post("posts", { text: area.value, reply_to: replyTo }, kept.key(area.value));
        area.value = "";
        kept.write("");
        button.textContent = t(replyTo ? "reply" : "post");
        onPosted(posted);
      } catch (error) {
        problem.textContent = t("keptWhy", { why: error.message });
        problem.hidden = false;
        button.textContent = error.passing ? t("retry") : t(replyTo ? "reply" : "post");
      } finally {
        sending = false;
        area.readOnly = false;
        look();
      }
    },
  }, avatar(api.user().name), h("div", { class: "grow" }, area, problem, h("div", { class: "row end" }, count, button)));
  look();
  if (focus) queueMicrotask(() => area.focus());
  return form;
}

/** A post's text: addresses, names and tags in it lead where they say. */
function text(value) {
  const parts = value.split(/(https?:\/\/[^\s　]+|@[a-z0-9_]{2,32}|[#＃][\p{L}\p{N}_ー]+)/u);
  return h("p", { class: "text" }, parts.map((part) => {
    if (/^https?:/.test(part)) return h("a", { href: part, rel: "noopener noreferrer nofollow", target: "_blank" }, part);
    if (/^@[a-z0-9_]{2,32}$/.test(part)) return h("a", { href: "#/u/" + part.slice(1) }, part);
    if (/^[#＃]./.test(part)) return h("a", { href: "#/search/" + encodeURIComponent(part) }, part);
    return part;
  }));
}

/** One post. `onGone` is told when it has been deleted. */
export function article(post, { onGone = () => {}, whole = false } = {}) {
  const node = h("article", { class: whole ? "post whole" : "post", "data-id": post.id });
  const draw = () => node.replaceChildren(...content());
  const content = () => {
    const mine = api.user()?.id === post.author_id;
    return [
      h("a", { href: "#/u/" + post.author, tabindex: "-1", "aria-hidden": "true" }, avatar(post.author)),
      h("div", { class: "grow" },
        h("header", {},
          h("a", { class: "author", href: "#/u/" + post.author }, "@" + post.author), " ",
          h("a", { class: "quiet", href: "#/p/" + post.id }, h("time", { class: whole ? "" : "ago", datetime: post.created_at, title: fullTime(post.created_at) }, whole ? fullTime(post.created_at) : ago(post.created_at))),
          post.edited_at ? h("span", { class: "quiet" }, " · " + t("edited")) : null),
        post.reply_to ? h("a", { class: "quiet small", href: "#/p/" + post.reply_to }, t("inReplyTo", { name: post.reply_to_author ?? "…" })) : null,
        text(post.text),
        h("footer", {}, replyButton(), likeButton(),
          mine ? [h("button", { class: "plain", onclick: edit }, t("edit")), h("button", { class: "plain", onclick: erase }, t("remove"))] : null)),
    ];
  };
  const replyButton = () => h("a", { class: "act", role: "button", href: "#/p/" + post.id, "aria-label": `${t("reply")} (${post.replies ?? 0})` }, icon("reply"), h("span", {}, post.replies ? number(post.replies) : ""));
  const likeButton = () => {
    const label = `${t(post.liked ? "unlike" : "like")} (${post.likes ?? 0})`;
    return h("button", { class: post.liked ? "act liked" : "act", "aria-pressed": String(!!post.liked), "aria-label": label, onclick: like }, icon("like"), h("span", {}, post.likes ? number(post.likes) : ""));
  };
  let liking = false;
  async function like() {
    if (!api.user()) { location.hash = "#/login"; return; }
    if (liking) return;
    liking = true;
    const before = { liked: !!post.liked, likes: post.likes ?? 0 };
    // Shown at once; taken back if the server does not agree.
    Object.assign(post, { liked: !before.liked, likes: Math.max(0, before.likes + (before.liked ? -1 : 1)) });
    draw();
    node.querySelector("button.act")?.focus();
    try {
      Object.assign(post, await (before.liked ? api.remove : api.put)(`posts/${post.id}/like`));
    } catch (error) {
      Object.assign(post, before);
      notice(error.message, "bad");
    }
    liking = false;
    const focused = node.contains(document.activeElement);
    draw();
    if (focused) node.querySelector("button.act")?.focus();
  }
  function edit() {
    const area = h("textarea", { rows: 3, "aria-label": t("edit"), value: post.text });
    const problem = h("p", { class: "problem", role: "alert", hidden: true });
    const form = h("form", {
      class: "editing",
      onkeydown: (event) => { if (event.key === "Escape") draw(); },
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          Object.assign(post, await api.post(`posts/${post.id}/update`, { text: area.value }));
          draw();
          notice(t("saved"));
        } catch (error) {
          problem.textContent = error.message;
          problem.hidden = false;
        }
      },
    }, area, problem, h("div", { class: "row end" }, h("button", { type: "button", onclick: draw }, t("cancel")), h("button", { class: "main" }, t("save"))));
    node.querySelector(".text").replaceWith(form);
    area.focus();
  }
  async function erase() {
    if (!(await sure(t("removeSure"), t("remove")))) return;
    try {
      await api.remove("posts/" + post.id);
      node.remove();
      notice(t("deleted"));
      onGone(post);
    } catch (error) {
      notice(error.message, "bad");
    }
  }
  draw();
  return node;
}

/** Lets what says how long ago something was go on with the clock. */
export function keepTime() {
  setInterval(() => {
    for (const time of document.querySelectorAll("time.ago")) time.textContent = ago(time.dateTime);
  }, 1000);
}

/** A list that grows at its end as one reads, and at its top by `add`. */
export function feed({ path, empty }) {
  const list = h("div", { class: "feed" });
  const foot = h("div", { class: "foot" });
  const node = h("section", {}, list, foot);
  const known = new Set();
  let next = "limit=20";
  let loading = false;
  const newest = () => Math.max(0, ...known);
  async function more() {
    if (loading || next === null) return;
    loading = true;
    if (!known.size) foot.replaceChildren(h("p", { class: "quiet center" }, t("loading")));
    try {
      const page = await api.page(`${path}?${next}${next.includes("include") ? "" : "&include=counts"}`);
      for (const post of page.posts) {
        if (known.has(post.id)) continue;
        known.add(post.id);
        list.append(article(post));
      }
      next = page.next;
      foot.replaceChildren();
      if (next === null) foot.append(h("p", { class: "quiet center" }, known.size ? t("end") : empty));
    } catch (error) {
      foot.replaceChildren(trouble(error, () => { loading = false; more(); }));
      return;
    } finally {
      loading = false;
    }
    // The end may still be in sight.
    if (next !== null && foot.getBoundingClientRect().top < innerHeight + 400 && node.isConnected) more();
  }
  new IntersectionObserver((entries) => { if (entries[0].isIntersecting && known.size) more(); }, { rootMargin: "400px" }).observe(foot);
  function add(post) {
    // One older than all that is here comes with its page.
    if (known.has(post.id) || (next !== null && known.size && post.id < Math.min(...known))) return false;
    known.add(post.id);
    const after = [...list.children].find((one) => Number(one.dataset.id) < post.id);
    list.insertBefore(article(post), after ?? null);
    if (next === null) foot.replaceChildren(h("p", { class: "quiet center" }, t("end")));
    return true;
  }
  return { node, more, add, newest, has: (id) => known.has(id) };
}
