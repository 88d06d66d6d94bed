import { useEffect, useRef, useState } from "react";
import { remove } from "../api";
import { clock, duration, useLocale } from "../i18n";
import { Notice, Prose, useToasts, wordsOf } from "../parts";
import { Chart } from "./Chart";
import { Commands, save, useCopy } from "./Commands";
import { experimentPath, useExperiment } from "./data";
import { Edges } from "./Edges";
import { lasts, span } from "./duration";
import { lifted, shown } from "./figure";
import { Events, Records } from "./Records";
import type { Experiment } from "./types";
import { Outcome } from "./Verdict";

interface Props {
  id: string;
  now: number;
  onAgain: (manifest: string) => void;
}

const PHASES = ["pending", "injecting", "running", "recovering", "ended"] as const;

/** One experiment as it runs, and what came out of it. */
export function Watch({ id, now, onAgain }: Props) {
  const locale = useLocale();
  const { t } = locale;
  const { answer, error, again } = useExperiment(id);
  if (!answer && error) return <Notice title={t("x_not_found")}>{wordsOf(error, locale)}</Notice>;
  if (!answer) return <Notice title={t("loading")} />;
  return <Shown experiment={answer} now={now} lost={error !== null} refresh={again} onAgain={onAgain} />;
}

interface ShownProps {
  experiment: Experiment;
  now: number;
  lost: boolean;
  refresh: () => void;
  onAgain: (manifest: string) => void;
}

function Shown({ experiment, now, lost, refresh, onAgain }: ShownProps) {
  const { t, pick } = useLocale();
  const copy = useCopy();
  const began = Date.parse(experiment.started_at) / 1000;
  const { name, namespace, kind, manifest } = experiment;
  const head = useRef<HTMLElement>(null);
  // Whoever pressed "start" goes on from here.
  useEffect(() => head.current?.focus({ preventScroll: true }), []);
  return (
    <div className="x-watch">
      {lost && (
        <p className="banner" role="status">
          {t("reconnecting")}
        </p>
      )}
      <section className="panel x-head" ref={head} tabIndex={-1}>
        <div className="x-who">
          <p className="eyebrow">
            <span lang="en">{kind}</span>
          </p>
          <h2 lang="en">
            <span className="x-dim">{namespace}/</span>
            {name}
          </h2>
          <p>
            <Prose text={pick(experiment.sentence)} />
          </p>
          <p className="help">
            {t("x_by")} {experiment.by} · {t("x_started")} {clock(experiment.started_at)}
            {experiment.ended_at && ` · ${t("x_ended")} ${clock(experiment.ended_at)}`}
          </p>
        </div>
        <Lease experiment={experiment} now={now} />
        <div className="x-deeds">
          {experiment.phase === "ended" ? (
            <button type="button" className="primary" onClick={() => onAgain(manifest)}>
              {t("x_again")}
            </button>
          ) : (
            <StopButton experiment={experiment} refresh={refresh} />
          )}
        </div>
        <ol className="x-phases" aria-label={t("x_phase")}>
          {PHASES.map((phase, i) => (
            <li key={phase} aria-current={phase === experiment.phase ? "step" : undefined} data-done={i < PHASES.indexOf(experiment.phase)}>
              {t(`x_phase_${phase}`)}
            </li>
          ))}
        </ol>
      </section>
      <Outcome experiment={experiment} />
      <div className="x-columns">
        <section className="panel x-figures" aria-label={t("x_figures")}>
          <h2>{t("x_figures")}</h2>
          {experiment.figures.length === 0 && <p className="calm">{t("x_no_figures")}</p>}
          {experiment.figures.map((figure, i) => (
            <Chart key={i} figure={figure} from={began} to={lifted(experiment)} now={now / 1000} />
          ))}
          <h2>{t("x_edges")}</h2>
          <Edges edges={experiment.edges} />
        </section>
        <div className="x-side">
          <section className="panel" aria-label={t("x_checks")}>
            <h2>{t("x_checks")}</h2>
            {experiment.checks.length === 0 && <p className="calm">{t("x_verdict_none_help")}</p>}
            <Checks experiment={experiment} />
          </section>
          <section className="panel" aria-label={t("x_records")}>
            <h2>{t("x_records")}</h2>
            <Records records={experiment.records} />
          </section>
          <section className="panel" aria-label={t("x_events")}>
            <h2>{t("x_events")}</h2>
            <Events events={experiment.events} />
          </section>
          <section className="panel" aria-label={t("x_manifest")}>
            <h2>
              {t("x_manifest")}
              <span className="tools">
                <button type="button" className="small" onClick={() => save(name, manifest)}>
                  {t("x_save")}
                </button>
                <button type="button" className="small" onClick={() => copy(manifest)}>
                  {t("x_copy_manifest")}
                </button>
              </span>
            </h2>
            <pre className="x-applied">{manifest}</pre>
            <Commands name={name} namespace={namespace} kind={kind} />
          </section>
        </div>
      </div>
    </div>
  );
}

/** How long it has run, and how long it may yet. */
function Lease({ experiment, now }: { experiment: Experiment; now: number }) {
  const { t, lang } = useLocale();
  const began = Date.parse(experiment.started_at);
  const whole = lasts(experiment.manifest);
  if (experiment.ended_at) {
    const took = (Date.parse(experiment.ended_at) - began) / 1000;
    return (
      <p className="x-lease">
        <time>{duration(Math.round(took))}</time>
        <span>{t("x_took")}</span>
      </p>
    );
  }
  const gone = Math.max(0, (now - began) / 1000);
  if (whole === null)
    return (
      <p className="x-lease">
        <time>{duration(gone)}</time>
        <span>
          {t("x_lasted")} · {t("x_until_stopped")}
        </span>
      </p>
    );
  const left = Math.max(0, whole - gone);
  return (
    <p className="x-lease">
      <time>{duration(Math.ceil(left))}</time>
      <span>
        {t("x_left")} / {span(whole, lang)}
      </span>
      <progress max={whole} value={Math.min(gone, whole)} aria-label={t("x_lasted")} />
    </p>
  );
}

function StopButton({ experiment, refresh }: { experiment: Experiment; refresh: () => void }) {
  const { t } = useLocale();
  const toasts = useToasts();
  const [asked, setAsked] = useState(false);
  const stopping = asked || experiment.phase === "recovering";
  const stop = async () => {
    setAsked(true);
    try {
      await remove(experimentPath(experiment.id));
      refresh();
    } catch (error) {
      setAsked(false);
      toasts.fail(error);
    }
  };
  // No question before it: stopping is always safe, and may be urgent.
  return (
    <button type="button" className="x-stop" disabled={stopping} onClick={() => void stop()}>
      {stopping ? t("x_stopping") : `■ ${t("x_stop")}`}
    </button>
  );
}

function Checks({ experiment }: { experiment: Experiment }) {
  const { t } = useLocale();
  const unit = (name: string) => experiment.figures.find((figure) => figure.name === name)?.unit ?? "";
  return (
    <ul className="x-checks">
      {experiment.checks.map((check) => {
        const state = check.holds === null ? "unknown" : check.holds ? "good" : "bad";
        const guard = check.role === "guard";
        const word = state === "unknown" ? (experiment.phase === "ended" ? "x_unknown" : "x_watching") : guard ? (state === "bad" ? "x_trips" : "x_quiet") : state === "bad" ? "x_fails" : "x_holds";
        const figure = (value: number | null) => (value === null ? "–" : shown(value, unit(check.name)));
        return (
          <li key={`${check.role} ${check.name}`} data-state={state}>
            <p>
              <span className="x-mark">{t(word)}</span>
              <strong lang="en">{check.name}</strong>
              <span className="help">{t(guard ? "x_role_guard" : "x_role_hypothesis")}</span>
            </p>
            <dl>
              <div>
                <dt>{t("x_before")}</dt>
                <dd>{figure(check.before)}</dd>
              </div>
              <div>
                <dt>{t("x_during")}</dt>
                <dd>{figure(check.during)}</dd>
              </div>
              <div>
                <dt>{t("x_after")}</dt>
                <dd>{figure(check.after)}</dd>
              </div>
            </dl>
            <code>{check.query}</code>
          </li>
        );
      })}
    </ul>
  );
}
