import { isWord, useLocale } from "../i18n";
import type { Known } from "./data";
import { Input, ListInput, Pairs, Select } from "./fields";
import { MODES, type Selection } from "./form";

interface Props {
  value: Selection;
  onValue: (change: Partial<Selection>) => void;
  known: Known;
}

const kindless = (workload: string) => workload.slice(workload.lastIndexOf("/") + 1);

/** Which pods: a workload that runs, or labels and names. */
export function TargetFields({ value, onValue, known }: Props) {
  const { t } = useLocale();
  const app = value.labels.find((pair) => pair.name === "app")?.value;
  const { workloads } = known;
  const near = workloads.filter((one) => value.namespaces.length === 0 || value.namespaces.includes(one.namespace));
  const chosen = workloads.findIndex((one) => kindless(one.workload) === app && value.namespaces.includes(one.namespace));
  const choose = (index: string) => {
    const workload = workloads[Number(index)];
    if (workload) onValue({ namespaces: [workload.namespace], labels: [{ name: "app", value: kindless(workload.workload) }], pods: [] });
  };
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
        names={["app"]}
        values={[...new Set(near.map((one) => kindless(one.workload)))]}
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
