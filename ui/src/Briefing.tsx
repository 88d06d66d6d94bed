import { send } from "./api";
import { seatName, type Word, useLocale } from "./i18n";
import { Avatar, Prose, useToasts } from "./parts";
import type { DrillView, Viewer } from "./types";

const FLOW: [Word, Word][] = [
  ["m_detect", "flow_detect"],
  ["m_assign", "flow_assign"],
  ["m_mitigate", "flow_mitigate"],
  ["m_resolve", "flow_resolve"],
];

interface Props {
  viewer: Viewer;
  view: DrillView;
  /** An alert that pages is firing, though nothing was broken yet. */
  unsettled: boolean;
  refresh: () => void;
}

export function Briefing({ viewer, view, unsettled, refresh }: Props) {
  const locale = useLocale();
  const { t, pick } = locale;
  const toasts = useToasts();
  const begin = async () => {
    try {
      await send({ command: "begin" });
      refresh();
    } catch (error) {
      toasts.fail(error);
    }
  };
  const empty = view.seats.flatMap(({ seat, count }) => {
    const free = count - view.people.filter((person) => person.seat === seat).length;
    return free > 0 ? [{ seat, free }] : [];
  });
  return (
    <div className="briefing scroll" role="tabpanel" id="panel-briefing" aria-labelledby="tab-briefing">
      <p className="eyebrow">{t("briefing_title")}</p>
      <h2>{pick(view.title)}</h2>
      <p className="lead">
        <Prose text={pick(view.briefing)} />
      </p>
      {view.state === "preparing" && (
        <div className="callout" role="status">
          <strong className="spin">{t("preparing")}</strong>
          <p>{pick(view.progress) || t("preparing_help")}</p>
        </div>
      )}
      {view.state === "briefing" && unsettled && (
        <div className="callout" role="status">
          <strong className="spin">{t("unsettled")}</strong>
          <p>{t("unsettled_help")}</p>
        </div>
      )}
      {view.state === "briefing" && !unsettled && (
        <div className="callout calm">
          <strong>{t("normal_state")}</strong>
          <p>{t("normal_state_help")}</p>
        </div>
      )}
      {view.goals.length > 0 && (
        <>
          <h3>{t("goals")}</h3>
          <ul className="goals">
            {view.goals.map((goal) => (
              <li key={goal.en}>{pick(goal)}</li>
            ))}
          </ul>
        </>
      )}
      <h3>{t("flow_title")}</h3>
      <ol className="flow">
        {FLOW.map(([name, words]) => (
          <li key={name}>
            <strong>{t(name)}</strong>
            <span>{t(words)}</span>
          </li>
        ))}
      </ol>
      <h3>{t("who_is_here")}</h3>
      <ul className="people">
        {view.people.map((person) => (
          <li key={person.name}>
            <Avatar actor={person} />
            <span>
              <strong>{person.name}</strong>
              <span className="help">
                {seatName(locale, person.seat)}
                {person.npc && ` · ${t("scripted")}`}
              </span>
            </span>
          </li>
        ))}
        {empty.map(({ seat, free }) => (
          <li key={seat} className="free">
            <span className="avatar" aria-hidden="true">
              +{free}
            </span>
            <span>
              <strong>{seatName(locale, seat)}</strong>
              <span className="help">{t("open_seat")}</span>
            </span>
          </li>
        ))}
      </ul>
      {view.state === "briefing" && (
        <div className="begin">
          {viewer.host ? (
            <button type="button" className="primary" onClick={() => void begin()}>
              {t("begin")}
            </button>
          ) : (
            <p className="help">{t("begin_wait")}</p>
          )}
        </div>
      )}
    </div>
  );
}
