import { clock, useLocale } from "../i18n";
import { Prose } from "../parts";
import type { Experiment, PodRecord } from "./types";

/** Pod by pod: hit when, and whole again when. */
export function Records({ records }: { records: PodRecord[] }) {
  const { t } = useLocale();
  if (records.length === 0) return <p className="calm">{t("x_no_records")}</p>;
  const state = (record: PodRecord) => {
    if (record.recovered_at) return ["good", t("x_recovered")] as const;
    if (record.injected_at) return ["hit", t("x_injected")] as const;
    return record.message ? (["bad", t("x_not_injected")] as const) : (["unknown", t("x_waiting")] as const);
  };
  return (
    <ul className="x-records">
      {records.map((record) => {
        const [tone, word] = state(record);
        return (
          <li key={`${record.pod} ${record.container}`} data-state={tone}>
            <span className="x-mark">{word}</span>
            <span lang="en" className="x-pod">
              {record.pod}
              {record.container && ` (${record.container})`}
            </span>
            <span className="help">
              {record.injected_at && clock(record.injected_at)}
              {record.recovered_at && `–${clock(record.recovered_at)}`}
            </span>
            {record.message && (
              <p className="failure" lang="en">
                {record.message}
              </p>
            )}
          </li>
        );
      })}
    </ul>
  );
}

export function Events({ events }: { events: Experiment["events"] }) {
  const { pick } = useLocale();
  return (
    <ol className="x-events">
      {events.map((event, i) => (
        <li key={i}>
          <time>{clock(event.at)}</time>
          <p>
            <Prose text={pick(event.text)} />
          </p>
        </li>
      ))}
    </ol>
  );
}
