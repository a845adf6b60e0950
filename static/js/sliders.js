/* Weight sliders: each move asks the server (60 ms after the last one) and the ranking rearranges in place.
   The answer is JSON {verdict, rows: [{key, rank, score, bar, note}]} or HTML for the target; rows keep their data-key. */
import { all, calm, csrfToken, toast, word } from "./core.js";

const PAUSE = 60;

function tellShares(form) {
  const inputs = all('input[type="range"]', form);
  const total = inputs.reduce((sum, input) => sum + Number(input.value), 0);
  for (const input of inputs) {
    const output = form.querySelector(`output[for="${CSS.escape(input.id)}"]`);
    const share = total ? Math.round((100 * Number(input.value)) / total) : 0;
    if (output) output.textContent = `${share} %`;
    input.setAttribute("aria-valuetext", `${share} %`);
  }
}

const places = (target) => new Map(all("[data-ranking] > [data-key]", target).map((row) => [row.dataset.key, row.getBoundingClientRect().top]));

/** First-last-invert-play: rows glide from where they were. */
function glide(target, before) {
  if (calm()) return;
  for (const row of all("[data-ranking] > [data-key]", target)) {
    const was = before.get(row.dataset.key);
    const now = row.getBoundingClientRect().top;
    if (was === undefined || Math.abs(was - now) < 1) continue;
    row.classList.add("is-moving");
    const move = row.animate([{ transform: `translateY(${was - now}px)` }, { transform: "none" }], { duration: 220, easing: "cubic-bezier(0.2, 0, 0, 1)" });
    move.finished.then(() => row.classList.remove("is-moving"), () => row.classList.remove("is-moving"));
  }
}

function showRows(target, answer) {
  const verdict = target.querySelector("[data-verdict]");
  if (verdict && answer.verdict !== undefined && verdict.textContent !== answer.verdict) verdict.textContent = answer.verdict;
  const list = target.querySelector("[data-ranking]");
  for (const row of answer.rows || []) {
    const item = list?.querySelector(`[data-key="${CSS.escape(String(row.key))}"]`);
    if (!item) continue;
    for (const [name, value] of Object.entries(row)) {
      const field = item.querySelector(`[data-field="${CSS.escape(name)}"]`);
      if (!field) continue;
      if (field.localName === "progress") field.value = Number(value);
      else field.textContent = value;
    }
    list.append(item);
  }
}

function wire(form) {
  const target = document.querySelector(form.dataset.target);
  let timer = 0;
  let asking = null;

  async function ask() {
    asking?.abort();
    asking = new AbortController();
    const mine = asking;
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { "X-CSRFToken": csrfToken(), "HX-Request": "true", Accept: "application/json, text/html" },
        credentials: "same-origin",
        signal: mine.signal,
      });
      if (!answer.ok) throw new Error(String(answer.status));
      const json = (answer.headers.get("Content-Type") || "").includes("json");
      const content = json ? await answer.json() : await answer.text();
      if (mine.signal.aborted || !target) return;
      const before = places(target);
      if (json) showRows(target, content);
      else {
        target.innerHTML = content;
        window.htmx?.process(target);
      }
      glide(target, before);
      form.dispatchEvent(new CustomEvent("pg:ranked", { bubbles: true, detail: json ? content : null }));
    } catch (problem) {
      if (problem.name !== "AbortError") toast(word("failed"), "error");
    }
  }

  const later = () => {
    tellShares(form);
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  };
  form.addEventListener("input", later);
  form.addEventListener("reset", () => setTimeout(later, 0));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    later();
  });
  tellShares(form);
}

export function start(scope = document) {
  for (const form of all("form[data-sliders]", scope)) {
    if (form.dataset.ready) continue;
    form.dataset.ready = "1";
    wire(form);
  }
}
