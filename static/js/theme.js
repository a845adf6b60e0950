/* Runs before the first paint, so that a stored choice never flashes. Everything else is in app.js. */
(() => {
  const root = document.documentElement;
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("phasegate") || "{}") || {};
  } catch {
    kept = {};
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const choice = kept.theme || "system";
    root.dataset.bsTheme = choice === "system" ? (dark.matches ? "dark" : "light") : choice;
    root.dataset.themeChoice = choice;
  };
  root.dataset.js = "";
  if (kept.density === "compact") root.dataset.density = "compact";
  if (kept.nav === "rail") root.dataset.nav = "rail";
  if (Array.isArray(kept.closed) && kept.closed.length) root.dataset.navClosed = kept.closed.join(" ");
  apply();
  dark.addEventListener("change", () => {
    if (root.dataset.themeChoice !== "system") return;
    apply();
    root.dispatchEvent(new CustomEvent("pg:theme", { bubbles: true }));
  });
})();
