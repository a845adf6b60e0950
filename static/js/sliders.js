/* Weight sliders: each move asks the server (60 ms after the last one) and the ranking rearranges in place.
   The answer is JSON {verdict, rows: [{key, rank, score, bar, note}], parts: {id: HTML}, charts: {id: {title, figure}}} or HTML for
   the target; rows keep their data-key. A form that asks by GET writes its weights into the page's address, and into links marked
   data-keeps-weights, so that both show what the sliders show. */
import { all, calm, csrfToken, toast, word } from "./core.js";

const PAUSE = 60;
const inputsOf = (form) => all('input[type="range"]', form);

function groupsOf(form) {
  const groups = new Map();
  for (const input of inputsOf(form)) groups.set(input.dataset.group, [...(groups.get(input.dataset.group) || []), input]);
  return [...groups.values()];
}

function tellShares(form) {
  for (const inputs of groupsOf(form)) {
    const total = inputs.reduce((sum, input) => sum + Number(input.value), 0);
    for (const input of inputs) {
      const output = form.querySelector(`output[for="${CSS.escape(input.id)}"]`);
      const share = total ? Math.round((100 * Number(input.value)) / total) : 0;
      if (output) output.textContent = `${share} %`;
      input.setAttribute("aria-valuetext", `${share} %`);
    }
  }
}

/** The weights of every group in which a slider was moved; nothing where all stand as agreed. */
function weightsOf(form) {
  const query = new URLSearchParams();
  for (const inputs of groupsOf(form)) {
    if (inputs.some((input) => input.value !== input.dataset.agreed)) for (const input of inputs) query.set(input.name, input.value);
  }
  return query;
}

function withWeights(address, form, weights) {
  const url = new URL(address, window.location.href);
  for (const input of inputsOf(form)) url.searchParams.delete(input.name);
  for (const [name, value] of weights) url.searchParams.set(name, value);
  return url;
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

/** Parts of the page outside the list that follow from the weights. */
function showParts(parts) {
  for (const [id, html] of Object.entries(parts || {})) {
    const part = document.getElementById(id);
    if (part && part.innerHTML !== html) part.innerHTML = html;
  }
}

function wire(form) {
  const target = document.querySelector(form.dataset.target);
  const byAddress = form.method === "get";
  let timer = 0;
  let asking = null;

  function request(weights) {
    const headers = { "HX-Request": "true", Accept: "application/json, text/html" };
    if (byAddress) return fetch(withWeights(form.action, form, weights), { headers, credentials: "same-origin", signal: asking.signal });
    return fetch(form.action, { method: "POST", body: new FormData(form), headers: { "X-CSRFToken": csrfToken(), ...headers }, credentials: "same-origin", signal: asking.signal });
  }

  function keep(weights) {
    window.history.replaceState(window.history.state, "", withWeights(window.location.href, form, weights));
    for (const link of all("a[data-keeps-weights], [data-keeps-weights] a")) link.href = withWeights(link.href, form, weights);
  }

  async function ask() {
    asking?.abort();
    asking = new AbortController();
    const mine = asking;
    const weights = weightsOf(form);
    try {
      const answer = await request(weights);
      const json = (answer.headers.get("Content-Type") || "").includes("json");
      if (!answer.ok) throw new Error(json && answer.status === 400 ? (await answer.json()).errors?.[0]?.message || "" : "");
      const content = json ? await answer.json() : await answer.text();
      if (mine.signal.aborted || !target) return;
      const before = places(target);
      if (json) {
        showRows(target, content);
        showParts(content.parts);
      } else {
        target.innerHTML = content;
        window.htmx?.process(target);
      }
      glide(target, before);
      if (byAddress) keep(weights);
      form.dispatchEvent(new CustomEvent("pg:ranked", { bubbles: true, detail: json ? content : null }));
    } catch (problem) {
      if (problem.name !== "AbortError") toast(problem.message && !(problem instanceof TypeError) ? problem.message : word("failed"), "error");
    }
  }

  const later = () => {
    tellShares(form);
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  };
  form.addEventListener("input", later);
  form.addEventListener("reset", (event) => {
    // The form's own reset goes back to what the page came with, which an address with weights in it has moved.
    const agreed = inputsOf(form).filter((input) => input.dataset.agreed !== undefined);
    if (agreed.length) {
      event.preventDefault();
      for (const input of agreed) input.value = input.dataset.agreed;
    }
    setTimeout(later, 0);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    later();
  });
  tellShares(form);
  // Moved while this module was on its way, or put back by the browser on a reload: the ranking beside it is not theirs yet.
  if (inputsOf(form).some((input) => input.value !== input.defaultValue)) later();
}

export function start(scope = document) {
  for (const form of all("form[data-sliders]", scope)) {
    if (form.dataset.ready) continue;
    form.dataset.ready = "1";
    wire(form);
  }
}
