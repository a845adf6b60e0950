/* Small helpers that every module shares. Keeps no state of the page. */

const wordsBlock = document.getElementById("pg-words");
const words = wordsBlock ? JSON.parse(wordsBlock.textContent) : {};

/** A translated sentence of the page, by key. */
export const word = (key) => words[key] || key;

export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export const locale = () => document.documentElement.lang || "en";

const british = (language) => (language === "en" ? "en-GB" : language);
const writer = new Intl.DateTimeFormat(british(locale()), { timeZone: "UTC", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** A moment in UTC as every page writes it, "22 Nov 2026, 17:30"; seconds where they are asked for. */
export function momentText(at, { seconds = false } = {}) {
  const part = Object.fromEntries(writer.formatToParts(at).map(({ type, value }) => [type, value]));
  const month = part.month.slice(0, 3);
  return `${part.day}${locale() === "de" ? "." : ""} ${month} ${part.year}, ${part.hour}:${part.minute}${seconds ? `:${part.second}` : ""}`;
}

/** What the person chose to keep in this browser: theme, density, closed menu sections, hidden columns. */
export const kept = {
  read() {
    try {
      return JSON.parse(localStorage.getItem("phasegate") || "{}") || {};
    } catch {
      return {};
    }
  },
  write(change) {
    try {
      localStorage.setItem("phasegate", JSON.stringify({ ...kept.read(), ...change }));
    } catch {
      /* A browser that forbids storage still works; it forgets. */
    }
  },
};

export const csrfToken = () => document.querySelector('meta[name="csrf-token"]')?.content || "";

/** Milliseconds by which the server's wall clock is ahead of this browser's. */
export const skew = (() => {
  const made = Date.parse(document.querySelector('meta[name="wall-now"]')?.content || "");
  if (Number.isNaN(made)) return 0;
  const arrived = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart || 0);
  return made - arrived;
})();

/** The server's wall time, in milliseconds. */
export const wallNow = () => Date.now() + skew;

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "pg-icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${document.getElementById("pg-app").dataset.sprite}#${name}`);
  svg.append(use);
  return svg;
}

const toneOf = { success: "ok", ok: "ok", warning: "watch", watch: "watch", error: "breach", breach: "breach" };
const iconOf = { ok: "status_ok", watch: "warning", breach: "error" };

/** Say something in the corner. Errors stay until closed. */
export function toast(text, kind = "info") {
  const box = document.getElementById("toasts");
  if (!box || !text) return;
  const tone = toneOf[kind] || "";
  const close = make("button", { class: "pg-tool", type: "button", "aria-label": word("close") }, icon("close"));
  const node = make("div", { class: `pg-toast ${tone ? `pg-tone-${tone}` : ""}` }, icon(iconOf[tone] || "info"), make("span", {}, text), close);
  close.addEventListener("click", () => node.remove());
  box.append(node);
  if (tone !== "breach") setTimeout(() => node.remove(), 7000);
}

/** Load a classic script once; resolves when it has run. */
const scripts = new Map();
export function loadScript(url) {
  if (!scripts.has(url)) {
    scripts.set(
      url,
      new Promise((resolve, reject) => {
        const node = make("script", { src: url });
        node.addEventListener("load", resolve);
        node.addEventListener("error", () => {
          scripts.delete(url);
          reject(new Error(`could not load ${url}`));
        });
        document.head.append(node);
      }),
    );
  }
  return scripts.get(url);
}

const painter = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

let scheme = "";

/** Run ``draw`` with every colour resolved for one theme ("light"), whatever the page shows. */
export function inScheme(name, draw) {
  scheme = name;
  try {
    return draw();
  } finally {
    scheme = "";
  }
}

const colours = new Map();

/** Any CSS colour, also light-dark(), color-mix() and oklch(), as rgb()/rgba() text for libraries that know no other.
    Each is asked once for each theme: asking styles the whole page anew. */
export function colour(css) {
  const key = `${scheme || document.documentElement.dataset.bsTheme} ${css}`;
  if (!colours.has(key)) colours.set(key, computed(css));
  return colours.get(key);
}

function computed(css) {
  const probe = make("span", { hidden: true });
  document.body.append(probe);
  if (scheme) probe.style.colorScheme = scheme;
  probe.style.color = css;
  const painted = getComputedStyle(probe).color;
  probe.remove();
  painter.canvas.width = painter.canvas.height = 1;
  painter.clearRect(0, 0, 1, 1);
  painter.fillStyle = painted;
  painter.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = painter.getImageData(0, 0, 1, 1).data;
  return a === 255 ? `rgb(${r}, ${g}, ${b})` : `rgba(${r}, ${g}, ${b}, ${(a / 255).toFixed(3)})`;
}

/** One of our tokens by name: token("phase-3"). */
export const token = (name) => colour(`var(--pg-${name})`);

const cssColour = /^(var\(|light-dark\(|color-mix\(|oklch\()/;

/** A deep copy of plain data in which each CSS colour text is resolved for the theme in use. */
export function resolveColours(value, known = new Map()) {
  if (typeof value === "string") {
    if (!cssColour.test(value)) return value;
    if (!known.has(value)) known.set(value, colour(value));
    return known.get(value);
  }
  if (Array.isArray(value)) return typeof value[0] === "number" && typeof value[1] !== "string" ? value : value.map((item) => resolveColours(item, known));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolveColours(item, known)]));
  }
  return value;
}

/** Rows (arrays) as CSV text that a spreadsheet opens without running anything in it. */
export function toCsv(rows) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

export function download(name, url) {
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

export function downloadText(name, text, type = "text/csv;charset=utf-8") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  download(name, url);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** The JSON of a component: its own data block, else its data-src endpoint. */
export async function componentData(node) {
  const block = node.querySelector('script[type="application/json"]');
  if (block) return JSON.parse(block.textContent);
  if (!node.dataset.src) return null;
  const answer = await fetch(node.dataset.src, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${answer.status} for ${node.dataset.src}`);
  return answer.json();
}
