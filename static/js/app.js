/* The page's entry: wires the shell once and the components again after each htmx swap. Never imported by others. */
import { all, csrfToken, kept, locale, momentText, toast, wallNow, word } from "./core.js";
import { startPolling } from "./live.js";
import { prepareTables } from "./tables.js";

const root = document.documentElement;

/* ---- theme, density, menu ---- */
function chooseTheme(choice) {
  kept.write({ theme: choice });
  root.dataset.themeChoice = choice;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.bsTheme = choice === "system" ? (dark ? "dark" : "light") : choice;
  markChoices();
  root.dispatchEvent(new CustomEvent("pg:theme", { bubbles: true }));
}

function chooseDensity(choice) {
  kept.write({ density: choice });
  if (choice === "compact") root.dataset.density = "compact";
  else delete root.dataset.density;
  markChoices();
}

function markChoices() {
  for (const button of all("[data-theme-choice]:not(html)")) button.setAttribute("aria-pressed", String(button.dataset.themeChoice === root.dataset.themeChoice));
  for (const button of all("[data-density-choice]")) button.setAttribute("aria-pressed", String(button.dataset.densityChoice === (root.dataset.density || "normal")));
}

function prepareMenu() {
  const closed = new Set((root.dataset.navClosed || "").split(" ").filter(Boolean));
  for (const head of all("[data-nav-section]")) {
    const key = head.dataset.navSection;
    const current = head.parentElement.querySelector("[aria-current]");
    if (current) closed.delete(key);
    head.setAttribute("aria-expanded", String(!closed.has(key)));
    head.addEventListener("click", () => {
      if (closed.has(key)) closed.delete(key);
      else closed.add(key);
      head.setAttribute("aria-expanded", String(!closed.has(key)));
      root.dataset.navClosed = [...closed].join(" ");
      kept.write({ closed: [...closed] });
    });
  }
  root.dataset.navClosed = [...closed].join(" ");
  const rail = document.querySelector("[data-nav-rail]");
  rail?.setAttribute("aria-pressed", String(root.dataset.nav === "rail"));
  rail?.addEventListener("click", () => {
    const narrow = root.dataset.nav !== "rail";
    if (narrow) root.dataset.nav = "rail";
    else delete root.dataset.nav;
    rail.setAttribute("aria-pressed", String(narrow));
    kept.write({ nav: narrow ? "rail" : "" });
  });
  const nav = document.getElementById("nav");
  const current = nav?.querySelector("[aria-current]");
  if (current && nav.scrollHeight > nav.clientHeight) nav.scrollTop = Math.max(0, current.offsetTop - nav.clientHeight / 2);
}

/** Show the part of another page marked data-dialog-content in the dialog; go there if it has none. */
async function openDialog(url) {
  const answer = await fetch(url, { credentials: "same-origin", headers: { Accept: "text/html" } }).catch(() => null);
  const page = answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  const part = page?.querySelector("[data-dialog-content]");
  if (!part) {
    window.location.assign(url);
    return;
  }
  const dialog = document.getElementById("dialog");
  const heading = page.querySelector("h1")?.textContent.trim() || "";
  dialog.setAttribute("aria-label", heading);
  const title = document.createElement("h2");
  title.textContent = heading;
  const body = document.getElementById("dialog-body");
  body.replaceChildren(title, document.importNode(part, true));
  for (const form of all("form", body)) if (!form.getAttribute("action")) form.action = url;
  window.htmx?.process(body);
  wake(body);
  if (!dialog.open) dialog.showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (!target) return;
  for (const menu of all("details[data-menu][open]")) if (!menu.contains(target)) menu.open = false;
  const theme = target.closest("[data-theme-choice]:not(html)");
  if (theme) chooseTheme(theme.dataset.themeChoice);
  const density = target.closest("[data-density-choice]");
  if (density) chooseDensity(density.dataset.densityChoice);
  const filters = target.closest("[data-filter-toggle]");
  if (filters) filters.setAttribute("aria-expanded", String(filters.form.classList.toggle("is-open")));
  if (target.closest("[data-print]")) window.print();
  const copy = target.closest("[data-copy]");
  if (copy) navigator.clipboard?.writeText(copy.dataset.copy).then(() => toast(word("copied"), "ok"));
  const refused = target.closest("[data-refused]");
  if (refused) toast(refused.dataset.refused, "watch");
  if (target.closest("[data-dialog-close]") && document.getElementById("dialog")?.open) {
    event.preventDefault();
    document.getElementById("dialog").close();
  }
  const dialogLink = target.closest("a[data-dialog]");
  if (dialogLink && !event.ctrlKey && !event.metaKey && event.button === 0) {
    event.preventDefault();
    openDialog(dialogLink.href);
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "Escape") {
    for (const menu of all("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const box = document.getElementById("search");
    if (box) {
      event.preventDefault();
      box.focus();
      box.select();
    }
  }
  if (event.key === "[" && !typing) document.querySelector("[data-nav-rail]")?.click();
});

/* ---- times: "3 min ago", exact UTC on hover ---- */
const steps = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [86400 * 14, "day", 86400], [86400 * 60, "week", 86400 * 7], [Infinity, "month", 86400 * 30.44]];
const relative = new Intl.RelativeTimeFormat(locale(), { numeric: "auto", style: "short" });

function tellTimes(scope = document) {
  const now = wallNow();
  for (const node of all("time[datetime]", scope)) {
    const at = Date.parse(node.dateTime);
    if (Number.isNaN(at)) continue;
    const utc = `${momentText(at, { seconds: true })} UTC`;
    if (!node.dataset.exact) {
      node.dataset.exact = utc;
      if (!node.title.includes("UTC")) node.title = node.title ? `${node.title}: ${utc}` : utc;
    }
    if (!("relative" in node.dataset || "age" in node.dataset)) continue;
    const seconds = (at - now) / 1000;
    const size = Math.abs(seconds);
    const [, unit, divisor] = steps.find(([limit]) => size < limit);
    const text = size < 5 ? relative.format(0, "second") : relative.format(Math.round(seconds / divisor), unit);
    if (node.textContent !== text) node.textContent = text;
  }
}
setInterval(() => {
  if (!document.hidden) tellTimes();
}, 10000);

/* ---- forms: unsaved changes, typed confirmation ---- */
const dirty = new Set();

function prepareForms(scope) {
  for (const form of all("form[data-guard]", scope)) {
    if (form.dataset.ready) continue;
    form.dataset.ready = "1";
    const note = form.querySelector("[data-dirty-note]");
    const soil = () => {
      dirty.add(form);
      if (note) {
        note.textContent = word("dirty");
        note.hidden = false;
      }
    };
    form.addEventListener("input", soil);
    if (form.dataset.dirty !== undefined) soil();
    form.addEventListener("submit", () => {
      dirty.delete(form);
      setTimeout(() => {
        for (const button of all('[type="submit"]', form)) button.setAttribute("disabled", "");
      }, 0);
    });
    form.addEventListener("reset", () => dirty.delete(form));
    form.addEventListener("pg:saved", () => {
      dirty.delete(form);
      if (note) note.hidden = true;
    });
  }
  for (const form of all("form[data-confirm-name]", scope)) {
    const box = form.querySelector('[name="confirm_name"]');
    const button = form.querySelector('[type="submit"]');
    if (!box || !button || form.dataset.ready) continue;
    form.dataset.ready = "1";
    const check = () => button.toggleAttribute("disabled", box.value.trim() !== form.dataset.confirmName);
    box.addEventListener("input", check);
    check();
  }
  scope.querySelector?.("[data-focus]")?.focus({ preventScroll: false });
}
window.addEventListener("beforeunload", (event) => {
  for (const form of dirty) if (!form.isConnected) dirty.delete(form);
  if (dirty.size) event.preventDefault();
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const button of all('form[data-guard] [type="submit"][disabled]')) button.removeAttribute("disabled");
});

/* ---- htmx ---- */
document.addEventListener("htmx:configRequest", (event) => {
  const { verb, parameters, headers, elt } = event.detail;
  if (verb !== "get" && csrfToken()) headers["X-CSRFToken"] = csrfToken();
  if (verb === "get" && elt.closest?.("[data-filter]")) {
    for (const [name, value] of [...parameters.entries()]) if (value === "") parameters.delete(name);
  }
});
document.addEventListener("toast", (event) => {
  const said = event.detail || {};
  toast(said.text || said.value || "", said.kind);
});
document.addEventListener("htmx:sendError", () => toast(word("failed"), "error"));
document.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  let text = word("refused");
  if ((xhr.getResponseHeader("Content-Type") || "").includes("json")) {
    try {
      text = JSON.parse(xhr.responseText).detail || text;
    } catch {
      /* Not the JSON it claimed to be: the general sentence stays. */
    }
  }
  toast(text, "error");
});
document.addEventListener("htmx:afterSettle", (event) => {
  const scope = event.detail.elt?.isConnected ? event.detail.elt : document;
  wake(scope);
  if (scope.id === "table" || scope.querySelector?.("#table")) {
    const count = scope.querySelector("[data-count]")?.dataset.count;
    const shown = document.getElementById("list-count");
    if (shown && count !== undefined) shown.textContent = count;
    const bar = document.querySelector("[data-filter]");
    const filtered = bar && [...new FormData(bar)].some(([name, value]) => value !== "" && name !== "sort");
    bar?.querySelector("[data-filter-clear]")?.toggleAttribute("hidden", !filtered);
  }
});

/* ---- components: each module is loaded only on a page that has one ---- */
const parts = { "[data-chart]": "./charts.js", "[data-graph]": "./graphs.js", "[data-sliders]": "./sliders.js", "[data-stopwatch]": "./stopwatch.js", "[data-mentions]": "./mentions.js", "[data-workshop], [data-seats]": "./workshop.js" };

function wake(scope) {
  tellTimes(scope);
  prepareForms(scope);
  prepareTables(scope);
  startPolling(scope);
  for (const [selector, file] of Object.entries(parts)) {
    if (scope.matches?.(selector) || scope.querySelector?.(selector)) {
      import(file).then((part) => part.start(scope)).catch(() => toast(word("failed"), "error"));
    }
  }
}

document.addEventListener("pg:swapped", (event) => wake(event.target));
prepareMenu();
markChoices();
wake(document);
