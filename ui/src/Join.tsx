import { type FormEvent, useEffect, useState } from "react";
import { ApiError, get, post } from "./api";
import { isWord, seatName, useLocale } from "./i18n";
import { LangSwitch, Logo, Notice } from "./parts";
import type { Invite, Lang, Viewer } from "./types";

interface Props {
  token: string;
  before: Viewer | null;
  onJoined: () => void;
  lang: Lang;
  onLang: (lang: Lang) => void;
}

export function Join({ token, before, onJoined, lang, onLang }: Props) {
  const locale = useLocale();
  const { t, pick } = locale;
  const [invite, setInvite] = useState<Invite | null>(null);
  const [name, setName] = useState(before?.name ?? localStorage.getItem("hikeshi.name") ?? "");
  const [seat, setSeat] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [barred, setBarred] = useState(false);

  useEffect(() => {
    get<Invite>(`/api/invite/${encodeURIComponent(token)}`).then(
      (found) => {
        setInvite(found);
        setSeat((chosen) => chosen ?? firstFree(found));
      },
      (failure: unknown) => {
        if (failure instanceof ApiError && failure.status === 403) setBarred(true);
        else setError(failure instanceof Error ? failure.message : String(failure));
      },
    );
  }, [token]);

  if (barred) return <Notice title={t("bad_invite")}>{t("bad_invite_help")}</Notice>;
  if (!invite) return <Notice title={error ?? t("loading")} />;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setError(null);
    try {
      await post("/api/join", { token, name, seat });
      localStorage.setItem("hikeshi.name", name);
      onJoined();
    } catch (failure) {
      setError(failure instanceof ApiError && lang === "ja" ? failure.ja : String((failure as Error).message));
    }
  };
  const taken = (one: string) => invite.drill?.people.filter((p) => p.seat === one).length ?? 0;
  const planned = (one: string) => invite.drill?.seats.find((s) => s.seat === one)?.count;

  return (
    <main className="join">
      <header>
        <Logo />
        <span className="brand">Hikeshi</span>
        <LangSwitch lang={lang} onLang={onLang} />
      </header>
      <form className="card" onSubmit={(event) => void submit(event)}>
        <p className="eyebrow">{t("tagline")}</p>
        <h1>{invite.drill ? pick(invite.drill.title) : t("join_title")}</h1>
        {invite.role === "host" && <p className="badge accent">{t("join_host")}</p>}
        <label htmlFor="name">{t("join_name")}</label>
        <input
          id="name"
          name="name"
          value={name}
          onChange={(event) => setName(event.target.value.toLowerCase())}
          pattern="[a-z0-9]{2,16}"
          minLength={2}
          maxLength={16}
          required
          autoFocus
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          placeholder="pika7"
          aria-describedby="name-help"
        />
        <p id="name-help" className="help">
          {t("join_name_help")}
        </p>
        <fieldset>
          <legend>{t("join_seat")}</legend>
          {invite.seats.map((one) => {
            const help = `seat_${one}_help`;
            const count = planned(one);
            return (
              <label key={one} className="choice">
                <input type="radio" name="seat" value={one} checked={seat === one} onChange={() => setSeat(one)} />
                <span>
                  <strong>{seatName(locale, one)}</strong>
                  {isWord(help) && <span className="help">{t(help)}</span>}
                </span>
                {count !== undefined && (
                  <span className="count">
                    {taken(one)} / {count}
                  </span>
                )}
              </label>
            );
          })}
        </fieldset>
        {error && (
          <p className="error" role="alert">
            {error}
          </p>
        )}
        <button type="submit" className="primary wide">
          {t("join_button")}
        </button>
      </form>
    </main>
  );
}

/** The first seat the scenario still wants someone in. */
function firstFree(invite: Invite): string | null {
  const free = invite.drill?.seats.find(
    ({ seat, count }) => (invite.drill?.people ?? []).filter((person) => person.seat === seat).length < count,
  );
  return free?.seat ?? invite.seats[0] ?? null;
}
