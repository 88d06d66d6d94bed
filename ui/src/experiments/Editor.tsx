import { type RefObject, useMemo } from "react";
import { useLocale } from "../i18n";
import type { Problem } from "./types";

interface Props {
  text: string;
  onText: (text: string) => void;
  problems: Problem[];
  area: RefObject<HTMLTextAreaElement | null>;
}

/** A manifest that can be typed into: numbered lines, those with a problem marked. */
export function Editor({ text, onText, problems, area }: Props) {
  const { t } = useLocale();
  const lines = useMemo(() => text.split("\n"), [text]);
  const bad = new Set(problems.map((problem) => problem.line));
  return (
    <div className="x-editor">
      <ol className="x-numbers" aria-hidden="true">
        {lines.map((_, i) => (
          <li key={i} data-bad={bad.has(i + 1)}>
            {i + 1}
          </li>
        ))}
      </ol>
      <div className="x-paper">
        {/* The same text underneath gives the colours, and the sheet its size. */}
        <pre aria-hidden="true">
          {lines.map((line, i) => (
            <span key={i} className="x-line" data-bad={bad.has(i + 1)}>
              <Coloured line={line} />
              {"\n"}
            </span>
          ))}
        </pre>
        <textarea
          ref={area}
          aria-label={t("x_manifest")}
          lang="en"
          value={text}
          onChange={(event) => onText(event.target.value)}
          spellCheck={false}
          autoCapitalize="none"
          autoComplete="off"
          wrap="off"
        />
      </div>
    </div>
  );
}

/** Keys, values and remarks. Good enough for the eye: nothing is decided by it. */
function Coloured({ line }: { line: string }) {
  const found = /^(\s*(?:- )*)((?:'[^']*'|"[^"]*"|[^\s#'"][^#:]*):(?=\s|$))?(.*?)(\s+#.*|^#.*)?$/.exec(line);
  if (!found) return line;
  const [, indent, key, value, remark] = found;
  return (
    <>
      {indent}
      {key && <span className="x-key">{key}</span>}
      {value && <span className="x-value">{value}</span>}
      {remark && <span className="x-remark">{remark}</span>}
    </>
  );
}

/** Puts the cursor where a problem is. */
export function goTo(area: HTMLTextAreaElement | null, { line, column }: Problem) {
  if (!area || line === 0) return;
  const before = area.value.split("\n").slice(0, line - 1);
  const at = before.reduce((sum, one) => sum + one.length + 1, 0) + Math.max(0, column - 1);
  area.focus();
  area.setSelectionRange(at, at);
  // The sheet around it scrolls, not the area: bring the line itself into view.
  const height = area.clientHeight / area.value.split("\n").length;
  const sheet = area.closest(".x-editor");
  sheet?.scrollTo({ top: (line - 1) * height - sheet.clientHeight / 3, left: 0 });
  sheet?.scrollIntoView({ block: "nearest" });
}
