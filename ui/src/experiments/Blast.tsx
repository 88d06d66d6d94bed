import { useLocale } from "../i18n";
import { shown } from "./figure";
import type { BlastRadius, Range, TargetPod, Traffic } from "./types";

const MANY = 60;

/** Who would be hit: a square for each pod, the Services that lead there, and their part of the traffic. */
export function Blast({ radius }: { radius: BlastRadius }) {
  const { t } = useLocale();
  const { selected, of, pods, services, traffic } = radius;
  if (of === 0) return <p className="x-nobody">{t("x_nobody")}</p>;
  return (
    <>
      <p className="x-count">
        <strong>{selected}</strong> / {of} <span>{t("x_pods_hit")}</span>
      </p>
      <Dots selected={selected} of={of} label={`${t("x_pods_hit")}: ${selected} / ${of}`} />
      <ul className="x-workloads">
        {grouped(pods).map(([key, some]) => (
          <li key={key}>
            <details>
              <summary>
                <span lang="en">{key}</span> <span className="x-times">×{some.length}</span>
              </summary>
              <ul lang="en">
                {some.map((pod) => (
                  <li key={pod.name}>
                    {pod.name} {pod.node && <span className="help">@{pod.node}</span>}
                  </li>
                ))}
              </ul>
            </details>
          </li>
        ))}
      </ul>
      {services.length > 0 && (
        <div className="x-services">
          <span className="help">{t("x_services")}</span>
          <ul lang="en">
            {services.map((one) => (
              <li key={`${one.namespace}/${one.name}:${one.port}`}>
                {one.name}:{one.port}
              </li>
            ))}
          </ul>
        </div>
      )}
      <Touched traffic={traffic} />
    </>
  );
}

/** How much of the traffic it would touch; what is not known says why. */
function Touched({ traffic }: { traffic: Traffic }) {
  const { t, pick } = useLocale();
  const { requests_per_second: requests, hit_per_second: hit, share, share_of_all: all, journeys, notes } = traffic;
  return (
    <div className="x-traffic">
      <span className="help">{t("x_requests")}</span>
      <strong>{hit === null ? t("x_unknown") : `${within(hit, rounded)} ${t("per_second")}`}</strong>
      {share !== null && requests !== null && (
        <>
          <meter min={0} max={1} value={share.most} aria-label={t("x_share")} />
          <span className="help">
            {t("x_of_these")} ({rounded(requests)} {t("per_second")})
          </span>
          <span>{within(share, ratio)}</span>
        </>
      )}
      {all !== null && (
        <>
          <span className="help">{t("x_share_of_all")}</span>
          <span>{within(all, ratio)}</span>
        </>
      )}
      {journeys.length > 0 && (
        <>
          <h4>{t("x_journeys_hit")}</h4>
          <ul>
            {journeys.map((one) => (
              <li key={one.journey}>
                <span>{pick(one.title)}</span> <strong>{within(one.share, ratio)}</strong>
              </li>
            ))}
          </ul>
        </>
      )}
      {notes.map((note) => (
        <p key={note.en} className="help">
          {pick(note)}
        </p>
      ))}
    </div>
  );
}

const ratio = (value: number) => shown(value, "ratio");

/** A figure within its limits; once, when both say the same. */
function within({ least, most }: Range, told: (value: number) => string): string {
  const [from, to] = [told(least), told(most)];
  return from === to ? to : `${from}–${to}`;
}

export function rounded(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

function grouped(pods: TargetPod[]): [string, TargetPod[]][] {
  const groups = new Map<string, TargetPod[]>();
  for (const pod of pods) {
    const key = `${pod.namespace}/${pod.workload}`;
    groups.set(key, [...(groups.get(key) ?? []), pod]);
  }
  return [...groups];
}

function Dots({ selected, of, label }: { selected: number; of: number; label: string }) {
  const shown = Math.min(of, MANY);
  // With too many to draw, each square stands for several.
  const hit = of <= MANY ? selected : Math.max(selected > 0 ? 1 : 0, Math.round((selected / of) * MANY));
  return (
    <div className="x-dots" role="img" aria-label={label}>
      {Array.from({ length: shown }, (_, i) => (
        <i key={i} data-hit={i < hit} />
      ))}
    </div>
  );
}
