import { useLocale } from "../i18n";
import { useToasts } from "../parts";

/** Copies, and says so; where the browser forbids it, says that instead. */
export function useCopy(): (text: string) => void {
  const { t } = useLocale();
  const toasts = useToasts();
  return (text) => void navigator.clipboard.writeText(text).then(() => toasts.say(t("copied_text")), toasts.fail);
}

interface Props {
  name: string;
  namespace: string;
  kind: string;
}

/** The same from a terminal. */
export function Commands({ name, namespace, kind }: Props) {
  const { t } = useLocale();
  const copy = useCopy();
  const file = `${name || "experiment"}.yaml`;
  const lines = [
    `kubectl apply -f ${file}`,
    `kubectl delete ${kind.toLowerCase()} ${name}${namespace ? ` -n ${namespace}` : ""}`,
    `hikeshi experiment run ${file}`,
    `hikeshi experiment export --aws-fis ${file}`,
  ];
  return (
    <details className="x-commands">
      <summary>{t("x_commands")}</summary>
      <ul>
        {lines.map((line) => (
          <li key={line}>
            <code>{line}</code>
            <button type="button" className="small" onClick={() => copy(line)} aria-label={`${t("copy")}: ${line}`}>
              {t("copy")}
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}

/** Hands the manifest over as a file, for the commands above. */
export function save(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name || "experiment"}.yaml`;
  link.click();
  URL.revokeObjectURL(url);
}
