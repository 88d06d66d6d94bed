import { isWord, useLocale } from "../i18n";
import type { Known } from "./data";
import { Input, ListInput, Pairs, Select } from "./fields";
import { MODES, type Selection } from "./form";
import type { TargetWorkload } from "./types";

interface Props {
  value: Selection;
  onValue: (change: Partial<Selection>) => void;
  known: Known;
}

/** The workload that a selection is of, by its place among the known ones; -1: of none, or of more than one. */
export function aimedAt(value: Selection, { workloads }: Known): number {
  if (value.labels.length === 0) return -1;
  const fits = (one: TargetWorkload) => value.namespaces.includes(one.namespace) && value.labels.every(({ name, value }) => one.labels[name] === value);
  const found = workloads.findIndex(fits);
  return workloads.filter(fits).length === 1 ? found : -1;
}

/** A workload's own labels; without any, its pods by name. */
function named({ namespace, labels, pods }: TargetWorkload): Pick<Selection, "labels" | "pods"> {
  const all = Object.entries(labels).map(([name, value]) => ({ name, value }));
  const app = all.filter(({ name }) => name === "app" || name === "app.kubernetes.io/name");
  if (all.length === 0) return { labels: [], pods: pods.map((pod) => `${namespace}/${pod}`) };
  return { labels: app.length > 0 ? app : all, pods: [] };
}

const kindless = (workload: string) => workload.slice(workload.lastIndexOf("/") + 1);

/** Which pods: a workload that runs, or labels and names. */
export function TargetFields({ value, onValue, known }: Props) {
  const { t } = useLocale();
  const { workloads } = known;
  const near = workloads.filter((one) => value.namespaces.length === 0 || value.namespaces.includes(one.namespace));
  const chosen = aimedAt(value, known);
  const choose = (index: string) => {
    const workload = workloads[Number(index)];
    if (workload) onValue({ namespaces: [workload.namespace], ...named(workload) });
  };
  const keys = [...new Set(near.flatMap((one) => Object.keys(one.labels)))];
  return (
    <>
      {workloads.length > 0 && (
        <Select
          label={t("x_workload")}
          value={chosen < 0 ? "" : String(chosen)}
          options={[
            ...(chosen < 0 ? [["", t("x_workload_choose")] as const] : []),
            ...workloads.map((one, i) => [String(i), `${one.namespace} / ${kindless(one.workload)} (${one.pods.length})`] as const),
          ]}
          onValue={choose}
        />
      )}
      <ListInput
        label={t("x_namespaces")}
        value={value.namespaces}
        onValue={(namespaces) => onValue({ namespaces })}
        suggestions={known.namespaces}
        placeholder="chirpy"
      />
      <Pairs
        label={t("x_labels")}
        value={value.labels}
        onValue={(labels) => onValue({ labels })}
        names={keys}
        values={[...new Set(near.flatMap((one) => Object.values(one.labels)))]}
        example={{ name: "app", value: "post-service" }}
      />
      <ListInput
        label={t("x_pods")}
        value={value.pods}
        onValue={(pods) => onValue({ pods })}
        help={t("x_pods_help")}
        suggestions={near.flatMap((one) => one.pods.map((pod) => `${one.namespace}/${pod}`))}
        placeholder="chirpy/redis-cluster-2"
      />
      <div className="x-row">
        <Select
          label={t("x_mode")}
          value={value.mode}
          options={MODES.map((mode) => {
            const word = `x_mode_${mode.replaceAll("-", "_")}`;
            return [mode, isWord(word) ? t(word) : mode] as const;
          })}
          onValue={(mode) => onValue({ mode, value: mode === "all" || mode === "one" ? "" : value.value || "1" })}
        />
        {value.mode !== "all" && value.mode !== "one" && (
          <Input label={t("x_value")} value={value.value} onValue={(text) => onValue({ value: text })} numeric />
        )}
      </div>
    </>
  );
}
