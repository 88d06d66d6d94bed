import { isWord, useLocale, type Word } from "../i18n";
import type { Known } from "./data";
import { Input, ListInput, Pairs, Select, Switch, Tick } from "./fields";
import { type Form, NETWORK_ACTIONS, NOBODY, POD_ACTIONS } from "./form";
import { aimedAt, TargetFields } from "./TargetFields";

interface Props {
  form: Form;
  onForm: (change: Partial<Form>) => void;
  known: Known;
}

/** What happens to the chosen pods, kind by kind. */
export function FaultFields(props: Props) {
  switch (props.form.kind) {
    case "HTTPChaos":
      return <Http {...props} />;
    case "NetworkChaos":
      return <Network {...props} />;
    case "PodChaos":
      return <Pod {...props} />;
    case "StressChaos":
      return <Stress {...props} />;
    case "TimeChaos":
      return <Time {...props} />;
  }
}

const SHAPES = [
  ["", "x_shape_none"],
  ["constant", "x_shape_constant"],
  ["jitter", "x_shape_jitter"],
  ["quantiles", "x_shape_quantiles"],
] as const satisfies [Form["delay"], Word][];

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

function Http({ form, onForm, known }: Props) {
  const { t, lang } = useLocale();
  const target = known.workloads[aimedAt(form, known)];
  const ports = target ? target.ports.map(String) : ["80", "8080"];
  const asked = known.routes.filter(({ destination }) => !target || target.workload.endsWith(`/${destination}`));
  const paths = [...new Set(asked.map(({ path }) => path.replaceAll("/:id", "/*")))];
  const share = /^\d+(\.\d+)?$/.test(form.percent) ? Math.round(Number(form.percent) * 10_000) : null;
  const shape = (delay: Form["delay"]) => onForm({ delay, latency: delay === "quantiles" || delay === "" ? "" : form.latency || "300ms", ...spread(delay) });
  return (
    <>
      <div className="x-row">
        <Select
          label={t("x_side")}
          value={form.httpTarget}
          options={[
            ["Response", t("x_side_response")],
            ["Request", t("x_side_request")],
          ]}
          onValue={(httpTarget) => onForm({ httpTarget })}
        />
        <Input label={t("x_port")} value={form.port} onValue={(port) => onForm({ port })} suggestions={ports} numeric />
      </div>
      <div className="x-row">
        <Input label={t("x_path")} value={form.path} onValue={(path) => onForm({ path })} help={t("x_path_help")} suggestions={paths} placeholder="/api/*" />
        <Select
          label={t("x_method")}
          value={form.method}
          options={[["", t("x_any")], ...METHODS.map((method) => [method, method] as const)]}
          onValue={(method) => onForm({ method })}
        />
      </div>
      <Switch label={t("x_latency")} value={form.delay} options={SHAPES.map(([one, word]) => [one, t(word)] as const)} onValue={shape} />
      {(form.delay === "constant" || form.delay === "jitter") && (
        <div className="x-row">
          <Input label={t("x_length")} value={form.latency} onValue={(latency) => onForm({ latency })} placeholder="300ms" />
          {form.delay === "jitter" && <Input label={t("x_plus_minus")} value={form.jitter} onValue={(jitter) => onForm({ jitter })} placeholder="50ms" />}
        </div>
      )}
      {form.delay === "quantiles" && (
        <Input label={t("x_quantiles")} value={form.quantiles} onValue={(quantiles) => onForm({ quantiles })} placeholder="p50=80ms,p99=1s" />
      )}
      <div className="x-row">
        <Input label={t("x_code")} value={form.replaceCode} onValue={(replaceCode) => onForm({ replaceCode })} placeholder="500" suggestions={["500", "502", "503", "429"]} numeric />
        <Input
          label={t("x_percent")}
          value={form.percent}
          onValue={(percent) => onForm({ percent })}
          help={share === null ? t("x_percent_all") : `${t("x_percent_ppm")} ${share.toLocaleString(lang)}`}
          placeholder="100"
          numeric
        />
      </div>
      <Tick label={t("x_abort")} value={form.abort} onValue={(abort) => onForm({ abort })} />
      <Pairs
        label={t("x_person")}
        value={form.headers}
        onValue={(headers) => onForm({ headers })}
        names={["x-user-name", "cookie", "user-agent"]}
        example={{ name: "x-user-name", value: "pika7" }}
      />
      <Pairs
        label={t("x_response_headers")}
        value={form.replaceHeaders}
        onValue={(replaceHeaders) => onForm({ replaceHeaders })}
        example={{ name: "server", value: "nginx-test" }}
      />
    </>
  );
}

/** The fields that only some shapes of delay have. */
function spread(delay: Form["delay"]): Pick<Form, "jitter" | "quantiles"> {
  return { jitter: delay === "jitter" ? "50ms" : "", quantiles: delay === "quantiles" ? "p50=80ms,p99=1s" : "" };
}

function Network({ form, onForm, known }: Props) {
  const { t } = useLocale();
  const choose = (networkAction: string) =>
    onForm({
      networkAction,
      latency: networkAction === "delay" ? form.latency || "100ms" : "",
      jitter: "",
      loss: networkAction === "loss" ? "10" : "",
      rate: networkAction === "bandwidth" ? "1mbps" : "",
    });
  return (
    <>
      <Switch
        label={t("x_action")}
        value={form.networkAction}
        options={NETWORK_ACTIONS.map((action) => [action, t(`x_action_${action}`)] as const)}
        onValue={choose}
      />
      {form.networkAction === "delay" && (
        <div className="x-row">
          <Input label={t("x_length")} value={form.latency} onValue={(latency) => onForm({ latency })} placeholder="100ms" />
          <Input label={t("x_plus_minus")} value={form.jitter} onValue={(jitter) => onForm({ jitter })} placeholder="20ms" />
        </div>
      )}
      {form.networkAction === "loss" && <Input label={t("x_loss")} value={form.loss} onValue={(loss) => onForm({ loss })} numeric />}
      {form.networkAction === "bandwidth" && <Input label={t("x_rate")} value={form.rate} onValue={(rate) => onForm({ rate })} placeholder="1mbps" />}
      <Select
        label={t("x_direction")}
        value={form.direction}
        options={[
          ["to", t("x_direction_to")],
          ["from", t("x_direction_from")],
          ["both", t("x_direction_both")],
        ]}
        onValue={(direction) => onForm({ direction })}
      />
      <Tick label={t("x_peer")} value={form.peer !== null} onValue={(on) => onForm({ peer: on ? { ...NOBODY, namespaces: form.namespaces } : null })} />
      {form.peer && (
        <div className="x-inner">
          <TargetFields value={form.peer} onValue={(change) => onForm({ peer: { ...(form.peer ?? NOBODY), ...change } })} known={known} />
        </div>
      )}
    </>
  );
}

function Pod({ form, onForm }: Props) {
  const { t } = useLocale();
  const name = (action: string) => {
    const word = `x_action_${action.replaceAll("-", "_")}`;
    return isWord(word) ? `${t(word)} (${action})` : action;
  };
  return (
    <>
      <Select
        label={t("x_action")}
        value={form.podAction}
        options={POD_ACTIONS.map((action) => [action, name(action)] as const)}
        onValue={(podAction) => onForm({ podAction, gracePeriod: "", containers: [] })}
      />
      {form.podAction === "pod-kill" && <Input label={t("x_grace")} value={form.gracePeriod} onValue={(gracePeriod) => onForm({ gracePeriod })} placeholder="0" numeric />}
      {form.podAction === "container-kill" && <ListInput label={t("x_containers")} value={form.containers} onValue={(containers) => onForm({ containers })} placeholder="redis" />}
    </>
  );
}

function Stress({ form, onForm }: Props) {
  const { t } = useLocale();
  return (
    <>
      <div className="x-row">
        <Input label={t("x_cpu_workers")} value={form.cpuWorkers} onValue={(cpuWorkers) => onForm({ cpuWorkers })} placeholder="1" numeric />
        <Input label={t("x_cpu_load")} value={form.cpuLoad} onValue={(cpuLoad) => onForm({ cpuLoad })} placeholder="80" numeric />
      </div>
      <div className="x-row">
        <Input label={t("x_memory_workers")} value={form.memoryWorkers} onValue={(memoryWorkers) => onForm({ memoryWorkers })} placeholder="1" numeric />
        <Input label={t("x_memory_size")} value={form.memorySize} onValue={(memorySize) => onForm({ memorySize })} placeholder="256MB" />
      </div>
    </>
  );
}

function Time({ form, onForm }: Props) {
  const { t } = useLocale();
  return (
    <div className="x-row">
      <Input label={t("x_offset")} value={form.timeOffset} onValue={(timeOffset) => onForm({ timeOffset })} help={t("x_offset_help")} placeholder="-10m" />
      <ListInput label={t("x_containers")} value={form.containers} onValue={(containers) => onForm({ containers })} />
    </div>
  );
}
