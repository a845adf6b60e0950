/* Stopwatches: wall time since data-start, until data-end, against data-limit seconds. */
import { all, wallNow, word } from "./core.js";

const running = new Set();

/** 7384 -> "2:03:04"; 62 -> "1:02". */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function tick(node) {
  const begun = Date.parse(node.dataset.start);
  if (Number.isNaN(begun)) return false;
  const ended = Date.parse(node.dataset.end || "");
  const seconds = ((Number.isNaN(ended) ? wallNow() : ended) - begun) / 1000;
  const limit = Number(node.dataset.limit) || Infinity;
  const shown = node.querySelector(".pg-stopwatch-time");
  shown.textContent = span(seconds);
  if (seconds > limit && !("over" in node.dataset)) {
    node.dataset.over = "";
    shown.title = word("over");
  }
  return Number.isNaN(ended);
}

setInterval(() => {
  if (document.hidden) return;
  for (const node of running) if (!node.isConnected || !tick(node)) running.delete(node);
}, 1000);

export function start(scope = document) {
  const found = all("[data-stopwatch]", scope);
  if (scope.matches?.("[data-stopwatch]")) found.push(scope);
  for (const node of found) if (tick(node)) running.add(node);
}
