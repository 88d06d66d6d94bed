import { type FormEvent, useEffect, useMemo, useRef, useState } from "react";
import { send } from "./api";
import type { Folded } from "./fold";
import { clock, duration, type Word, useLocale } from "./i18n";
import { Avatar, Person, Prose, useToasts } from "./parts";
import type { DrillEvent, DrillView, UiCommand, Viewer } from "./types";
import { condense, tell, type Told } from "./words";

type Mode = "say" | "impact" | "hypothesis" | "status" | "mitigated" | "resolved" | "assign_task" | "assign_commander";

const ACTIONS: { word: Word; mode: Mode | "acknowledge" | "ask_hint" }[] = [
  { word: "a_ack", mode: "acknowledge" },
  { word: "a_commander", mode: "assign_commander" },
  { word: "a_task", mode: "assign_task" },
  { word: "a_impact", mode: "impact" },
  { word: "a_hypothesis", mode: "hypothesis" },
  { word: "a_status", mode: "status" },
  { word: "a_mitigated", mode: "mitigated" },
  { word: "a_resolved", mode: "resolved" },
  { word: "a_hint", mode: "ask_hint" },
];

const LABELS: Record<Exclude<Mode, "say">, [Word, Word]> = {
  impact: ["a_impact", "p_impact"],
  hypothesis: ["a_hypothesis", "p_hypothesis"],
  status: ["a_status", "p_status"],
  mitigated: ["a_mitigated", "p_mitigated"],
  resolved: ["a_resolved", "p_resolved"],
  assign_task: ["a_task", "p_task"],
  assign_commander: ["a_commander", "p_commander"],
};

interface Props {
  viewer: Viewer;
  view: DrillView;
  events: DrillEvent[];
  folded: Folded;
  now: number;
}

/** Commands and values are the timeline's; the chat is what people and the bot say. */
function isTalk(event: DrillEvent): boolean {
  return !["command_run", "metric_seen", "sample", "fault_injected", "fault_ended", "oracle_checked"].includes(event.kind);
}

export function Chat({ viewer, view, events, folded, now }: Props) {
  const locale = useLocale();
  const { t } = locale;
  const list = useRef<HTMLOListElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const told = useMemo(
    () =>
      condense(
        events.flatMap((event) => {
          const words = isTalk(event) ? tell(event, locale) : null;
          return words ? [{ event, words }] : [];
        }),
      ),
    [events, locale],
  );
  const toEnd = () => list.current?.scrollTo({ top: list.current.scrollHeight });
  useEffect(() => {
    if (atEnd) toEnd();
  }, [told, atEnd]);

  return (
    <div className="chat" role="tabpanel" id="panel-chat" aria-labelledby="tab-chat">
      <ol
        ref={list}
        className="messages"
        aria-live="polite"
        tabIndex={0}
        onScroll={(event) => {
          const el = event.currentTarget;
          setAtEnd(el.scrollHeight - el.scrollTop - el.clientHeight < 40);
        }}
      >
        {told.length === 0 && <li className="calm">{t("no_messages")}</li>}
        {told.map(({ event, words }) => (
          <ChatLine key={event.seq} at={event.at} words={words} mine={words.actor?.name === viewer.name} />
        ))}
      </ol>
      {!atEnd && (
        <button type="button" className="to-end small" onClick={toEnd}>
          ↓ {t("new_messages")}
        </button>
      )}
      {view.state !== "ended" && <Composer viewer={viewer} view={view} folded={folded} now={now} />}
    </div>
  );
}

function ChatLine({ at, words, mine }: { at: string; words: Told; mine: boolean }) {
  const { t } = useLocale();
  if (words.tone === "quiet") {
    return (
      <li className="quiet">
        <time dateTime={at}>{clock(at).slice(0, 5)}</time> {words.actor?.name} {words.text}
      </li>
    );
  }
  const actor = words.actor ?? { name: words.tone === "hint" ? t("e_hint") : t("bot_name"), seat: "bot" };
  return (
    <li className={`line ${words.tone}`} data-mine={mine}>
      <Avatar actor={actor} />
      <div>
        <p className="head">
          <Person actor={actor} />
          <time dateTime={at}>{clock(at).slice(0, 5)}</time>
        </p>
        <p className="text">
          {words.label && <span className="tag">{words.label}</span>}
          <Prose text={words.text} />
        </p>
      </div>
    </li>
  );
}

function Composer({ viewer, view, folded, now }: Omit<Props, "events">) {
  const { t } = useLocale();
  const toasts = useToasts();
  const [mode, setMode] = useState<Mode>("say");
  const [text, setText] = useState("");
  const [name, setName] = useState("");
  const [eta, setEta] = useState("10");
  const [busy, setBusy] = useState(false);
  const box = useRef<HTMLTextAreaElement>(null);
  const running = view.state === "running";
  const crew = view.people.filter((person) => !person.npc || person.seat !== "stakeholder");
  const hintWait = view.hints_from ? (Date.parse(view.hints_from) - now) / 1000 : 0;

  const act = async (command: UiCommand) => {
    setBusy(true);
    try {
      await send(command);
      return true;
    } catch (error) {
      toasts.fail(error);
      return false;
    } finally {
      setBusy(false);
    }
  };
  const press = (wanted: (typeof ACTIONS)[number]["mode"]) => {
    if (wanted === "acknowledge") {
      const open = folded.alerts.find((alert) => !alert.resolvedAt && !alert.acknowledgedBy);
      void act({ command: "acknowledge", fingerprint: open?.fingerprint ?? null });
    } else if (wanted === "ask_hint") {
      if (window.confirm(t("hint_confirm"))) void act({ command: "ask_hint" });
    } else {
      setMode(mode === wanted ? "say" : wanted);
      setName((chosen) => chosen || viewer.name);
      box.current?.focus();
    }
  };
  const compose = (): UiCommand | null => {
    if (mode === "assign_commander") return name ? { command: mode, name } : null;
    const words = text.trim();
    if (!words) return null;
    if (mode === "assign_task") return name ? { command: mode, name, text: words } : null;
    if (mode === "status") return { command: mode, text: words, eta_minutes: eta ? Number(eta) : null };
    return { command: mode, text: words };
  };
  const submit = async (event?: FormEvent) => {
    event?.preventDefault();
    const command = compose();
    if (!command || busy) return;
    if (await act(command)) {
      setText("");
      setMode("say");
      box.current?.focus();
    }
  };
  const words = mode === "say" ? null : LABELS[mode];
  return (
    <form className="composer" data-mode={mode} onSubmit={(event) => void submit(event)}>
      {running && (
        <div className="quick" role="group" aria-label={t("quick")}>
          {ACTIONS.map((action) => (
            <button
              key={action.word}
              type="button"
              className={`small ${action.mode}`}
              aria-pressed={action.mode === mode}
              disabled={busy || (action.mode === "ask_hint" && hintWait > 0)}
              onClick={() => press(action.mode)}
            >
              {t(action.word)}
              {action.mode === "ask_hint" && hintWait > 0 && ` ${duration(hintWait)}`}
            </button>
          ))}
        </div>
      )}
      {words && (
        <p className="mode">
          <strong>{t(words[0])}</strong>
          <span>{t(words[1])}</span>
          <button type="button" className="icon" aria-label={t("close")} onClick={() => setMode("say")}>
            ×
          </button>
        </p>
      )}
      {(mode === "assign_commander" || mode === "assign_task") && (
        <label className="field">
          {t("to_whom")}
          <select value={name} onChange={(event) => setName(event.target.value)}>
            {crew.map((person) => (
              <option key={person.name}>{person.name}</option>
            ))}
          </select>
        </label>
      )}
      {mode === "status" && (
        <label className="field">
          {t("eta")}
          <input type="number" min={1} max={240} value={eta} onChange={(event) => setEta(event.target.value)} />
        </label>
      )}
      <div className="write">
        {mode !== "assign_commander" && (
          <textarea
            ref={box}
            rows={2}
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              // Enter that ends a kana conversion is not "send".
              if (event.nativeEvent.isComposing) return;
              if (event.key === "Enter" && !event.shiftKey) void submit(event);
              if (event.key === "Escape") setMode("say");
            }}
            placeholder={t(words ? words[1] : "chat_placeholder")}
            aria-label={t(words ? words[0] : "chat")}
            maxLength={4000}
          />
        )}
        <button type="submit" className="primary" disabled={busy || compose() === null}>
          {t(mode === "say" ? "send" : mode === "status" || mode === "hypothesis" || mode === "impact" ? "share" : "declare")}
        </button>
      </div>
    </form>
  );
}
