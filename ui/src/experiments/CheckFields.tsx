import { useId } from "react";
import { useLocale } from "../i18n";
import { Options, RemoveButton } from "./fields";
import type { CheckField } from "./form";

interface Props {
  label: string;
  help: string;
  value: CheckField[];
  onValue: (value: CheckField[]) => void;
  suggestions: string[];
  example: CheckField;
}

/** Hypotheses or guards: a short name and a query each. */
export function CheckFields({ label, help, value, onValue, suggestions, example }: Props) {
  const { t } = useLocale();
  const id = useId();
  const put = (at: number, change: Partial<CheckField>) => onValue(value.map((one, i) => (i === at ? { ...one, ...change } : one)));
  return (
    <fieldset className="x-section">
      <legend>{label}</legend>
      <p className="help">{help}</p>
      {value.map((check, i) => (
        <div className="x-check" key={i}>
          <input
            aria-label={`${label}: ${t("x_suffix")}`}
            value={check.name}
            placeholder={t("x_suffix")}
            onChange={(event) => put(i, { name: event.target.value })}
            autoCapitalize="none"
            spellCheck={false}
          />
          <RemoveButton what={check.name || label} onClick={() => onValue(value.filter((_, at) => at !== i))} />
          <input
            className="x-query"
            aria-label={`${label}: ${t("x_query")}`}
            value={check.query}
            placeholder={t("x_query")}
            list={suggestions.length > 0 ? id : undefined}
            onChange={(event) => put(i, { query: event.target.value })}
            autoCapitalize="none"
            spellCheck={false}
          />
        </div>
      ))}
      <button type="button" className="small x-add" onClick={() => onValue([...value, value.length === 0 ? example : { name: "", query: "" }])}>
        ＋ {t("x_add")}
      </button>
      <Options id={id} of={suggestions} />
    </fieldset>
  );
}
