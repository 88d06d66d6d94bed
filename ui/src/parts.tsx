import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import { ApiError } from "./api";
import { type Locale, seatName, useLocale } from "./i18n";
import { storedTheme, storeTheme, type Theme } from "./theme";
import type { Actor, Lang } from "./types";

/** The crest: a flame in a town firefighter's red. */
export function Logo() {
  return <img className="logo" src="/favicon.svg" alt="" width="28" height="28" />;
}

/** A page that has one thing to say. */
export function Notice({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <main className="notice">
      <Logo />
      <h1>{title}</h1>
      {children && <p>{children}</p>}
    </main>
  );
}

/** A person's mark: always the same colour for the same name. */
export function Avatar({ actor }: { actor: Actor }) {
  let hash = 0;
  for (const c of actor.name) hash = (hash * 31 + c.charCodeAt(0)) % 997;
  return (
    <span className="avatar" data-tone={hash % 8} aria-hidden="true">
      {actor.name.slice(0, 2)}
    </span>
  );
}

/** Text in which `this` is code. */
export function Prose({ text }: { text: string }) {
  return text.split(/`([^`\n]+)`/).map((part, i) => (i % 2 === 1 ? <code key={i}>{part}</code> : part));
}

export function Person({ actor }: { actor: Actor }) {
  const locale = useLocale();
  return (
    <>
      <strong className="who">{actor.name}</strong>{" "}
      <span className="seat">
        {seatName(locale, actor.seat)}
        {actor.npc && ` · ${locale.t("scripted")}`}
      </span>
    </>
  );
}

export function LangSwitch({ lang, onLang }: { lang: Lang; onLang: (lang: Lang) => void }) {
  const { t } = useLocale();
  return (
    <div className="segmented" role="group" aria-label={t("language")}>
      {(["ja", "en"] as const).map((one) => (
        <button key={one} type="button" lang={one} aria-pressed={lang === one} onClick={() => onLang(one)}>
          {one === "ja" ? "日本語" : "EN"}
        </button>
      ))}
    </div>
  );
}

const THEMES: Theme[] = ["auto", "light", "dark"];
const THEME_SIGNS: Record<Theme, string> = { auto: "◐", light: "☀", dark: "☾" };

export function ThemeSwitch() {
  const { t } = useLocale();
  const [theme, setTheme] = useState(storedTheme);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
  const label = `${t("theme")}: ${t(`theme_${theme}`)}`;
  return (
    <button
      type="button"
      className="icon"
      title={label}
      aria-label={label}
      onClick={() => {
        storeTheme(next);
        setTheme(next);
      }}
    >
      {THEME_SIGNS[theme]}
    </button>
  );
}

/** A failure's own words, in the reader's language where it has them. */
export function wordsOf(error: unknown, { lang }: Locale): string {
  return error instanceof ApiError && lang === "ja" ? error.ja : String((error as Error).message ?? error);
}

interface Toasts {
  say: (words: string) => void;
  /** Shows a failure's own words. */
  fail: (error: unknown) => void;
}

const ToastContext = createContext<Toasts>({ say: () => undefined, fail: () => undefined });
export const useToasts = () => useContext(ToastContext);

export function ToastProvider({ children }: { children: ReactNode }) {
  const locale = useLocale();
  const [shown, setShown] = useState<{ id: number; words: string; bad: boolean }[]>([]);
  const show = useCallback((words: string, bad: boolean) => {
    const id = Date.now() + Math.random();
    setShown((before) => [...before.slice(-2), { id, words, bad }]);
    setTimeout(() => setShown((before) => before.filter((toast) => toast.id !== id)), bad ? 8000 : 3500);
  }, []);
  const toasts = useMemo<Toasts>(
    () => ({
      say: (words) => show(words, false),
      fail: (error) => show(wordsOf(error, locale), true),
    }),
    [show, locale],
  );
  return (
    <ToastContext value={toasts}>
      {children}
      <div className="toasts" role="status" aria-live="polite">
        {shown.map((toast) => (
          <p key={toast.id} className={toast.bad ? "toast bad" : "toast"}>
            {toast.words}
          </p>
        ))}
      </div>
    </ToastContext>
  );
}
