import { useCallback, useRef, useState } from "react";
import type { Form } from "./form";
import { manifest } from "./manifest";
import { PRESETS, type Preset } from "./presets";

/** A manifest in the making: its text is what counts, the form shows it as far as it can. */
export interface Draft {
  text: string;
  form: Form;
  /** What in the text the form has no field for; the form then stands still. */
  beyond: string | null;
  onForm: (change: Partial<Form>) => void;
  onWholeForm: (form: Form, text?: string) => void;
  onText: (text: string) => void;
}

const FIRST = PRESETS[0] as Preset;

export function useDraft(): Draft {
  const [state, setState] = useState({ text: FIRST.text ?? manifest(FIRST.form), form: FIRST.form, beyond: null as string | null });
  const newest = useRef(0);
  const onWholeForm = useCallback((form: Form, text = manifest(form)) => {
    newest.current += 1;
    setState({ text, form, beyond: null });
  }, []);
  const onForm = useCallback((change: Partial<Form>) => {
    newest.current += 1;
    setState((before) => {
      const form = { ...before.form, ...change };
      return { text: manifest(form), form, beyond: null };
    });
  }, []);
  const onText = useCallback((text: string) => {
    newest.current += 1;
    const mine = newest.current;
    setState((before) => ({ ...before, text }));
    // The reader of YAML is only fetched by those who type it.
    void import("./read").then(({ read }) => {
      if (newest.current !== mine) return;
      const found = read(text);
      setState((before) => ("form" in found ? { text, form: found.form, beyond: null } : { ...before, beyond: found.beyond }));
    });
  }, []);
  return { ...state, onForm, onWholeForm, onText };
}
