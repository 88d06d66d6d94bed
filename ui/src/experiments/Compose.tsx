import { useEffect, useRef, useState } from "react";
import { useLocale } from "../i18n";
import { CheckFields } from "./CheckFields";
import { Commands, save, useCopy } from "./Commands";
import { type Known, refusedFor, start, usePreview } from "./data";
import type { Draft } from "./draft";
import { Editor, goTo } from "./Editor";
import { FaultFields } from "./FaultFields";
import { Input, Select, Tick } from "./fields";
import { KINDS, turnedInto } from "./form";
import { PreviewPanel } from "./PreviewPanel";
import { manifest } from "./manifest";
import { PRESETS } from "./presets";
import { StartBar } from "./StartBar";
import { TargetFields } from "./TargetFields";
import type { Problem } from "./types";

interface Props {
  draft: Draft;
  known: Known;
  onStarted: (id: string) => void;
}

/** The form, the manifest that it writes, and what that would do. */
export function Compose({ draft, known, onStarted }: Props) {
  const { t } = useLocale();
  const copy = useCopy();
  const previewed = usePreview(draft.text);
  const [starting, setStarting] = useState(false);
  // Why a text was not started; it stands until the text is another.
  const [refused, setRefused] = useState<{ of: string; problems: Problem[]; error: unknown } | null>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const here = useRef(true);
  useEffect(() => {
    here.current = true;
    return () => {
      here.current = false;
    };
  }, []);
  const turnedDown = refused?.of === draft.text ? refused : null;
  const problems = turnedDown && turnedDown.problems.length > 0 ? turnedDown.problems : (previewed.preview?.problems ?? []);
  const { name, namespace, kind } = draft.form;
  const once = kind === "PodChaos" && draft.form.podAction !== "pod-failure";

  const begin = async () => {
    setStarting(true);
    setRefused(null);
    try {
      const id = await start(draft.text);
      if (here.current) onStarted(id);
    } catch (error) {
      if (here.current) setRefused({ of: draft.text, problems: refusedFor(error), error });
    } finally {
      if (here.current) setStarting(false);
    }
  };

  return (
    <div className="x-compose">
      <section className="panel x-form" aria-label={t("x_compose")}>
        <Presets draft={draft} />
        {draft.beyond !== null && (
          <div className="x-caution" role="status">
            <p>
              {t("x_beyond")} <code>{draft.beyond}</code>
            </p>
            <button type="button" className="small" onClick={() => draft.onWholeForm(draft.form)}>
              {t("x_back_to_form")}
            </button>
          </div>
        )}
        <FormSections draft={draft} known={known} />
      </section>
      <section className="panel x-manifest" aria-label={t("x_manifest")}>
        <header>
          <h2>{t("x_manifest")}</h2>
          <div className="tools">
            <button type="button" className="small" onClick={() => save(name, draft.text)}>
              {t("x_save")}
            </button>
            <button type="button" className="small" onClick={() => copy(draft.text)}>
              {t("copy")}
            </button>
          </div>
          <p className="help">{t("x_manifest_help")}</p>
        </header>
        <Editor text={draft.text} onText={draft.onText} problems={problems} area={area} />
        <Commands name={name} namespace={namespace} kind={draft.form.scheduled ? "Schedule" : kind} />
      </section>
      <section className="panel x-before" aria-label={t("x_preview")}>
        <PreviewPanel previewed={previewed} problems={problems} headers={draft.form.headers.filter((pair) => pair.name !== "")} onProblem={(problem) => goTo(area.current, problem)} />
      </section>
      <StartBar previewed={previewed} problems={problems.length} starting={starting} once={once} failure={turnedDown?.error ?? null} onStart={() => void begin()} />
    </div>
  );
}

function Presets({ draft }: { draft: Draft }) {
  const { t } = useLocale();
  return (
    <div className="x-presets" role="group" aria-label={t("x_presets")}>
      <h2>{t("x_presets")}</h2>
      <div>
        {PRESETS.map(({ word, form, text }) => (
          <button
            key={word}
            type="button"
            className="small"
            aria-pressed={draft.text === (text ?? manifest(form))}
            onClick={() => draft.onWholeForm(form, text)}
          >
            {t(word)}
          </button>
        ))}
      </div>
    </div>
  );
}

function FormSections({ draft, known }: { draft: Draft; known: Known }) {
  const { t } = useLocale();
  const { form, onForm, onWholeForm } = draft;
  return (
    <fieldset className="x-sections" disabled={draft.beyond !== null}>
      <fieldset className="x-section">
        <legend>{t("x_what")}</legend>
        <Select label={t("x_kind")} value={form.kind} options={KINDS.map((kind) => [kind, `${kind}: ${t(`x_kind_${kind}`)}`] as const)} onValue={(kind) => onWholeForm(turnedInto(form, kind))} />
        <div className="x-row x-first-wider">
          <Input label={t("x_name")} value={form.name} onValue={(name) => onForm({ name })} placeholder="http-delay" />
          <Input label={t("x_namespace")} value={form.namespace} onValue={(namespace) => onForm({ namespace })} suggestions={known.namespaces} placeholder={known.default_namespace} />
        </div>
        <FaultFields form={form} onForm={onForm} known={known} />
      </fieldset>
      <fieldset className="x-section">
        <legend>{t("x_where")}</legend>
        <TargetFields value={form} onValue={onForm} known={known} />
      </fieldset>
      <fieldset className="x-section">
        <legend>{t("x_when")}</legend>
        <Input label={t("x_duration")} value={form.duration} onValue={(duration) => onForm({ duration })} help={t("x_duration_help")} suggestions={["30s", "2m", "10m", "30m"]} />
        <Tick
          label={t("x_repeat")}
          value={form.scheduled}
          onValue={(scheduled) => onForm(scheduled ? { scheduled, schedule: "@every 10m", concurrency: "Forbid" } : { scheduled, schedule: "", concurrency: "", history: "" })}
        />
        {form.scheduled && (
          <div className="x-row">
            <Input label={t("x_cron")} value={form.schedule} onValue={(schedule) => onForm({ schedule })} suggestions={["@every 10m", "@hourly", "0 10 * * 1-5"]} />
            <Select
              label={t("x_concurrency")}
              value={form.concurrency}
              options={[
                ["Forbid", t("x_forbid")],
                ["Allow", t("x_allow")],
              ]}
              onValue={(concurrency) => onForm({ concurrency })}
            />
          </div>
        )}
      </fieldset>
      <CheckFields
        label={t("x_hypothesis")}
        help={t("x_hypothesis_help")}
        value={form.hypothesis}
        onValue={(hypothesis) => onForm({ hypothesis })}
        suggestions={known.slos.map((slo) => `slo: ${slo}`)}
        example={{ name: "", query: known.slos[0] ? `slo: ${known.slos[0]}` : "" }}
      />
      <CheckFields
        label={t("x_guards")}
        help={t("x_guards_help")}
        value={form.guards}
        onValue={(guards) => onForm({ guards })}
        suggestions={known.slos.map((slo) => `burn: 14.4 slo: ${slo}`)}
        example={{ name: "", query: known.slos[0] ? `burn: 14.4 slo: ${known.slos[0]}` : "" }}
      />
    </fieldset>
  );
}
