document.getElementById("lang").addEventListener("click", () => {
  const root = document.documentElement;
  root.lang = root.lang === "ja" ? "en" : "ja";
});
