import { useEffect, type ReactNode } from "react";
import { seatName, useLocale } from "./i18n";
import { LangSwitch, Logo, ThemeSwitch } from "./parts";
import type { Lang, Viewer } from "./types";

interface Props {
  viewer: Viewer;
  title: ReactNode;
  lang: Lang;
  onLang: (lang: Lang) => void;
  /** What the way back to the war room is called. */
  back: string;
  /** Between the title and the tools. */
  nav?: ReactNode;
  /** Tools of the page's own. */
  children?: ReactNode;
}

/** The head of a page beside the war room. */
export function PageTop({ viewer, title, lang, onLang, back, nav, children }: Props) {
  const locale = useLocale();
  return (
    <header className="top">
      <Logo />
      <div className="title">
        <h1>{title}</h1>
        <p>
          <span className="me">
            {viewer.name} · {seatName(locale, viewer.seat)}
          </span>
        </p>
      </div>
      {nav}
      <div className="tools">
        {children}
        <a className="button" href="/">
          {back}
        </a>
        <LangSwitch lang={lang} onLang={onLang} />
        <ThemeSwitch />
      </div>
    </header>
  );
}

/** The browser tab's title for as long as the page is there. */
export function useTitle(title: string) {
  useEffect(() => {
    const before = document.title;
    document.title = `${title} · Hikeshi`;
    return () => {
      document.title = before;
    };
  }, [title]);
}
