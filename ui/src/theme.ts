export type Theme = "auto" | "light" | "dark";

export function storedTheme(): Theme {
  const asked = new URLSearchParams(location.search).get("theme");
  const stored = asked ?? localStorage.getItem("hikeshi.theme");
  return stored === "light" || stored === "dark" ? stored : "auto";
}

export function applyTheme(theme: Theme) {
  document.documentElement.dataset.theme = theme;
}

export function storeTheme(theme: Theme) {
  localStorage.setItem("hikeshi.theme", theme);
  applyTheme(theme);
}
