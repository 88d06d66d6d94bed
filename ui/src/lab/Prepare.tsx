import { useState } from "react";
import { Link } from "../experiments/route";
import { useLocale } from "../i18n";
import { resultPath } from "./Page";
import type { Act, Kind, LabState, Mode, Who } from "./types";

interface Props {
  state: LabState;
  host: boolean;
  doing: Act["do"] | null;
  act: (act: Act) => Promise<LabState | null>;
}

const LEVELS: Record<Kind, string> = { latency: "1s", availability: "1.5%" };

/** Before anybody sits in a lab: preparing one, or sitting down in one that is ready. */
export function Prepare({ state, host, doing, act }: Props) {
  const { t } = useLocale();
  return (
    <main className="l-before">
      <p className="l-lead">{t("l_lead")}</p>
      {state.on ? <Ready state={state} doing={doing} act={act} /> : host ? <Form state={state} doing={doing} act={act} /> : <p className="panel l-card">{t("l_only_host")}</p>}
      <PastLabs state={state} />
    </main>
  );
}

function Ready({ state, doing, act }: Omit<Props, "host">) {
  const { t, pick } = useLocale();
  const on = state.on;
  if (!on) return null;
  const titles = state.journeys.filter((one) => on.journeys.includes(one.journey)).map((one) => pick(one.title));
  return (
    <section className="panel l-card">
      <h2>{on.person ? `${t("l_taken")}: ${on.person}` : t("l_ready")}</h2>
      <p className="l-what">
        {titles.join(" · ")} · {t(`l_${on.kind}`)}
        {on.people_before > 0 && ` · ${t("l_people_before")}: ${on.people_before}`}
      </p>
      <p>{on.person ? t("l_taken_help") : t("l_ready_help")}</p>
      {!on.person && (
        <button type="button" className="primary wide" disabled={doing !== null} onClick={() => void act({ do: "sit" })}>
          {t("l_sit")}
        </button>
      )}
    </section>
  );
}

function Form({ state, doing, act }: Omit<Props, "host">) {
  const { t, pick } = useLocale();
  const [journey, setJourney] = useState(state.journeys[0]?.journey ?? "");
  const [kind, setKind] = useState<Kind>("latency");
  const [mode, setMode] = useState<Mode>("blind");
  const [who, setWho] = useState<Who>("person");
  const [trials, setTrials] = useState(12);
  const [levels, setLevels] = useState(LEVELS);
  const [normal, setNormal] = useState("");
  const chosen = state.journeys.find((one) => one.journey === journey);
  const opening = doing === "start";
  const open = () =>
    act({ do: "start", journeys: [journey], kind, mode, who, trials, normal, levels: mode === "feel" ? [levels[kind]] : [] });
  return (
    <form
      className="panel l-card l-form"
      onSubmit={(event) => {
        event.preventDefault();
        void open();
      }}
    >
      <h2>{t("l_prepare")}</h2>
      <label>
        {t("l_journey")}
        <select value={journey} onChange={(event) => setJourney(event.target.value)}>
          {state.journeys.map((one) => (
            <option key={one.journey} value={one.journey}>
              {pick(one.title)}
            </option>
          ))}
        </select>
      </label>
      {chosen && (
        <p className="help">
          {t("l_promised")}: {chosen.promised.map(pick).join(" · ")} — {t("l_owner")}: <span lang="en">{chosen.owner}</span>
        </p>
      )}
      <Choice legend={t("l_kind")} value={kind} onChange={setKind} options={[["latency", t("l_latency")], ["availability", t("l_availability")]]} />
      <Choice legend={t("l_how")} value={mode} onChange={setMode} options={[["blind", t("l_blind")], ["feel", t("l_feel")]]} />
      <p className="help">{t(mode === "blind" ? "l_blind_help" : "l_feel_help")}</p>
      {mode === "blind" ? (
        <label>
          {t("l_trials")}
          <input type="number" min={1} max={60} value={trials} onChange={(event) => setTrials(Number(event.target.value))} />
        </label>
      ) : (
        <label>
          {t("l_level")}
          <input value={levels[kind]} spellCheck={false} onChange={(event) => setLevels({ ...levels, [kind]: event.target.value })} />
          <span className="help">{t(`l_level_help_${kind}`)}</span>
          {kind === "availability" && (
            <span className="l-presets">
              {chosen?.presets.map((preset) => (
                <button key={preset.name} type="button" className="small" title={pick(preset.words)} onClick={() => setLevels({ ...levels, availability: preset.name })}>
                  <span lang="en">{preset.name}</span>
                </button>
              ))}
            </span>
          )}
        </label>
      )}
      <Choice legend={t("l_who")} value={who} onChange={setWho} options={[["person", t("l_person")], ["everybody", t("l_everybody")]]} />
      <label>
        {t("l_normal")}
        <input value={normal} spellCheck={false} onChange={(event) => setNormal(event.target.value)} />
        <span className="help">{t("l_normal_help")}</span>
      </label>
      <button type="submit" className="primary wide" disabled={doing !== null || journey === ""}>
        {t(opening ? "l_opening" : "l_open")}
      </button>
    </form>
  );
}

interface ChoiceProps<T extends string> {
  legend: string;
  value: T;
  onChange: (value: T) => void;
  options: [T, string][];
}

function Choice<T extends string>({ legend, value, onChange, options }: ChoiceProps<T>) {
  return (
    <fieldset className="l-choice">
      <legend>{legend}</legend>
      {options.map(([one, words]) => (
        <label key={one} data-chosen={one === value}>
          <input type="radio" name={legend} checked={one === value} onChange={() => onChange(one)} />
          {words}
        </label>
      ))}
    </fieldset>
  );
}

function PastLabs({ state }: { state: LabState }) {
  const { t, pick, lang } = useLocale();
  const when = new Intl.DateTimeFormat(lang, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const title = (journey: string) => {
    const known = state.journeys.find((one) => one.journey === journey);
    return known ? pick(known.title) : journey;
  };
  return (
    <section className="panel l-card">
      <h2>{t("l_past")}</h2>
      {state.past.length === 0 && <p className="calm">{t("l_no_past")}</p>}
      <ul className="l-past">
        {state.past.map((past) => (
          <li key={past.id}>
            <Link to={resultPath(past.id)}>
              {past.journeys.map(title).join(" · ")} · {t(`l_${past.kind}`)}
            </Link>
            <span className="help">
              {when.format(new Date(past.at))} {past.people.join(", ")}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
