import { EMPTY, type Form } from "./form";
import type { ExperimentWord } from "./words";

/** What people try first. A preset with a text of its own stands in the editor as it was printed. */
export interface Preset {
  word: ExperimentWord;
  form: Form;
  text?: string;
}

const CHIRPY: Form = { ...EMPTY, namespace: "chirpy", namespaces: ["chirpy"], mode: "all" };
const app = (name: string) => [{ name: "app", value: name }];
const SERVED = [{ name: "posting", query: "slo: chirpy/post-message/availability" }];
const NOT_TOO_FAST = [{ name: "budget", query: "burn: 14.4 slo: chirpy/post-message/availability" }];

/** The manifest of the talk "SLO策定までの道とChaosEngineeringを使った最適解の見つけ方", as its slide shows it. */
const PRINTED = `kind: HTTPChaos  # タイプを指定
apiVersion: chaos-mesh.org/v1alpha1
metadata:
  name: http-delay
spec:
  selector:  # 適用範囲の設定
    namespaces:
      - default
    labelSelectors:
      app: nginx-app
  mode: all
  target: Response  # Response or Request
  port: 80  # ポート番号
  path: '/test*'  # Pathも指定できる
  delay: 1s  # レイテンシを注入
  replace:
    code: 500  # Status Codeを変更する
    headers:
      server: nginx-test  # ヘッダを書き換え
`;

export const PRESETS: Preset[] = [
  {
    word: "x_preset_talk",
    text: PRINTED,
    form: {
      ...EMPTY,
      name: "http-delay",
      namespaces: ["default"],
      labels: app("nginx-app"),
      httpTarget: "Response",
      port: "80",
      path: "/test*",
      delay: "constant",
      latency: "1s",
      replaceCode: "500",
      replaceHeaders: [{ name: "server", value: "nginx-test" }],
    },
  },
  {
    word: "x_preset_errors",
    form: {
      ...CHIRPY,
      name: "posting-errors",
      labels: app("gateway"),
      httpTarget: "Response",
      port: "8080",
      path: "/api/posts",
      method: "POST",
      percent: "1.5",
      replaceCode: "500",
      duration: "10m",
      hypothesis: SERVED,
      guards: NOT_TOO_FAST,
    },
  },
  {
    word: "x_preset_person",
    form: {
      ...CHIRPY,
      name: "slow-update-for-one",
      labels: app("chirpy-server"),
      httpTarget: "Response",
      port: "8080",
      path: "/api/posts/*/update",
      method: "POST",
      headers: [{ name: "x-user-name", value: "pika7" }],
      delay: "constant",
      latency: "1s",
      duration: "15m",
    },
  },
  {
    word: "x_preset_redis",
    form: {
      ...CHIRPY,
      kind: "NetworkChaos",
      name: "slow-shard",
      namespaces: [],
      pods: ["chirpy/redis-cluster-2"],
      networkAction: "delay",
      direction: "to",
      latency: "100ms",
      jitter: "20ms",
      duration: "2m",
      hypothesis: SERVED,
      guards: NOT_TOO_FAST,
    },
  },
  {
    word: "x_preset_kill",
    form: { ...CHIRPY, kind: "PodChaos", name: "kill-one", labels: app("chirpy-server"), mode: "one", podAction: "pod-kill", duration: "1m", hypothesis: SERVED },
  },
  {
    word: "x_preset_cpu",
    form: {
      ...CHIRPY,
      kind: "StressChaos",
      name: "busy-cpu",
      labels: app("timeline-service"),
      mode: "one",
      cpuWorkers: "1",
      cpuLoad: "80",
      duration: "2m",
      hypothesis: [{ name: "reading", query: "slo: chirpy/read-timeline/latency" }],
      guards: [{ name: "budget", query: "burn: 14.4 slo: chirpy/read-timeline/latency" }],
    },
  },
];
