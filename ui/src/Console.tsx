import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { ApiError, runConsole } from "./api";
import { useLocale } from "./i18n";
import type { DrillView } from "./types";

interface Entry {
  id: number;
  line: string;
  output: { stream: "stdout" | "stderr"; text: string }[];
  /** How it ended; none while it runs. */
  end: { code: number } | { words: string } | null;
}

const HISTORY_KEY = "hikeshi.history";
const HISTORY_LIMIT = 200;
const ENTRY_LIMIT = 60;

function storedHistory(): string[] {
  try {
    const lines: unknown = JSON.parse(sessionStorage.getItem(HISTORY_KEY) ?? "[]");
    return Array.isArray(lines) ? lines.map(String) : [];
  } catch {
    return [];
  }
}

export function Console({ view, hidden }: { view: DrillView; hidden: boolean }) {
  const { t, lang } = useLocale();
  const [entries, setEntries] = useState<Entry[]>([]);
  const [line, setLine] = useState("");
  const [filter, setFilter] = useState("");
  const [past, setPast] = useState(storedHistory);
  const [at, setAt] = useState<number | null>(null);
  const abort = useRef<AbortController | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const bottom = useRef<HTMLDivElement>(null);
  const running = entries.at(-1)?.end === null;

  useEffect(() => {
    bottom.current?.scrollIntoView({ block: "end" });
  }, [entries]);
  useEffect(() => {
    if (!hidden && !running && window.matchMedia("(min-width: 1000px)").matches) input.current?.focus();
  }, [hidden, running]);

  const change = (id: number, next: (entry: Entry) => Entry) =>
    setEntries((all) => all.map((entry) => (entry.id === id ? next(entry) : entry)));

  const run = async (typed: string) => {
    const wanted = typed.trim();
    if (!wanted || running) return;
    const id = Date.now();
    const controller = new AbortController();
    abort.current = controller;
    setEntries((all) => [...all.slice(1 - ENTRY_LIMIT), { id, line: wanted, output: [], end: null }]);
    const lines = [...past.filter((before) => before !== wanted), wanted].slice(-HISTORY_LIMIT);
    setPast(lines);
    sessionStorage.setItem(HISTORY_KEY, JSON.stringify(lines));
    setLine("");
    setAt(null);
    try {
      await runConsole(wanted, controller.signal, (part) =>
        change(id, (entry) => {
          if ("exit" in part) return { ...entry, end: { code: part.exit } };
          if ("error" in part) return { ...entry, end: { words: lang === "ja" ? (part.error_ja ?? part.error) : part.error } };
          if ("stopped" in part) return { ...entry, end: { words: lang === "ja" ? part.stopped_ja : part.stopped } };
          const last = entry.output.at(-1);
          const output =
            last?.stream === part.stream
              ? [...entry.output.slice(0, -1), { stream: last.stream, text: last.text + part.text }]
              : [...entry.output, part];
          return { ...entry, output };
        }),
      );
      change(id, (entry) => (entry.end ? entry : { ...entry, end: { words: t("reconnecting") } }));
    } catch (error) {
      const words = controller.signal.aborted
        ? t("cancelled")
        : error instanceof ApiError && lang === "ja"
          ? error.ja
          : String((error as Error).message);
      change(id, (entry) => ({ ...entry, end: { words } }));
    }
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void run(line);
  };
  const keys = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const step = event.key === "ArrowUp" ? -1 : 1;
      const next = Math.min(past.length, Math.max(0, (at ?? past.length) + step));
      event.preventDefault();
      setAt(next);
      setLine(past[next] ?? "");
    } else if (event.key === "l" && event.ctrlKey) {
      event.preventDefault();
      setEntries((all) => all.filter((entry) => entry.end === null));
    }
  };
  // Keys that stop a command work anywhere in the console, while the input is disabled too.
  const stopKeys = (event: KeyboardEvent) => {
    const interrupt = event.key === "c" && event.ctrlKey && window.getSelection()?.isCollapsed !== false;
    if (running && (event.key === "Escape" || interrupt)) abort.current?.abort();
  };

  return (
    <div className="console" role="tabpanel" id="panel-console" aria-labelledby="tab-console" hidden={hidden} onKeyDown={stopKeys}>
      <div className="console-tools">
        <input
          type="search"
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
          placeholder={t("console_filter")}
          aria-label={t("console_filter")}
        />
        <button type="button" className="small" onClick={() => setEntries((all) => all.filter((entry) => entry.end === null))}>
          {t("console_clear")}
        </button>
      </div>
      <div className="screen" tabIndex={0} aria-live="polite">
        {entries.length === 0 && (
          <div className="welcome">
            <p>{t("console_empty")}</p>
            <p className="help">
              {t("console_hint")} <code>{view.programs.filter((program) => program !== "kubectl").join(", ")}</code>
            </p>
          </div>
        )}
        {entries.map((entry) => (
          <OneRun key={entry.id} entry={entry} filter={filter} />
        ))}
        <div ref={bottom} />
      </div>
      {view.suggestions.length > 0 && (
        <div className="suggestions" role="group" aria-label={t("try_these")}>
          {view.suggestions.map((one) => (
            <button
              key={one}
              type="button"
              onClick={() => {
                setLine(one);
                input.current?.focus();
              }}
            >
              {one}
            </button>
          ))}
        </div>
      )}
      <form className="prompt" onSubmit={submit}>
        <span aria-hidden="true">$</span>
        <input
          ref={input}
          value={line}
          onChange={(event) => setLine(event.target.value)}
          onKeyDown={keys}
          placeholder={t("console_placeholder")}
          aria-label={t("console_input")}
          autoComplete="off"
          autoCapitalize="none"
          autoCorrect="off"
          spellCheck={false}
        />
        {running ? (
          <button type="button" onClick={() => abort.current?.abort()}>
            {t("cancel")} <kbd>Esc</kbd>
          </button>
        ) : (
          <button type="submit" className="primary" disabled={!line.trim()}>
            {t("run")}
          </button>
        )}
      </form>
    </div>
  );
}

/** `running`, the exit code, or `refused` for what was not run or not to its end. */
function endOf(entry: Entry): string {
  if (entry.end === null) return "running";
  return "code" in entry.end ? String(entry.end.code) : "refused";
}

function OneRun({ entry, filter }: { entry: Entry; filter: string }) {
  const { t } = useLocale();
  const needle = filter.toLowerCase();
  let dropped = 0;
  const shown = entry.output.map((part) => {
    if (!needle) return part;
    const lines = part.text.split("\n");
    const kept = lines.filter((one) => one.toLowerCase().includes(needle));
    dropped += lines.filter(Boolean).length - kept.filter(Boolean).length;
    return { ...part, text: kept.join("\n") + (kept.length > 0 ? "\n" : "") };
  });
  return (
    <section className="run" aria-label={entry.line} data-end={endOf(entry)}>
      <p className="typed">
        <span aria-hidden="true">$</span> {entry.line}
        {entry.end === null && <span className="spin">{t("running_command")}</span>}
        {entry.end && "code" in entry.end && entry.end.code !== 0 && (
          <span className="code">
            {t("exit_code")} {entry.end.code}
          </span>
        )}
      </p>
      <pre>
        {shown.map((part, i) => (
          <span key={i} className={part.stream}>
            {part.text}
          </span>
        ))}
      </pre>
      {dropped > 0 && (
        <p className="dropped">
          {dropped} {t("hidden_lines")}
        </p>
      )}
      {entry.end && "words" in entry.end && <p className="failure">{entry.end.words}</p>}
    </section>
  );
}
