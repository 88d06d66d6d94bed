import { useLocale } from "../i18n";
import { rounded } from "./Blast";
import { shown } from "./figure";
import type { Edge, Flow } from "./types";

const PHASES = ["before", "during", "after"] as const;
const FIGURES = [
  ["x_per_second", (flow: Flow) => rounded(flow.requests_per_second)],
  ["x_errors", ({ error_share: share }: Flow) => (share === null ? null : shown(share, "ratio"))],
  ["p50", ({ p50_s: seconds }: Flow) => (seconds === null ? null : shown(seconds, "seconds"))],
  ["p99", ({ p99_s: seconds }: Flow) => (seconds === null ? null : shown(seconds, "seconds"))],
] as const;

/** What the target's edges carried before, during and after: one row for each figure, side by side. */
export function Edges({ edges }: { edges: Edge[] }) {
  const { t } = useLocale();
  const busy = edges.filter((edge) => PHASES.some((phase) => (edge[phase]?.requests_per_second ?? 0) > 0));
  if (busy.length === 0) return <p className="calm">{t("x_no_edges")}</p>;
  return (
    <>
      <p className="help">{t("x_edges_help")}</p>
      {busy.map((edge) => (
        <table key={`${edge.source} ${edge.destination}`} className="x-flow">
          <caption lang="en">
            {edge.source} → {edge.destination}
          </caption>
          <thead>
            <tr>
              <td />
              {PHASES.map((phase) => (
                <th key={phase} scope="col">
                  {t(`x_${phase}`)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {FIGURES.map(([word, figure]) => (
              <tr key={word}>
                <th scope="row">{word === "p50" || word === "p99" ? word : t(word)}</th>
                {PHASES.map((phase) => {
                  const flow = edge[phase];
                  return (
                    <td key={phase} data-phase={phase}>
                      {(flow && figure(flow)) ?? "–"}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </>
  );
}
