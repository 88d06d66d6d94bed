import { createContext, useContext } from "react";
import { budgetWords } from "./budget/words";
import { experimentWords } from "./experiments/words";
import { labWords } from "./lab/words";
import { mapWords } from "./map/words";
import type { Lang, Text } from "./types";

/** Every word of the page, in the users' own terms (障害, 検知, アサイン, 暫定復旧, 復旧, 指揮官 ...). */
const words = {
  product: { ja: "Hikeshi", en: "Hikeshi" },
  tagline: { ja: "障害対応演習", en: "Incident response drill" },
  // Joining
  join_title: { ja: "演習に参加する", en: "Join the drill" },
  join_name: { ja: "ハンドル名", en: "Handle" },
  join_name_help: { ja: "半角の英小文字と数字で 2〜16 文字", en: "2 to 16 small letters and digits" },
  join_seat: { ja: "役割", en: "Seat" },
  join_button: { ja: "参加する", en: "Take the seat" },
  join_host: { ja: "主催者として参加します", en: "You join as the host" },
  no_session: { ja: "招待リンクから参加してください", en: "Join by an invite link" },
  no_session_help: {
    ja: "演習の主催者から受け取ったリンク（…/join/…）を開いてください。自分で始めた場合は、端末に表示された URL を開きます。",
    en: "Open the link (…/join/…) the host gave you. If you started the drill yourself, open the URL printed in your terminal.",
  },
  no_drill: { ja: "進行中の演習はありません", en: "No drill is on" },
  no_drill_help: { ja: "端末で hikeshi drill start を実行すると、ここに現れます。", en: "Run hikeshi drill start in a terminal and it appears here." },
  bad_invite: { ja: "この招待リンクは使えません", en: "This invite link is not valid" },
  bad_invite_help: { ja: "リンクが古いか、途中で切れています。主催者に新しいリンクをもらってください。", en: "It is old, or was cut off. Ask the host for a new one." },
  loading: { ja: "読み込み中…", en: "Loading…" },
  // States
  preparing: { ja: "準備中", en: "Preparing" },
  preparing_help: {
    ja: "システムを起動し、平常時の状態になるのを待っています。",
    en: "The system is starting and settling into its normal state.",
  },
  briefing: { ja: "説明", en: "Briefing" },
  running: { ja: "演習中", en: "Running" },
  ended: { ja: "終了", en: "Ended" },
  // Seats
  seat_commander: { ja: "指揮官", en: "Commander" },
  seat_operator: { ja: "対応者", en: "Operator" },
  seat_communicator: { ja: "広報・連絡", en: "Communicator" },
  seat_scribe: { ja: "記録係", en: "Scribe" },
  seat_observer: { ja: "見学", en: "Observer" },
  seat_facilitator: { ja: "進行役", en: "Facilitator" },
  seat_stakeholder: { ja: "関係者", en: "Stakeholder" },
  seat_product_manager: { ja: "プロダクトマネージャー", en: "Product manager" },
  seat_customer_support: { ja: "カスタマーサポート", en: "Customer support" },
  seat_bot: { ja: "ボット", en: "Bot" },
  seat_commander_help: { ja: "全体を見て、決めて、任せる", en: "Sees the whole, decides, delegates" },
  seat_operator_help: { ja: "調べて、直す", en: "Investigates and fixes" },
  seat_communicator_help: { ja: "関係者へ状況を伝える", en: "Keeps stakeholders informed" },
  seat_scribe_help: { ja: "起きたことを書き残す", en: "Writes down what happens" },
  seat_observer_help: { ja: "見て学ぶ（操作もできます）", en: "Watches and learns" },
  seat_facilitator_help: { ja: "演習を始め、見守り、終える", en: "Begins, watches over and ends the drill" },
  // Top bar
  elapsed: { ja: "経過", en: "Elapsed" },
  milestones: { ja: "対応の進み", en: "Milestones" },
  m_alert: { ja: "発報", en: "Alert" },
  m_detect: { ja: "検知", en: "Detect" },
  m_assign: { ja: "アサイン", en: "Assign" },
  m_mitigate: { ja: "暫定復旧", en: "Mitigate" },
  m_resolve: { ja: "復旧", en: "Resolve" },
  invite: { ja: "招待", en: "Invite" },
  copied: { ja: "リンクをコピーしました", en: "Link copied" },
  copied_text: { ja: "コピーしました", en: "Copied" },
  copy_failed: { ja: "このリンクを渡してください", en: "Hand on this link" },
  theme: { ja: "配色", en: "Theme" },
  theme_auto: { ja: "自動", en: "Auto" },
  theme_light: { ja: "明るい", en: "Light" },
  theme_dark: { ja: "暗い", en: "Dark" },
  language: { ja: "言語", en: "Language" },
  end_drill: { ja: "演習を終える", en: "End drill" },
  end_confirm: { ja: "演習を終えて、振り返りに進みますか？", en: "End the drill and go to the debrief?" },
  reconnecting: { ja: "接続が切れました。再接続しています…", en: "Connection lost. Reconnecting…" },
  // Left
  monitoring: { ja: "監視", en: "Monitoring" },
  alerts: { ja: "アラート", en: "Alerts" },
  no_alerts: { ja: "発報中のアラートはありません", en: "No alerts are firing" },
  resolved_alerts: { ja: "収まったアラート", en: "Resolved alerts" },
  tickets: { ja: "チケット（急がないもの）", en: "Tickets (not urgent)" },
  firing_since: { ja: "発報から", en: "firing for" },
  ack: { ja: "検知した", en: "Acknowledge" },
  acked_by: { ja: "検知", en: "acknowledged by" },
  journeys: { ja: "ユーザージャーニーと SLO", en: "User journeys and SLOs" },
  journeys_wait: { ja: "最初の計測を待っています…", en: "Waiting for the first measurements…" },
  budget: { ja: "エラーバジェット残り", en: "Error budget left" },
  budget_burned: { ja: "使い切りました", en: "exhausted" },
  owner: { ja: "担当", en: "Owner" },
  sli_availability: { ja: "可用性", en: "Availability" },
  sli_latency: { ja: "レイテンシ", en: "Latency" },
  sli_freshness: { ja: "鮮度", en: "Freshness" },
  sli_quality: { ja: "品質", en: "Quality" },
  slo_violated: { ja: "SLO違反", en: "SLO violated" },
  no_data: { ja: "データなし", en: "no data" },
  last_minutes: { ja: "直近 10 分", en: "last 10 min" },
  per_second: { ja: "件/秒", en: "req/s" },
  // Centre
  workspace: { ja: "作業", en: "Workspace" },
  console: { ja: "コンソール", en: "Console" },
  app: { ja: "アプリ", en: "App" },
  open_new_tab: { ja: "新しいタブで開く", en: "Open in a new tab" },
  console_hint: {
    ja: "あなたの役割の権限で実行されます。kubectl のほか、次のプログラムが使えます：",
    en: "Commands run with your seat's own identity. Besides kubectl:",
  },
  console_input: { ja: "コマンド", en: "Command" },
  console_placeholder: { ja: "kubectl get pods", en: "kubectl get pods" },
  console_filter: { ja: "出力を絞り込む", en: "Filter output" },
  console_empty: { ja: "まず平常時の姿を見ておくと、変化に気づけます。", en: "Know the normal state first; then you notice change." },
  console_clear: { ja: "消去", en: "Clear" },
  run: { ja: "実行", en: "Run" },
  cancel: { ja: "中止", en: "Cancel" },
  cancelled: { ja: "中止しました", en: "cancelled" },
  exit_code: { ja: "終了コード", en: "exit" },
  running_command: { ja: "実行中", en: "running" },
  try_these: { ja: "例", en: "Try" },
  hidden_lines: { ja: "行を非表示", en: "lines hidden" },
  // Briefing
  briefing_title: { ja: "はじめる前に", en: "Before you begin" },
  goals: { ja: "演習の目的", en: "Goals" },
  normal_state: { ja: "平常時を見ておく", en: "Look at the normal state" },
  normal_state_help: {
    ja: "いま、システムは平常時です。左のグラフ、コンソール、Prometheus、アプリを触って、普段の姿を覚えてください。障害は、演習を始めたあとに起きます。",
    en: "The system is healthy now. Use the charts on the left, the console, Prometheus and the app to learn what normal looks like. The incident comes after you begin.",
  },
  unsettled: { ja: "まだ落ち着いていません", en: "Not settled yet" },
  unsettled_help: {
    ja: "起動直後のアラートが残っています。消えるまで待つと、平常時の姿を見てから始められます。",
    en: "Alerts from starting up are still firing. Wait until they are over, to see the normal state before you begin.",
  },
  who_is_here: { ja: "参加者", en: "Who is here" },
  scripted: { ja: "シナリオの登場人物", en: "scripted" },
  open_seat: { ja: "空席", en: "open" },
  begin: { ja: "演習を始める", en: "Begin the drill" },
  begin_wait: { ja: "主催者が始めるのを待っています", en: "Waiting for the host to begin" },
  flow_title: { ja: "対応の流れ", en: "How a drill goes" },
  flow_detect: { ja: "アラートや問い合わせに気づいたら「検知した」", en: "Saw an alert or a complaint? Acknowledge it" },
  flow_assign: { ja: "指揮官を決め、役割を割り振る", en: "Name a commander and hand out tasks" },
  flow_mitigate: { ja: "影響を止めたら「暫定復旧」", en: "Users are fine again? Declare mitigation" },
  flow_resolve: { ja: "原因に手を打ち、再発しないと言えたら「終息宣言」", en: "Cause dealt with and it will not come back? Declare resolved" },
  settling: {
    ja: "終息宣言を受けて、復旧が続くことを確かめています（1〜2 分）。確かめられれば演習は自動で終わります。それまでは監視を続けてください。",
    en: "Declared resolved. Once it is seen to hold (a minute or two) the drill ends by itself. Keep watching until then.",
  },
  // Right
  communication: { ja: "コミュニケーション", en: "Communication" },
  chat: { ja: "チャット", en: "Chat" },
  timeline: { ja: "タイムライン", en: "Timeline" },
  chat_placeholder: { ja: "メッセージを書く（Enter で送信、Shift+Enter で改行）", en: "Write a message (Enter sends, Shift+Enter breaks the line)" },
  send: { ja: "送信", en: "Send" },
  quick: { ja: "宣言・共有", en: "Declare and share" },
  a_ack: { ja: "検知した", en: "Acknowledge" },
  a_commander: { ja: "指揮官", en: "Commander" },
  a_task: { ja: "アサイン", en: "Assign" },
  a_impact: { ja: "インパクト", en: "Impact" },
  a_hypothesis: { ja: "仮説", en: "Hypothesis" },
  a_status: { ja: "状況共有", en: "Status" },
  a_mitigated: { ja: "暫定復旧", en: "Mitigated" },
  a_resolved: { ja: "終息宣言", en: "Resolved" },
  a_hint: { ja: "ヒント", en: "Hint" },
  p_impact: { ja: "誰が、何を、どのくらいできなくなっているか", en: "Who cannot do what, and how many" },
  p_hypothesis: { ja: "原因は何だと考えるか。どう確かめるか", en: "What you think is wrong, and how to check it" },
  p_status: { ja: "関係者に伝える、いまの状況と次の一手", en: "For stakeholders: where we are and what comes next" },
  p_mitigated: { ja: "何をして、影響がどう止まったか", en: "What was done, and how the impact stopped" },
  p_resolved: { ja: "終息宣言：なぜもう再発しないと言えるか", en: "Why it is over and will not come back" },
  p_task: { ja: "頼みたいこと", en: "What they should do" },
  p_commander: { ja: "指揮官を選ぶ", en: "Choose the commander" },
  to_whom: { ja: "誰に", en: "To whom" },
  eta: { ja: "次の連絡まで（分）", en: "Next update in (min)" },
  declare: { ja: "宣言する", en: "Declare" },
  share: { ja: "共有する", en: "Share" },
  hint_confirm: { ja: "ヒントを使うと記録に残ります。もらいますか？", en: "Hints are counted. Ask for one?" },
  no_messages: { ja: "まだ会話はありません。", en: "Nothing said yet." },
  new_messages: { ja: "新しいメッセージ", en: "New messages" },
  only_actions: { ja: "操作だけ", en: "Commands only" },
  show_output: { ja: "出力を見る", en: "Show output" },
  timeline_empty: { ja: "まだ何も起きていません。", en: "Nothing has happened yet." },
  // Events
  e_drill_started: { ja: "演習を準備しました", en: "Drill prepared" },
  e_system_ready: { ja: "システムは平常時です", en: "The system is in its normal state" },
  e_seat_taken: { ja: "が着席しました", en: "took a seat" },
  e_seat_left: { ja: "が退席しました", en: "left" },
  e_alert_fired: { ja: "アラート発報", en: "Alert fired" },
  e_alert_resolved: { ja: "アラート解消", en: "Alert resolved" },
  e_acknowledged: { ja: "検知しました", en: "acknowledged" },
  e_commander: { ja: "指揮官", en: "Commander" },
  e_task: { ja: "アサイン", en: "Assigned" },
  e_hint_asked: { ja: "ヒントを求めました", en: "asked for a hint" },
  e_hint: { ja: "ヒント", en: "Hint" },
  e_fault_injected: { ja: "障害を注入", en: "Fault injected" },
  e_fault_ended: { ja: "注入した障害の終わり", en: "Injected fault ended" },
  e_oracle_green: { ja: "判定：復旧している", en: "Oracle: recovered" },
  e_oracle_red: { ja: "判定：まだ復旧していない", en: "Oracle: not recovered" },
  e_drill_ended: { ja: "演習終了", en: "Drill ended" },
  e_metric: { ja: "確認した値", en: "Value seen" },
  baseline: { ja: "平常時", en: "normally" },
  bot_name: { ja: "alertmanager", en: "alertmanager" },
  next_update_in: { ja: "分以内に次の連絡", en: "min until the next update" },
  // Debrief
  debrief: { ja: "振り返り", en: "Debrief" },
  debrief_lead: {
    ja: "おつかれさまでした。点数はチームのもので、人の順位ではありません。",
    en: "Well done. The score belongs to the team; it ranks nobody.",
  },
  score: { ja: "点数", en: "Score" },
  score_wait: { ja: "採点しています…", en: "Working out the score…" },
  documents: { ja: "記録から作られた文書", en: "Documents made from the record" },
  story: { ja: "インシデント報告書と会話", en: "Incident report and chat log" },
  postmortem: { ja: "ポストモーテムの下書き", en: "Postmortem draft" },
  not_yet: { ja: "まだありません", en: "Not there yet" },
  timings: { ja: "かかった時間", en: "Timings" },
  from_alert: { ja: "発報から", en: "from the alert" },
  never: { ja: "宣言なし", en: "not declared" },
  copy: { ja: "コピー", en: "Copy" },
  close: { ja: "閉じる", en: "Close" },
  ...mapWords,
  ...labWords,
  ...experimentWords,
  ...budgetWords,
} satisfies Record<string, Text>;

export type Word = keyof typeof words;

export function translate(lang: Lang, word: Word): string {
  return words[word][lang];
}

export function isWord(word: string): word is Word {
  return word in words;
}

export interface Locale {
  lang: Lang;
  t: (word: Word) => string;
  /** The reader's half of a bilingual text; the other where it is missing. */
  pick: (text: Text) => string;
}

export const LocaleContext = createContext<Locale>({
  lang: "en",
  t: (word) => translate("en", word),
  pick: (text) => text.en,
});

export const useLocale = () => useContext(LocaleContext);

export function makeLocale(lang: Lang): Locale {
  const other = lang === "ja" ? "en" : "ja";
  return { lang, t: (word) => translate(lang, word), pick: (text) => text[lang] || text[other] };
}

/** What the reader chose before, else what their browser asks for, else the server's. */
export function initialLang(fallback: Lang): Lang {
  const asked = new URLSearchParams(location.search).get("lang");
  const stored = asked ?? localStorage.getItem("hikeshi.lang");
  if (stored === "ja" || stored === "en") return stored;
  for (const wish of navigator.languages) {
    if (wish.startsWith("ja")) return "ja";
    if (wish.startsWith("en")) return "en";
  }
  return fallback;
}

export function seatName(locale: Locale, seat: string): string {
  const word = `seat_${seat}`;
  return isWord(word) ? locale.t(word) : seat;
}

/** 90 -> 1:30, 3700 -> 1:01:40. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  const h = Math.floor(s / 3600);
  return h > 0 ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

const clocks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const clock = (at: string) => clocks.format(new Date(at));

/** 0.9991 -> 99.91%, without pretending to more digits than matter near an objective. */
export function percent(ratio: number, digits = 1): string {
  // Never round a violated ratio up to 100%.
  const shown = ratio < 1 ? Math.min(ratio * 100, 100 - 10 ** -digits) : 100;
  return `${shown.toFixed(shown === 100 ? 0 : digits)}%`;
}
