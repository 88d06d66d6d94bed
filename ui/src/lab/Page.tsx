import { useEffect, useRef } from "react";
import { mayExperiment } from "../experiments/Page";
import { go, Link, usePath } from "../experiments/route";
import { useLocale } from "../i18n";
import { PageTop, useTitle } from "../PageTop";
import { useToasts } from "../parts";
import type { Lang, Viewer } from "../types";
import { useLab } from "./data";
import { Feel } from "./Feel";
import { Prepare } from "./Prepare";
import { Results } from "./Results";
import { Trial } from "./Trial";
import type { Act, LabState } from "./types";

interface Props {
  viewer: Viewer;
  lang: Lang;
  onLang: (lang: Lang) => void;
}

export const resultPath = (id: string) => `/lab/${encodeURIComponent(id)}`;

export function LabPage({ viewer, lang, onLang }: Props) {
  const { t } = useLocale();
  const toasts = useToasts();
  const lab = useLab();
  const { state, doing } = lab;
  const path = usePath();
  const shown = decodeURIComponent(/^\/lab\/([^/]+)/.exec(path)?.[1] ?? "");
  const host = mayExperiment(viewer);

  // Whoever was in a lab when it ended sees at once what came out.
  const inLab = useRef<string | null>(null);
  const on = state?.on ?? null;
  useEffect(() => {
    if (!state) return;
    const over = inLab.current !== null && on?.id !== inLab.current ? inLab.current : null;
    inLab.current = on && (state.mine || on.mode === "feel") ? on.id : null;
    if (over && state.past.some((past) => past.id === over)) go(resultPath(over));
  }, [state, on]);
  useTitle(t("l_title"));

  const act = async (wanted: Act): Promise<LabState | null> => {
    try {
      return await lab.act(wanted);
    } catch (error) {
      toasts.fail(error);
      return null;
    }
  };
  const inside = on && (state?.mine || on.mode === "feel") && shown === "";
  return (
    <div className="l-page" data-inside={Boolean(inside)}>
      <PageTop
        viewer={viewer}
        title={
          <Link to="/lab" className="plain">
            {t("l_title")}
          </Link>
        }
        lang={lang}
        onLang={onLang}
        back={t("l_war_room")}
      >
        {on && (host || state?.mine) && (
          <button
            type="button"
            disabled={doing !== null}
            onClick={() => {
              if (window.confirm(t("l_stop_confirm"))) void act({ do: "stop" });
            }}
          >
            {t("l_stop")}
          </button>
        )}
      </PageTop>
      {lab.error !== null && (
        <p className="banner" role="status">
          {t("reconnecting")}
        </p>
      )}
      {shown !== "" && <Results id={shown} host={host} act={act} />}
      {shown === "" && state && !inside && <Prepare state={state} host={host} doing={doing} act={act} />}
      {inside && state && on.mode === "blind" && <Trial state={state} view={on} doing={doing} act={act} />}
      {inside && state && on.mode === "feel" && <Feel state={state} view={on} host={host} doing={doing} act={act} />}
    </div>
  );
}
