// Every word on the page, in both languages.

const words = {
  ja: {
    skip: "本文へ", search: "検索", searchHint: "ことば・ユーザーを検索", language: "言語", theme: "配色", auto: "自動", light: "ライト", dark: "ダーク",
    home: "ホーム", profile: "プロフィール", logout: "ログアウト", login: "ログイン", signup: "アカウントを作成",
    tagline: "いま起きていることを、短いことばで。", pitch: "気になる人をフォローして、届いたばかりの投稿を読みましょう。",
    name: "ユーザー名", nameHint: "半角の英小文字・数字・アンダースコア、2〜32 文字", password: "パスワード", passwordHint: "6 文字以上",
    haveAccount: "アカウントをお持ちの方は", noAccount: "はじめての方は",
    compose: "いまどうしてる？", reply: "返信", replyTo: "{name} さんへ返信", post: "投稿する", posting: "送信中…", retry: "もう一度送る",
    keptWhy: "送信できませんでした。本文は残っています。（{why}）", left: "あと {n} 文字", over: "{n} 文字多すぎます",
    like: "いいね", unlike: "いいねを取り消す", edit: "編集", save: "保存", cancel: "やめる", remove: "削除", removeSure: "この投稿を削除しますか？元に戻せません。",
    edited: "編集済み", deleted: "投稿を削除しました", saved: "保存しました", conversation: "会話", inReplyTo: "返信先: @{name}",
    follow: "フォローする", unfollow: "フォロー解除", following: "フォロー中", followers: "フォロワー", posts: "投稿", followsYou: "フォローされています",
    joined: "{date}から利用", trends: "いま話題のことば", trendCount: "1 時間に {n} 件", noTrends: "話題のことばはまだありません。",
    people: "ユーザー", found: "「{q}」の検索結果", none: "見つかりませんでした。", nobody: "該当するユーザーはいません。",
    emptyHome: "タイムラインはまだ空です。検索で気になる人を探して、フォローしてみましょう。", emptyPosts: "まだ投稿がありません。", loading: "読み込み中…",
    newPosts: "新しい投稿が {n} 件あります", live: "更新中", connecting: "接続中…", offline: "接続が切れました。つなぎ直しています…",
    end: "ここまでです。", again: "もう一度試す", failed: "うまくいきませんでした。", network: "サーバーに接続できません。通信状態を確認してください。",
    tooMany: "短い時間に操作が続いたため、少し待ってからお試しください（あと {n} 秒）。", ended: "ログインの有効期限が切れました。もう一度ログインしてください。",
    wrong: "ユーザー名またはパスワードが違います。", taken: "このユーザー名は使われています。", made: "アカウントはできましたが、ログインできませんでした。少し待ってからログインしてください。", badName: "ユーザー名は半角の英小文字・数字・アンダースコアで 2〜32 文字です。",
    badPassword: "パスワードは 6 文字以上にしてください。", notFound: "見つかりませんでした。削除されたのかもしれません。", noUser: "このユーザー名のアカウントはありません。", busy: "サーバーが混み合っています。少し待ってからお試しください。",
   
  },
  en: {
    skip: "Skip to content", search: "Search", searchHint: "Search posts and people", language: "Language", theme: "Theme", auto: "Auto", light: "Light", dark: "Dark",
    home: "Home", profile: "Profile", logout: "Log out", login: "Log in", signup: "Sign up",
    tagline: "What is happening now, in a few words.", pitch: "Follow people you care about and read their posts as they arrive.",
    name: "Username", nameHint: "2 to 32 lower-case letters, digits or underscores", password: "Password", passwordHint: "At least 6 characters",
    haveAccount: "Already have an account?", noAccount: "New to Chirpy?",
    compose: "What’s happening?", reply: "Reply", replyTo: "Reply to {name}", post: "Post", posting: "Sending…", retry: "Send again",
    keptWhy: "This was not sent. Your text is still here. ({why})", left: "{n} characters left", over: "{n} characters too many",
    like: "Like", unlike: "Unlike", edit: "Edit", save: "Save", cancel: "Cancel", remove: "Delete", removeSure: "Delete this post? This cannot be undone.",
    edited: "edited", deleted: "Post deleted", saved: "Saved", conversation: "Conversation", inReplyTo: "Replying to @{name}",
    follow: "Follow", unfollow: "Unfollow", following: "Following", followers: "Followers", posts: "Posts", postsOne: "Post", followersOne: "Follower", followsYou: "Follows you",
    joined: "Joined {date}", trends: "Trending now", trendCount: "{n} in the last hour", noTrends: "Nothing is trending yet.",
    people: "People", found: "Results for “{q}”", none: "Nothing found.", nobody: "Nobody by that name.",
    emptyHome: "Your timeline is empty. Search for people you like and follow them.", emptyPosts: "No posts yet.", loading: "Loading…",
    newPosts: "{n} new posts", newPostsOne: "1 new post", live: "Live", connecting: "Connecting…", offline: "Connection lost. Reconnecting…",
    end: "That is all.", again: "Try again", failed: "That did not work.", network: "Chirpy cannot be reached. Check your connection.",
    tooMany: "That was a lot at once. Try again in {n} s.", ended: "Your session has ended. Please log in again.",
    wrong: "Wrong username or password.", taken: "This username is taken.", made: "Your account was made, but you could not be logged in. Please log in in a moment.", badName: "A username has 2 to 32 lower-case letters, digits or underscores.",
    badPassword: "A password has at least 6 characters.", notFound: "Not found. It may have been deleted.", noUser: "There is no account with this username.", busy: "Chirpy is busy. Try again in a moment.",
   
  },
};

export let language = "en";

/** The word for a key, its {places} filled in; of one thing (`n` is 1), the singular where the language has one. */
export function t(key, values = {}) {
  const singular = String(values.n) === "1" ? words[language][key + "One"] : undefined;
  return (singular ?? words[language][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Takes up a language, and says everything that stands in the document in it. */
export function speak(wanted) {
  language = wanted === "ja" ? "ja" : "en";
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = t(node.dataset.hint);
}

/** How long ago, in a word or two; the day when it is more than one. */
export function ago(time) {
  const seconds = Math.max(0, (Date.now() - new Date(time)) / 1000);
  const units = language === "ja" ? ["秒前", "分前", "時間前"] : ["s", "m", "h"];
  if (seconds < 60) return Math.floor(seconds) + units[0];
  if (seconds < 3600) return Math.floor(seconds / 60) + units[1];
  if (seconds < 86400) return Math.floor(seconds / 3600) + units[2];
  return new Date(time).toLocaleDateString(language, { month: "short", day: "numeric" });
}

export const fullTime = (time) => new Date(time).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
export const day = (time) => new Date(time).toLocaleDateString(language, { year: "numeric", month: "long" });
export const number = (value) => Number(value).toLocaleString(language);
