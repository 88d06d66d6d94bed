import { useLocale } from "../i18n";

/** What a picture shows, for those who do not see it: the newest first. */
export function Table({ head, rows }: { head: string[]; rows: string[][] }) {
  const { t } = useLocale();
  return (
    <details className="b-table">
      <summary>{t("b_table")}</summary>
      <div tabIndex={0} role="region" aria-label={t("b_table")}>
        <table>
          <thead>
            <tr>
              {head.map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.toReversed().map((row, index) => (
              <tr key={`${index} ${row[0]}`}>
                {row.map((cell, column) => (column === 0 ? <th key={column} scope="row">{cell}</th> : <td key={column}>{cell}</td>))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
