import { useEffect, useMemo, useState } from "react";
import { get } from "./api";
import { BudgetPage } from "./budget/Page";
import { ExperimentsPage } from "./experiments/Page";
import { usePath } from "./experiments/route";
import { initialLang, LocaleContext, makeLocale } from "./i18n";
import { Join } from "./Join";
import { LabPage } from "./lab/Page";
import { Notice, ToastProvider } from "./parts";
import type { Lang, Session } from "./types";
import { WarRoom } from "./WarRoom";

export function App() {
  const [session, setSession] = useState<Session | null>(null);
  const [skew, setSkew] = useState(0);
  const [lang, setLang] = useState<Lang>(() => initialLang("en"));
  const [token, setToken] = useState(() => /^\/join\/([^/]+)$/.exec(location.pathname)?.[1] ?? null);
  const locale = useMemo(() => makeLocale(lang), [lang]);
  const path = usePath();
  const experiments = /^\/experiments(\/|$)/.test(path);
  const budgets = /^\/budgets(\/|$)/.test(path);
  const lab = /^\/lab(\/|$)/.test(path);

  const load = async () => {
    const before = Date.now();
    const answer = await get<Session>("/api/session");
    setSkew(Date.parse(answer.now) - (before + Date.now()) / 2);
    setLang(initialLang(answer.lang_default));
    setSession(answer);
  };
  useEffect(() => {
    void load();
  }, []);
  useEffect(() => {
    document.documentElement.lang = lang;
  }, [lang]);

  const chooseLang = (next: Lang) => {
    localStorage.setItem("hikeshi.lang", next);
    setLang(next);
  };
  const joined = () => {
    history.replaceState(null, "", "/");
    setToken(null);
    void load();
  };

  let page = <Notice title={locale.t("loading")} />;
  if (session && token) page = <Join token={token} before={session.viewer} onJoined={joined} lang={lang} onLang={chooseLang} />;
  else if (session?.viewer && experiments) page = <ExperimentsPage viewer={session.viewer} skew={skew} lang={lang} onLang={chooseLang} />;
  else if (session?.viewer && budgets) page = <BudgetPage viewer={session.viewer} lang={lang} onLang={chooseLang} />;
  else if (session?.viewer && lab) page = <LabPage viewer={session.viewer} lang={lang} onLang={chooseLang} />;
  else if (session?.viewer)
    page = (
      <WarRoom
        viewer={session.viewer}
        skew={skew}
        lang={lang}
        onLang={chooseLang}
        onExpired={() => setSession({ ...session, viewer: null })}
      />
    );
  else if (session) page = <Notice title={locale.t("no_session")}>{locale.t("no_session_help")}</Notice>;
  return (
    <LocaleContext value={locale}>
      <ToastProvider>{page}</ToastProvider>
    </LocaleContext>
  );
}
