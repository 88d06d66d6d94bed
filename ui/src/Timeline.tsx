import { useMemo, useState } from "react";
import { clock, duration, useLocale } from "./i18n";
import { Prose } from "./parts";
import type { DrillEvent } from "./types";
import { condense, tell, type Told } from "./words";

/** Everything that was said and done, with the time since the drill began. */
export function Timeline({ events, startedAt }: { events: DrillEvent[]; startedAt: string | null }) {
  const locale = useLocale();
  const { t } = locale;
  const [onlyActions, setOnlyActions] = useState(false);
  const told = useMemo(
    () =>
      condense(
        events.flatMap((event) => {
          const words = tell(event, locale);
          return words ? [{ event, words }] : [];
        }),
      ),
    [events, locale],
  );
  const shown = onlyActions ? told.filter(({ event }) => event.kind === "command_run") : told;
  return (
    <div className="timeline" role="tabpanel" id="panel-timeline" aria-labelledby="tab-timeline">
      <label className="filter">
        <input type="checkbox" checked={onlyActions} onChange={(event) => setOnlyActions(event.target.checked)} />
        {t("only_actions")}
      </label>
      <ol className="scroll" tabIndex={0}>
        {shown.length === 0 && <li className="calm">{t("timeline_empty")}</li>}
        {shown.toReversed().map(({ event, words }) => (
          <TimelineLine key={event.seq} event={event} words={words} startedAt={startedAt} />
        ))}
      </ol>
    </div>
  );
}

function TimelineLine({ event, words, startedAt }: { event: DrillEvent; words: Told; startedAt: string | null }) {
  const { t } = useLocale();
  const since = startedAt ? (Date.parse(event.at) - Date.parse(startedAt)) / 1000 : -1;
  const command = event.kind === "command_run";
  return (
    <li className={`moment ${words.tone}`}>
      <time dateTime={event.at} title={clock(event.at)}>
        {clock(event.at)}
        {since >= 0 && <span>+{duration(since)}</span>}
      </time>
      <div>
        <p>
          {words.actor && <strong className="who">{words.actor.name}</strong>}
          {words.label && <span className="tag">{words.label}</span>}
          {command ? <code>{words.text}</code> : <Prose text={words.text} />}
          {command && event.exit_code !== null && event.exit_code !== 0 && (
            <span className="code">
              {t("exit_code")} {event.exit_code}
            </span>
          )}
        </p>
        {words.detail && (
          <details>
            <summary>{t("show_output")}</summary>
            <pre>{words.detail}</pre>
          </details>
        )}
      </div>
    </li>
  );
}
