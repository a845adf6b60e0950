/* Live parts: elements with data-poll="url" are fetched every data-poll-seconds with If-None-Match and swapped in place.
   A part rests while the tab is hidden, says when it is stale, backs off on failure and stops when it may no longer look. */
import { all, locale, wallNow, word } from "./core.js";

const polled = new WeakMap();
const clock = new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function say(part, state) {
  const { node } = part;
  if (node.dataset.pollState === state && state !== "stale") return;
  node.dataset.pollState = state;
  const label = node.querySelector(":scope > [data-live-state]");
  const text = state === "stale" ? `${word("stale")} ${clock.format(part.fresh - (wallNow() - Date.now()))}` : word(state);
  if (label && label.textContent !== text) label.textContent = text;
}

function busyInside(body) {
  const focus = document.activeElement;
  return focus && body.contains(focus) && focus.matches("input, textarea, select") && !focus.readOnly;
}

function swap(part, html) {
  const { node } = part;
  const body = node.querySelector(":scope > [data-live-body]") || node;
  if (busyInside(body)) return false;
  const focusId = body.contains(document.activeElement) ? document.activeElement.id : "";
  body.innerHTML = html;
  window.htmx?.process(body);
  if (focusId) document.getElementById(focusId)?.focus({ preventScroll: true });
  body.dispatchEvent(new CustomEvent("pg:swapped", { bubbles: true }));
  return true;
}

async function look(part) {
  const { node } = part;
  if (!node.isConnected) return;
  if (document.hidden) {
    say(part, "paused");
    return;
  }
  const headers = { "HX-Request": "true", Accept: "text/html" };
  if (part.etag) headers["If-None-Match"] = part.etag;
  const timeout = AbortSignal.timeout(Math.max(5000, part.seconds * 2000));
  try {
    const answer = await fetch(node.dataset.poll, { headers, credentials: "same-origin", cache: "no-store", signal: timeout });
    if ([401, 403, 404, 410].includes(answer.status) || answer.redirected) {
      say(part, "gone");
      return;
    }
    if (answer.status !== 304 && !answer.ok) throw new Error(String(answer.status));
    part.failures = 0;
    part.fresh = wallNow();
    if (answer.status !== 304) {
      const html = await answer.text();
      if (swap(part, html)) part.etag = answer.headers.get("ETag") || "";
    }
    say(part, "live");
    if (answer.headers.get("X-Poll-Stop") || answer.status === 286) return;
  } catch {
    part.failures += 1;
    if (part.failures > 1 || part.seconds >= 10) say(part, "stale");
  }
  plan(part);
}

function plan(part) {
  clearTimeout(part.timer);
  const wait = part.seconds * Math.min(8, 2 ** Math.max(0, part.failures - 1));
  part.timer = setTimeout(() => look(part), wait * 1000);
}

/** Start every live part in ``scope`` that is not running yet. */
export function startPolling(scope = document) {
  const found = all("[data-poll]", scope);
  if (scope.matches?.("[data-poll]")) found.push(scope);
  for (const node of found) {
    if (polled.has(node)) continue;
    const part = { node, seconds: Math.max(1, Number(node.dataset.pollSeconds) || 5), etag: node.dataset.pollEtag || "", failures: 0, fresh: wallNow(), timer: 0 };
    polled.set(node, part);
    say(part, "live");
    if (node.querySelector(":scope > [data-live-body] > .pg-skeleton")) look(part);
    else plan(part);
  }
}

document.addEventListener("visibilitychange", () => {
  for (const node of all("[data-poll]")) {
    const part = polled.get(node);
    if (!part || node.dataset.pollState === "gone") continue;
    clearTimeout(part.timer);
    if (document.hidden) say(part, "paused");
    else look(part);
  }
});
