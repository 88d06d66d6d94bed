// Calls of Chirpy's API: the session, errors in words, and the live timeline.

import { t } from "./words.js";

/** A place that may be closed to us, as in a frame of another site. */
const kept = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { value === null ? localStorage.removeItem(key) : localStorage.setItem(key, value); } catch { /* It lasts as long as the page then. */ }
  },
};
export { kept };

function stored() {
  try { return JSON.parse(kept.get("chirpy.session") ?? "null"); } catch { return null; }
}

let session = stored();
let whenItEnds = () => {};

export const user = () => session?.user ?? null;
export const onEnd = (action) => { whenItEnds = action; };

export function keep(value) {
  session = value && { ...value, until: Date.now() + value.expires_in * 1000 };
  kept.set("chirpy.session", session && JSON.stringify(session));
}

// Another tab logged in, out, or took the next refresh token.
addEventListener("storage", (event) => {
  if (event.key !== "chirpy.session") return;
  const before = session?.user.id;
  session = stored();
  if (before !== session?.user.id) whenItEnds(false);
});

/** What went wrong: `status` (0: nothing came back), and `message` in the reader's language. */
export class Failure extends Error {
  constructor(status, detail, retryAfter) {
    super(said(status, detail, retryAfter));
    this.status = status;
  }
  /** Whether the same request may well succeed a moment later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

function said(status, detail, retryAfter) {
  if (status === 0) return t("network");
  if (status === 429) return t("tooMany", { n: retryAfter ?? 1 });
  if (status === 401) return detail?.includes("password") ? t("wrong") : t("ended");
  if (detail?.startsWith("the account was made")) return t("made");
  if (status === 404) return detail?.startsWith("nobody is called") ? t("noUser") : t("notFound");
  if (status === 409) return t("taken");
  if (status >= 500) return t("busy");
  if (detail?.startsWith("a name")) return t("badName");
  if (detail?.startsWith("a password")) return t("badPassword");
  return detail || t("failed");
}

async function send(method, path, { body, headers = {}, token, signal } = {}) {
  if (token) headers.authorization = "Bearer " + token;
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    // Relative, so that the page also works behind a prefix.
    return await fetch("api/" + path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0);
  }
}

/** The next access token. Refresh tokens are good once, so of several tabs one at a time asks, and the others see its answer. */
async function renew(used) {
  const ask = async () => {
    session = stored() ?? session;
    if (!session || session.token !== used) return;
    const answer = await send("POST", "refresh", { body: { refresh_token: session.refresh_token } });
    if (answer.ok) return keep(await answer.json());
    if (answer.status === 401) {
      keep(null);
      whenItEnds(true);
    }
    throw new Failure(answer.status);
  };
  return navigator.locks ? navigator.locks.request("chirpy.refresh", ask) : ask();
}

/** A request as whoever is logged in; the token is renewed when it has expired. */
async function authorised(method, path, options = {}) {
  if (session && Date.now() > session.until - 30_000) await renew(session.token);
  const used = session?.token;
  let answer = await send(method, path, { ...options, token: used });
  if (answer.status === 401 && used) {
    await renew(used);
    answer = await send(method, path, { ...options, token: session?.token });
  }
  if (answer.ok) return answer;
  const detail = await answer.json().catch(() => ({}));
  throw new Failure(answer.status, detail.error, answer.headers.get("retry-after"));
}

async function json(method, path, options) {
  const answer = await authorised(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path) => json("GET", path);
export const put = (path) => json("PUT", path);
export const remove = (path) => json("DELETE", path);
export const post = (path, body, key) => json("POST", path, { body, headers: key ? { "idempotency-key": `"${key}"` } : {} });

/** A page of posts, and the query of the next one: what the Link says, or where a proxy took it away, the last post. */
export async function page(path) {
  const answer = await authorised("GET", path);
  const link = answer.headers.get("link")?.match(/<\?([^>]*)>; rel="next"/)?.[1];
  const posts = await answer.json();
  return { posts, next: link ?? (posts.length ? `before=${posts.at(-1).id}&limit=20` : null) };
}

export async function enter(path, body) {
  const answer = await send("POST", path, { body });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Failure(answer.status, value.error, answer.headers.get("retry-after"));
  keep(value);
}

export function leave() {
  const token = session?.refresh_token;
  keep(null);
  if (token) send("POST", "logout", { body: { refresh_token: token } }).catch(() => {});
}

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

/** A stream says at least every 15 s that it is still there; one that is silent three times as long is over. */
const SILENCE = 45_000;

/** What comes next, or a failure when nothing does. */
function heard(reader) {
  let timer;
  const silent = new Promise((_, reject) => { timer = setTimeout(() => reject(new Failure(0)), SILENCE); });
  return Promise.race([reader.read(), silent]).finally(() => clearTimeout(timer));
}

/** Reads the live timeline until `signal` says stop, through breaks. An EventSource could not send the token. */
export async function live({ last, signal, onPost, onState }) {
  let failures = 0;
  while (!signal.aborted) {
    let reader;
    try {
      onState("connecting");
      const headers = last ? { "last-event-id": String(last) } : {};
      const answer = await authorised("GET", "timeline/live", { headers, signal });
      reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await heard(reader);
        if (done) break;
        failures = 0;
        onState("live");
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const field = (name) => block.split("\n").find((line) => line.startsWith(name + ":"))?.slice(name.length + 1).trim();
          last = field("id") ?? last;
          if (field("event") === "post") onPost(JSON.parse(field("data")));
        }
      }
    } catch (error) {
      if (signal.aborted || (error.status === 401 && !session)) return;
      failures += 1;
      // The connection too, when it was silence that ended it.
      reader?.cancel().catch(() => {});
    }
    if (signal.aborted) return;
    if (failures) onState("offline");
    // With some chance in it, so that a thousand readers do not come back at the same moment.
    await pause(Math.min(30_000, 500 * 2 ** Math.min(failures, 6)) * (0.5 + Math.random() / 2), signal);
  }
}
