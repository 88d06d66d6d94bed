import { useEffect, useState } from "react";
import { useLocale } from "../i18n";
import { AppFrame } from "./App";
import { type Act, type LabState, type Slot, SLOTS, type View } from "./types";

interface Props {
  state: LabState;
  view: View;
  doing: Act["do"] | null;
  act: (act: Act) => Promise<LabState | null>;
}

/** One comparison after another: A, B and X beside the real app, and the questions. */
export function Trial({ state, view, doing, act }: Props) {
  const { t, pick } = useLocale();
  const trial = view.trial;
  const offered = state.journeys.find((one) => one.journey === (trial?.journey ?? view.journeys[0]));
  const changing = doing === "show" || doing === "answer" || doing === "next";
  return (
    <main className="l-room">
      <section className="l-panel panel" aria-label={t("l_trial")}>
        <p className="l-progress">
          <strong>
            {t("l_trial")} {Math.min(view.done + 1, view.of)} / {view.of}
          </strong>
          <progress value={view.done} max={view.of} />
        </p>
        {offered && (
          <div className="l-task">
            <h2>
              {t("l_task")}: {pick(offered.title)}
            </h2>
            <p>{pick(offered.task)}</p>
          </div>
        )}
        {!trial && (
          <button type="button" className="primary wide" disabled={doing !== null} onClick={() => void act({ do: "next" })}>
            {t("l_next")}
          </button>
        )}
        {trial && (
          <>
            <Slots view={view} doing={doing} act={act} />
            <Questions key={view.done} view={view} doing={doing} act={act} />
          </>
        )}
        <button type="button" className="small l-rise" disabled={doing !== null} onClick={() => void act({ do: "rise" })}>
          {t("l_rise")}
        </button>
      </section>
      <AppFrame page={offered?.page ?? "/"} covered={changing} />
    </main>
  );
}

function Slots({ view, doing, act }: Omit<Props, "state">) {
  const { t } = useLocale();
  const trial = view.trial;
  const [wanted, setWanted] = useState<Slot | null>(null);
  useEffect(() => {
    if (doing !== "show") setWanted(null);
  }, [doing]);
  if (!trial) return null;
  const on = doing === "show" ? wanted : trial.on;
  return (
    <fieldset className="l-slots">
      <legend>{t("l_switch")}</legend>
      {SLOTS.map((slot, n) => (
        <button
          key={slot}
          type="button"
          aria-pressed={on === slot}
          disabled={doing !== null}
          onClick={() => {
            setWanted(slot);
            void act({ do: "show", slot });
          }}
        >
          <b lang="en">{slot.toUpperCase()}</b>
          <span>
            {Math.min(trial.used[n] ?? 0, 99)} / {trial.wanted} {t("l_times")}
          </span>
        </button>
      ))}
      <p className="help" role="status">
        {doing === "show" ? t("l_changing") : trial.on ? `${t("l_now")} ${trial.on.toUpperCase()}` : t("l_choose_first")}
      </p>
    </fieldset>
  );
}

function Questions({ view, doing, act }: Omit<Props, "state">) {
  const { t } = useLocale();
  const [same, setSame] = useState<Slot | null>(null);
  const [bearable, setBearable] = useState<boolean | null>(null);
  const [words, setWords] = useState("");
  const trial = view.trial;
  if (!trial) return null;
  const answering = doing === "answer";
  return (
    <form
      className="l-questions"
      onSubmit={(event) => {
        event.preventDefault();
        if (same && bearable !== null) void act({ do: "answer", x_is: same, bearable, words });
      }}
    >
      <fieldset>
        <legend>{t("l_q_same")}</legend>
        {(["a", "b"] as const).map((slot) => (
          <button key={slot} type="button" lang="en" aria-pressed={same === slot} onClick={() => setSame(slot)}>
            {slot.toUpperCase()}
          </button>
        ))}
        <span className="help">{t("l_q_guess")}</span>
      </fieldset>
      <fieldset>
        <legend>{t("l_q_bear")}</legend>
        {[true, false].map((one) => (
          <button key={String(one)} type="button" aria-pressed={bearable === one} onClick={() => setBearable(one)}>
            {t(one ? "l_yes" : "l_no")}
          </button>
        ))}
      </fieldset>
      <label>
        {t("l_q_words")}
        <input value={words} maxLength={200} onChange={(event) => setWords(event.target.value)} />
      </label>
      <button type="submit" className="primary wide" disabled={doing !== null || same === null || bearable === null}>
        {t(answering ? "l_answering" : "l_answer")}
      </button>
    </form>
  );
}
