import { type ReactNode, useId, useState } from "react";
import { useLocale } from "../i18n";
import type { Pair } from "./form";

/** What a form is made of: each part shows what its value says, and tells what was typed. */

interface LabelledProps {
  label: string;
  help?: string | undefined;
  children: (id: string, helpId: string | undefined) => ReactNode;
}

function Labelled({ label, help, children }: LabelledProps) {
  const id = useId();
  return (
    <div className="x-field">
      <label htmlFor={id}>{label}</label>
      {children(id, help ? `${id}h` : undefined)}
      {help && (
        <p className="help" id={`${id}h`}>
          {help}
        </p>
      )}
    </div>
  );
}

interface InputProps {
  label: string;
  value: string;
  onValue: (value: string) => void;
  help?: string | undefined;
  placeholder?: string;
  suggestions?: string[];
  numeric?: boolean;
}

export function Input({ label, value, onValue, help, placeholder, suggestions = [], numeric = false }: InputProps) {
  const list = useId();
  return (
    <Labelled label={label} help={help}>
      {(id, helpId) => (
        <>
          <input
            id={id}
            value={value}
            onChange={(event) => onValue(event.target.value)}
            placeholder={placeholder}
            aria-describedby={helpId}
            list={suggestions.length > 0 ? list : undefined}
            inputMode={numeric ? "decimal" : undefined}
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
          />
          {suggestions.length > 0 && <Options id={list} of={suggestions} />}
        </>
      )}
    </Labelled>
  );
}

export function Options({ id, of }: { id: string; of: string[] }) {
  return (
    <datalist id={id}>
      {of.map((one) => (
        <option key={one} value={one} />
      ))}
    </datalist>
  );
}

const commas = (list: string[]) => list.join(", ");

/** A list, typed with commas between. */
export function ListInput({ value, onValue, ...rest }: Omit<InputProps, "value" | "onValue"> & { value: string[]; onValue: (value: string[]) => void }) {
  // What is being typed may end in a comma, which the list does not know of.
  const [typed, setTyped] = useState(commas(value));
  const split = (text: string) => text.split(/[,、\s]+/).filter(Boolean);
  const shown = commas(split(typed)) === commas(value) ? typed : commas(value);
  return (
    <Input
      {...rest}
      value={shown}
      onValue={(text) => {
        setTyped(text);
        onValue(split(text));
      }}
    />
  );
}

interface SelectProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onValue: (value: T) => void;
  help?: string;
}

export function Select<T extends string>({ label, value, options, onValue, help }: SelectProps<T>) {
  return (
    <Labelled label={label} help={help}>
      {(id, helpId) => (
        <select id={id} value={value} aria-describedby={helpId} onChange={(event) => onValue(event.target.value as T)}>
          {options.every(([one]) => one !== value) && <option value={value}>{value}</option>}
          {options.map(([one, name]) => (
            <option key={one} value={one}>
              {name}
            </option>
          ))}
        </select>
      )}
    </Labelled>
  );
}

export function Switch<T extends string>({ label, value, options, onValue }: Omit<SelectProps<T>, "help">) {
  return (
    <div className="x-field">
      <span className="x-label">{label}</span>
      <div className="segmented" role="group" aria-label={label}>
        {options.map(([one, name]) => (
          <button key={one} type="button" aria-pressed={value === one} onClick={() => onValue(one)}>
            {name}
          </button>
        ))}
      </div>
    </div>
  );
}

export function Tick({ label, value, onValue }: { label: string; value: boolean; onValue: (value: boolean) => void }) {
  return (
    <label className="x-tick">
      <input type="checkbox" checked={value} onChange={(event) => onValue(event.target.checked)} />
      {label}
    </label>
  );
}

interface PairsProps {
  label: string;
  value: Pair[];
  onValue: (value: Pair[]) => void;
  names?: string[];
  values?: string[];
  example: Pair;
}

/** Rows of a name and a value. */
export function Pairs({ label, value, onValue, names = [], values = [], example }: PairsProps) {
  const { t } = useLocale();
  const id = useId();
  const put = (at: number, pair: Partial<Pair>) => onValue(value.map((one, i) => (i === at ? { ...one, ...pair } : one)));
  return (
    <div className="x-field" role="group" aria-label={label}>
      <span className="x-label">{label}</span>
      {value.map((pair, i) => (
        <div className="x-pair" key={i}>
          <input
            aria-label={`${label}: ${t("x_label_key")}`}
            value={pair.name}
            placeholder={example.name}
            list={names.length > 0 ? `${id}n` : undefined}
            onChange={(event) => put(i, { name: event.target.value })}
            autoCapitalize="none"
            spellCheck={false}
          />
          <input
            aria-label={`${label}: ${t("x_label_value")}`}
            value={pair.value}
            placeholder={example.value}
            list={values.length > 0 ? `${id}v` : undefined}
            onChange={(event) => put(i, { value: event.target.value })}
            autoCapitalize="none"
            spellCheck={false}
          />
          <RemoveButton what={pair.name || label} onClick={() => onValue(value.filter((_, at) => at !== i))} />
        </div>
      ))}
      <button type="button" className="small x-add" onClick={() => onValue([...value, { name: "", value: "" }])}>
        ＋ {t("x_add")}
      </button>
      {names.length > 0 && <Options id={`${id}n`} of={names} />}
      {values.length > 0 && <Options id={`${id}v`} of={values} />}
    </div>
  );
}

export function RemoveButton({ what, onClick }: { what: string; onClick: () => void }) {
  const { t } = useLocale();
  return (
    <button type="button" className="icon x-remove" aria-label={`${t("x_remove")}: ${what}`} title={t("x_remove")} onClick={onClick}>
      ×
    </button>
  );
}
