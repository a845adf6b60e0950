/* The scoring workshop. A slider joined with the written levels; each answer saved as it is given, with a note that says so;
   one question after the other on a phone; and when the round moves on, the page follows unless something typed would be lost. */
import { all, csrfToken, make } from "./core.js";

const PAUSE = 700;
const narrow = matchMedia("(max-width: 575.98px)");

const desk = () => document.querySelector("[data-workshop]");
const said = (name) => desk()?.dataset[name] || "";

function note(question, text, kind = "") {
  const line = question.querySelector("[data-note]");
  if (!line) return;
  line.textContent = text;
  line.dataset.kind = kind;
}

/* ---- saving one answer at a time ---- */
const waiting = new Map(); // question -> timer
const unsaved = new Set(); // questions whose newest answer the portal does not have

function fieldsOf(form, question) {
  const body = new FormData();
  for (const input of all("input[type=hidden][name]", form)) {
    if (input.closest("[data-question]") && !question.contains(input)) continue;
    if (input.name !== "csrfmiddlewaretoken") body.append(input.name, input.value);
  }
  for (const input of all("input, select, textarea", question)) {
    if (!input.name || input.type === "hidden") continue;
    if (input.type === "radio" && !input.checked) continue;
    body.append(input.name, input.value);
  }
  return body;
}

const complete = (form, question) => {
  if (form.matches("[data-pairs]")) return Boolean(question.querySelector("select")?.value);
  const exact = question.querySelector("[data-exact]")?.value;
  const level = question.querySelector("input[type=radio]:checked");
  const reason = question.querySelector('input[name^="reason-"]');
  if (reason && level?.value !== "none" && !reason.value.trim()) return false;
  return Boolean(exact || level);
};

async function save(form, question) {
  clearTimeout(waiting.get(question));
  waiting.delete(question);
  if (!complete(form, question)) return;
  const body = fieldsOf(form, question);
  note(question, said("saving"));
  let answer = null;
  let told = {};
  try {
    answer = await fetch(form.action, { method: "POST", body, headers: { "X-CSRFToken": csrfToken(), Accept: "application/json" }, credentials: "same-origin" });
    told = await answer.json();
  } catch {
    note(question, said("failed"), "error");
    return;
  }
  if (!answer.ok) {
    const first = (told.errors || [])[0]?.message;
    note(question, `${said("unsaved")}: ${first || told.detail || ""}`, "error");
    return;
  }
  if (waiting.has(question)) return; // typed on meanwhile: that is saved next
  unsaved.delete(question);
  note(question, said("saved"), "ok");
  form.querySelector(`[data-dot="${CSS.escape(question.dataset.question)}"]`)?.classList.add("is-answered");
  if (form.matches("[data-pairs]")) tellOpinion(form, told);
  else tellCount(form);
  if (!all("[data-question]", form).some((other) => unsaved.has(other))) form.dispatchEvent(new CustomEvent("pg:saved"));
}

/** "3/4" on the tab of the use case that is being rated. */
function tellCount(form) {
  const dots = all("[data-dot]:not([data-measured])", form);
  const count = form.parentElement.querySelector(".pg-tabs [aria-current] .pg-count");
  if (count) count.textContent = `${dots.filter((dot) => dot.classList.contains("is-answered")).length}/${dots.length}`;
}

function tellOpinion(form, told) {
  const box = form.querySelector("[data-opinion]");
  const doubt = box?.querySelector("[data-doubt]");
  if (!doubt) return;
  doubt.textContent = told.text || "";
  doubt.parentElement.hidden = !told.text;
  box.querySelector("[data-agrees]").hidden = told.agrees !== true;
}

function soon(form, question, wait) {
  unsaved.add(question);
  clearTimeout(waiting.get(question));
  waiting.set(question, setTimeout(() => save(form, question), wait));
}

/* ---- slider and levels are one answer ---- */
function join(question) {
  const slider = question.querySelector("[data-rate-slider] input");
  if (!slider) return;
  const output = question.querySelector("[data-rate-slider] output");
  const exact = question.querySelector("[data-exact]");
  const radios = all("input[type=radio]", question);
  const show = (text) => {
    output.textContent = text || "–";
    slider.toggleAttribute("data-unset", !text);
    const level = question.querySelector("input[type=radio]:checked")?.parentElement.querySelector("span")?.textContent;
    slider.setAttribute("aria-valuetext", text ? `${text}${level ? `: ${level}` : ""}` : "–");
  };
  slider.addEventListener("input", () => {
    const value = String(Number(slider.value));
    let met = false;
    for (const radio of radios) {
      radio.checked = radio.value === value;
      met ||= radio.checked;
    }
    exact.value = met ? "" : value;
    show(value);
  });
  for (const radio of radios) {
    radio.addEventListener("change", () => {
      exact.value = "";
      if (radio.value === "none") return show("");
      slider.value = radio.value;
      return show(radio.value);
    });
  }
  const now = question.querySelector("input[type=radio]:checked");
  show(exact.value || (now && now.value !== "none" ? now.value : ""));
}

/* ---- one question after the other where the screen is small ---- */
function stepper(form) {
  const questions = all("[data-question]", form);
  const dots = all("[data-dot]", form);
  let at = Math.max(0, questions.findIndex((q) => q.hasAttribute("data-wrong")));
  if (!at && !questions[0]?.hasAttribute("data-wrong")) {
    const first = dots.findIndex((dot) => !dot.classList.contains("is-answered"));
    at = Math.max(0, first);
  }
  const back = form.querySelector('[data-step="-1"]');
  const next = form.querySelector('[data-step="1"]');
  const show = () => {
    form.classList.toggle("is-stepped", narrow.matches);
    questions.forEach((q, i) => q.classList.toggle("is-now", i === at));
    dots.forEach((dot, i) => (i === at && narrow.matches ? dot.setAttribute("aria-current", "step") : dot.removeAttribute("aria-current")));
    back.hidden = at === 0;
    next.hidden = at === questions.length - 1;
  };
  const go = (to) => {
    at = Math.min(questions.length - 1, Math.max(0, to));
    show();
    const target = questions[at];
    target.scrollIntoView({ block: narrow.matches ? "nearest" : "start" });
    target.querySelector("input:not([type=hidden])")?.focus({ preventScroll: true });
  };
  dots.forEach((dot, i) => dot.addEventListener("click", () => go(i)));
  back.addEventListener("click", () => go(at - 1));
  next.addEventListener("click", () => go(at + 1));
  narrow.addEventListener("change", show);
  show();
}

function wirePaper(form) {
  if (form.dataset.wired) return;
  form.dataset.wired = "1";
  for (const question of all("[data-question]", form)) join(question);
  form.addEventListener("input", (event) => {
    const question = event.target.closest("[data-question]");
    if (question) soon(form, question, PAUSE);
  });
  form.addEventListener("change", (event) => {
    const question = event.target.closest("[data-question]");
    if (question) soon(form, question, event.target.matches("[type=text]") ? 0 : 150);
  });
  form.addEventListener("submit", () => {
    for (const timer of waiting.values()) clearTimeout(timer);
    waiting.clear();
    unsaved.clear();
  });
  if (form.matches("[data-paper]") && form.querySelector("[data-dots]")) stepper(form);
}

/* ---- the round moves on ---- */
async function follow() {
  const here = desk();
  for (const [question] of waiting) await save(question.closest("form"), question);
  if (unsaved.size) {
    // Nothing typed is thrown away: the page stays as it is and says so.
    if (!here.querySelector("[data-moved-note]")) {
      const link = make("a", { href: location.pathname }, said("look"));
      here.prepend(make("p", { class: "pg-note pg-moved", role: "alert", "data-moved-note": "" }, make("span", {}, `${said("moved")} `, link)));
    }
    return;
  }
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" }, credentials: "same-origin", cache: "no-store" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  const main = document.getElementById("main");
  if (!fresh || !page.querySelector("[data-workshop]")) return;
  main.replaceChildren(...fresh.childNodes);
  main.dispatchEvent(new CustomEvent("pg:swapped", { bubbles: true }));
}

document.addEventListener("pg:swapped", (event) => {
  const part = event.target.querySelector?.("[data-round-state]");
  const here = desk();
  if (event.target.id !== "progress" || !part || !here || part.dataset.roundState === here.dataset.state) return;
  follow().catch(() => {});
});

/* ---- who is invited as what ---- */
function wireSeats(box) {
  if (box.dataset.wired) return;
  box.dataset.wired = "1";
  const wanted = box.dataset.wanted.split("|").map((pair) => pair.split("="));
  const line = box.querySelector("[data-lacking]");
  const tell = () => {
    const taken = new Set(all("input:checked", box).map((input) => input.value.split(":")[0]));
    const lacking = wanted.filter(([role]) => !taken.has(role)).map(([, label]) => label);
    line.hidden = !lacking.length;
    line.textContent = lacking.length ? `${box.dataset.lacks} ${lacking.join(", ")}` : "";
  };
  box.addEventListener("change", (event) => {
    // One person sits in one role.
    const [, person] = event.target.value.split(":");
    if (event.target.checked) for (const other of all("input:checked", box)) if (other !== event.target && other.value.endsWith(`:${person}`)) other.checked = false;
    tell();
  });
  tell();
}

export function start(scope) {
  for (const form of all("form[data-paper], form[data-pairs]", scope)) wirePaper(form);
  for (const box of all("[data-seats]", scope)) wireSeats(box);
}
