/* Charts: a figure {data, layout} as plain JSON, colours written as CSS (var(--pg-measured)), drawn by Plotly, which is
   loaded only here. Each chart has a table of its data, CSV and PNG, arrow keys, and follows theme, size and live data. */
import { all, componentData, download, downloadText, inScheme, loadScript, locale, make, momentText, resolveColours, toast, toCsv, token, word } from "./core.js";

const charts = new Map();
const TABLE_ROWS = 500;
const PAPER_WIDTH = 640; // CSS pixels between the margins of an A4 page, less a panel's padding
let printing = false;

function baseLayout(node) {
  const ink = token("ink-2");
  const line = token("line");
  const axis = { gridcolor: line, linecolor: token("line-strong"), zerolinecolor: token("line-strong"), tickfont: { color: ink, size: 12 }, title: { font: { color: ink, size: 12 }, standoff: 8 }, automargin: true, ticks: "outside", tickcolor: line, ticklen: 4 };
  const narrow = node.clientWidth < 480;
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: token("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: narrow ? 44 : 56, r: 12, t: 8, b: 40 },
    colorway: [1, 2, 3, 4, 5, 6].map((n) => token(`c${n}`)),
    hovermode: "x unified",
    hoverlabel: { bgcolor: token("surface"), bordercolor: line, font: { color: token("ink"), size: 12 } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: ink, size: 12 } },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: axis,
    yaxis: { ...axis, zeroline: false },
    extra: axis,
  };
}

/* Days before months and 24 hours, as everywhere; Plotly's own axes write "Nov 22". */
const day = 86400000;
const dated = {
  hoverformat: "%-d %b %Y, %H:%M",
  tickformatstops: [
    { dtickrange: [null, 60000], value: "%H:%M:%S\n%-d %b %Y" },
    { dtickrange: [60000, day], value: "%H:%M\n%-d %b %Y" },
    { dtickrange: [day, "M1"], value: "%-d %b\n%Y" },
    { dtickrange: ["M1", "M12"], value: "%b\n%Y" },
    { dtickrange: ["M12", null], value: "%Y" },
  ],
};
const ISO_DAY = /^\d{4}-\d\d-\d\d$/;
const ISO_MOMENT = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]00:00)?$/;
const isMoment = (value) => typeof value === "string" && (ISO_DAY.test(value) || ISO_MOMENT.test(value));

/** A day or moment of the data as every page writes it; anything else as it is. */
function written(value) {
  if (!isMoment(value)) return value;
  const at = Date.parse(ISO_DAY.test(value) ? `${value}T00:00Z` : `${value.replace(" ", "T").replace(/(Z|[+-]00:00)$/, "")}Z`);
  if (Number.isNaN(at)) return value;
  const text = momentText(at, { seconds: at % 60000 !== 0 });
  return ISO_DAY.test(value) ? text.split(",")[0] : text;
}

const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);

function merge(base, over) {
  const result = { ...base };
  for (const [key, value] of Object.entries(over || {})) result[key] = isObject(value) && isObject(result[key]) ? merge(result[key], value) : value;
  return result;
}

/* What a series is decides its colour, wherever it is drawn: trace.meta.role names it. */
const roles = { primary: "predicted", predicted: "predicted", secondary: "c2", measured: "measured", label: "measured", reference: "ink-2", baseline: "ink-2", challenger: "challenger", new: "challenger", incumbent: "measured", old: "measured", limit: "limit", threshold: "limit", ok: "ok-mark", watch: "watch-mark", breach: "breach-mark" };

function coloured(trace) {
  const name = roles[trace.meta?.role];
  if (!name) return trace;
  const tone = token(name);
  const marker = Array.isArray(trace.marker?.color) ? trace.marker : { color: tone, ...trace.marker };
  return trace.type === "bar" ? { ...trace, marker } : { ...trace, line: { color: tone, ...trace.line }, marker };
}

function laidOut(chart) {
  const known = new Map();
  const { extra, ...base } = baseLayout(chart.canvas);
  const layout = resolveColours(chart.figure.layout || {}, known);
  for (const name of ["title", "template", "height", "width", "margin"]) delete layout[name];
  if (layout.legend?.orientation === "h") delete layout.legend.y;
  for (const [key, axis] of Object.entries(layout)) {
    if (/^[xy]axis/.test(key) && typeof axis.title === "string") axis.title = { text: axis.title };
  }
  for (const key of Object.keys(layout)) if (/^[xy]axis\d+$/.test(key) && !(key in base)) base[key] = extra;
  for (const trace of chart.figure.data || []) {
    for (const letter of ["x", "y"]) {
      const key = (trace[`${letter}axis`] || letter).replace(letter, `${letter}axis`);
      if (isMoment(trace[letter]?.[0]) && layout[key]?.type !== "category") base[key] = { ...(base[key] || extra), ...dated };
    }
  }
  for (const shape of layout.shapes || []) shape.line = merge({ width: 1.5 }, shape.line);
  // Names at bubbles and bars need room; where there is none they are read by pointing, by arrow keys and in the table.
  const roomy = (trace) => {
    if (chart.canvas.clientWidth >= 560) return trace;
    if (trace.mode === "markers+text") return { ...trace, mode: "markers" };
    return trace.textposition === "outside" ? { ...trace, textposition: "none" } : trace;
  };
  return { data: resolveColours(chart.figure.data || [], known).map(coloured).map(roomy), layout: merge(base, layout) };
}

/* d3 writes a few style attributes (a heat map's image, a colour bar), which a strict style-src refuses. The same text
   through the element's style object is allowed, so that is where it goes while Plotly is on the page. */
function allowStyles() {
  const plain = Element.prototype.setAttribute;
  if (plain.ofPhasegate) return;
  function setAttribute(name, value) {
    if (name === "style" && this.style) this.style.cssText = value;
    else plain.call(this, name, value);
  }
  setAttribute.ofPhasegate = true;
  Element.prototype.setAttribute = setAttribute;
}

const hasData = (figure) => (figure?.data || []).some((trace) => ["x", "y", "z", "values", "r"].some((key) => trace[key]?.length));

async function draw(chart) {
  const { node, canvas } = chart;
  if (!hasData(chart.figure)) {
    if (window.Plotly && chart.drawn) window.Plotly.purge(canvas);
    chart.drawn = false;
    canvas.replaceChildren(make("p", { class: "pg-quiet" }, chart.figure?.reason || word("noData")));
    return;
  }
  const { data, layout } = printing ? inScheme("light", () => laidOut(chart)) : laidOut(chart);
  if (printing) Object.assign(layout, { autosize: false, width: PAPER_WIDTH, height: canvas.clientHeight || 300 });
  if (!chart.drawn) canvas.replaceChildren();
  await window.Plotly.react(canvas, data, layout, { displayModeBar: false, displaylogo: false, responsive: true, locale: locale(), doubleClick: "reset" });
  if (!chart.drawn) {
    chart.drawn = true;
    canvas.on("plotly_hover", (event) => {
      chart.cursor = event.points?.[0]?.pointNumber ?? chart.cursor;
    });
  }
  node.dataset.chartReady = "1";
  if (!chart.node.querySelector("[data-chart-data]").hidden) showTable(chart);
}

const axisTitle = (axis, fallback) => (typeof axis?.title === "string" ? axis.title : axis?.title?.text) || fallback;

/** The figure as rows, first the header: one column for x, one for each trace; a grid becomes x, y, value. */
export function rowsOf(figure) {
  const traces = (figure.data || []).filter((trace) => trace.visible !== false && trace.visible !== "legendonly");
  const layout = figure.layout || {};
  const [xName, yName] = [axisTitle(layout.xaxis, "x"), axisTitle(layout.yaxis, "y")];
  const grid = traces.find((trace) => Array.isArray(trace.z));
  if (grid) {
    const rows = [[xName, yName, grid.name || axisTitle(grid.colorbar, "value")]];
    grid.z.forEach((line, i) => line.forEach((value, j) => rows.push([grid.x?.[j] ?? j, grid.y?.[i] ?? i, value])));
    return rows;
  }
  const pie = traces.find((trace) => Array.isArray(trace.values));
  if (pie) return [[xName, yName], ...pie.values.map((value, i) => [pie.labels?.[i] ?? i, value])];
  const labelled = traces.some((trace) => trace.text?.length && trace.mode?.includes("markers"));
  if (labelled) {
    const sized = traces.some((trace) => Array.isArray(trace.marker?.size));
    const group = layout.meta?.group;
    const rows = [[layout.meta?.item || "", ...(group ? [group] : []), xName, yName, ...(sized ? [axisTitle({ title: layout.meta?.size }, "size")] : [])]];
    for (const trace of traces) {
      const sizes = trace.meta?.sizes || layout.meta?.sizes || trace.marker.size;
      (trace.x || []).forEach((x, i) => rows.push([trace.text?.[i] ?? trace.name ?? "", ...(group ? [trace.name] : []), x, trace.y[i], ...(sized ? [sizes[i]] : [])]));
    }
    return rows;
  }
  const flat = traces.every((trace) => trace.orientation === "h");
  const [along, across] = flat ? ["y", "x"] : ["x", "y"];
  const order = new Map();
  traces.forEach((trace, column) => {
    const keys = trace[along] || (trace[across] || []).map((_, i) => i);
    keys.forEach((key, i) => {
      if (!order.has(key)) order.set(key, Array(traces.length).fill(null));
      order.get(key)[column] = trace[across]?.[i] ?? null;
    });
  });
  const valueName = flat ? xName : yName;
  const header = [flat ? yName : xName, ...traces.map((trace) => (trace.name ? (traces.length === 1 ? valueName : trace.name) : valueName))];
  return [header, ...[...order].map(([key, values]) => [key, ...values])];
}

function showTable(chart) {
  const box = chart.node.querySelector("[data-chart-data]");
  const [header, ...rows] = rowsOf(chart.figure);
  const number = new Intl.NumberFormat(locale(), { maximumSignificantDigits: 6 });
  const text = (value) => (typeof value === "number" ? number.format(value) : written(value) ?? "–");
  const head = make("tr", {}, ...header.map((name, i) => make("th", { scope: "col", class: i ? "pg-num" : "" }, name || "–")));
  const body = rows.slice(0, TABLE_ROWS).map((row) => make("tr", {}, ...row.map((value, i) => make(i ? "td" : "th", { class: i ? "pg-num" : "", scope: i ? null : "row" }, String(text(value))))));
  const caption = rows.length > TABLE_ROWS ? make("caption", {}, `${TABLE_ROWS} / ${rows.length}: CSV`) : null;
  box.replaceChildren(make("table", { class: "pg-table" }, caption, make("thead", {}, head), make("tbody", {}, ...body)));
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-labelledby", `${chart.node.id}-title`);
}

async function picture(chart) {
  // A picture goes into documents: always light, and in a font that it has with it.
  const { data, paper } = inScheme("light", () => {
    const { data, layout } = laidOut(chart);
    const surface = { paper_bgcolor: token("surface"), plot_bgcolor: token("surface") };
    const title = { text: chart.node.querySelector(".pg-chart-title b").textContent, x: 0.01, y: 0.97, yanchor: "top", font: { size: 16 } };
    return { data, paper: { ...layout, ...surface, title, font: { ...layout.font, family: "Arial, Helvetica, sans-serif" }, margin: { ...layout.margin, t: 80 } } };
  });
  // Plotly would rasterise through a blob: address, which img-src refuses; its SVG as a data: address is allowed.
  const [width, height, scale] = [1100, 560, 2];
  const drawing = new Image();
  drawing.src = await window.Plotly.toImage({ data, layout: paper }, { format: "svg", width, height });
  await drawing.decode();
  const sheet = make("canvas", { width: width * scale, height: height * scale });
  sheet.getContext("2d").drawImage(drawing, 0, 0, sheet.width, sheet.height);
  download(`${chart.node.dataset.name}.png`, sheet.toDataURL("image/png"));
}

function act(chart, button) {
  const kind = button.dataset.chartAct;
  if (kind === "table") {
    const box = chart.node.querySelector("[data-chart-data]");
    const open = box.hidden;
    box.hidden = !open;
    chart.canvas.hidden = open;
    button.setAttribute("aria-pressed", String(open));
    if (open) showTable(chart);
    else draw(chart);
  } else if (kind === "csv") {
    downloadText(`${chart.node.dataset.name}.csv`, toCsv(rowsOf(chart.figure)));
  } else if (kind === "png") {
    picture(chart).catch(() => toast(word("chartFailed"), "error"));
  }
}

function step(chart, event) {
  const moves = { ArrowRight: 1, ArrowLeft: -1, PageUp: 20, PageDown: -20 };
  if (!(event.key in moves) && !["Home", "End", "Escape"].includes(event.key)) return;
  if (!chart.drawn) return;
  event.preventDefault();
  const readout = chart.node.querySelector("[data-chart-readout]");
  if (event.key === "Escape") {
    window.Plotly.Fx.unhover(chart.canvas);
    readout.textContent = "";
    return;
  }
  const [header, ...rows] = rowsOf(chart.figure);
  const from = chart.cursor ?? (event.key === "ArrowLeft" ? rows.length : -1);
  const to = event.key === "Home" ? 0 : event.key === "End" ? rows.length - 1 : Math.min(rows.length - 1, Math.max(0, from + moves[event.key]));
  chart.cursor = to;
  const curves = (chart.canvas.data || []).map((trace, curveNumber) => ({ curveNumber, pointNumber: to })).filter(({ curveNumber }) => to < (chart.canvas.data[curveNumber].y?.length || 0));
  try {
    window.Plotly.Fx.hover(chart.canvas, curves);
  } catch {
    /* Some trace types cannot be pointed at; the readout below says the same. */
  }
  readout.textContent = (rows[to] || []).map((value, i) => `${header[i]}: ${value ?? "–"}`).join(", ");
}

async function refresh(chart) {
  if (!chart.node.isConnected) {
    clearInterval(chart.timer);
    charts.delete(chart.node);
    return;
  }
  if (document.hidden) return;
  const headers = { Accept: "application/json", ...(chart.etag ? { "If-None-Match": chart.etag } : {}) };
  try {
    const answer = await fetch(chart.node.dataset.src, { headers, credentials: "same-origin", cache: "no-store" });
    if (answer.ok) {
      chart.etag = answer.headers.get("ETag") || "";
      chart.figure = await answer.json();
      await draw(chart);
    }
    chart.node.dataset.pollState = answer.ok || answer.status === 304 ? "live" : "gone";
  } catch {
    chart.node.dataset.pollState = "stale";
  }
}

async function begin(node) {
  const chart = { node, canvas: node.querySelector("[data-chart-canvas]"), figure: null, drawn: false, cursor: null, etag: "", timer: 0 };
  charts.set(node, chart);
  node.addEventListener("click", (event) => {
    const button = event.target.closest("[data-chart-act]");
    if (button && chart.figure) act(chart, button);
  });
  chart.canvas.addEventListener("keydown", (event) => step(chart, event));
  allowStyles();
  try {
    const [figure] = await Promise.all([componentData(node), loadScript(document.getElementById("pg-app").dataset.plotly)]);
    chart.figure = figure || { data: [] };
    await draw(chart);
  } catch {
    chart.canvas.replaceChildren(make("p", { class: "pg-quiet" }, word("chartFailed")));
    return;
  }
  const seconds = Number(node.dataset.chartSeconds);
  if (seconds && node.dataset.src) chart.timer = setInterval(() => refresh(chart), Math.max(1, seconds) * 1000);
}

export function start(scope = document) {
  const found = all("[data-chart]", scope);
  if (scope.matches?.("[data-chart]")) found.push(scope);
  for (const node of found) if (!charts.has(node)) begin(node);
}

function redrawAll() {
  for (const [node, chart] of charts) {
    if (!node.isConnected) charts.delete(node);
    else if (chart.drawn) draw(chart);
  }
}
document.addEventListener("pg:theme", redrawAll);
/* What follows from moved sliders: {id: {title, figure}} of charts that are on the page. */
document.addEventListener("pg:ranked", (event) => {
  for (const [id, { title, figure }] of Object.entries(event.detail?.charts || {})) {
    const chart = charts.get(document.getElementById(id));
    if (!chart) continue;
    chart.node.querySelector(".pg-chart-title b").textContent = title;
    chart.figure = figure;
    if (chart.drawn) draw(chart);
  }
});
window.addEventListener("beforeprint", () => {
  printing = true;
  redrawAll();
});
window.addEventListener("afterprint", () => {
  printing = false;
  redrawAll();
});
