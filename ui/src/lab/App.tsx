import { useLocale } from "../i18n";

/** The real app, as everybody sees it; covered while the level changes. */
export function AppFrame({ page, covered }: { page: string; covered: boolean }) {
  const { t } = useLocale();
  const src = `/chirpy${page}`;
  return (
    <section className="l-app panel" aria-label={t("l_app")}>
      <p className="l-bar">
        <strong>{t("l_app")}</strong>
        <a href={src} target="_blank" rel="noreferrer">
          {t("l_new_tab")} ↗
        </a>
      </p>
      <iframe title={t("l_app")} src={src} />
      {covered && (
        <p className="l-cover" role="status">
          {t("l_changing")}
        </p>
      )}
    </section>
  );
}
