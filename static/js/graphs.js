/* Graphs (lineage, topology, dependencies): {nodes: [{id, label, kind, state, url, phase}], edges: [{source, target, label}]},
   laid out by dagre in Cytoscape. The canvas is a picture; the list beside it is the same for keyboard and screen reader. */
import { all, componentData, inScheme, loadScript, make, token, word } from "./core.js";

const graphs = new Map();
const stateTone = { ok: "ok-mark", met: "ok-mark", watch: "watch-mark", breach: "breach-mark", not_met: "breach-mark", failed: "breach-mark" };

const pen = document.createElement("canvas").getContext("2d");
function widthOf(text) {
  pen.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
  return Math.ceil(pen.measureText(text || "").width);
}

function style() {
  const [ink, ink2, line, surface, accent] = ["ink", "ink-2", "line-strong", "surface", "accent"].map(token);
  const tones = Object.fromEntries(["ok-mark", "watch-mark", "breach-mark"].map((name) => [name, token(name)]));
  const phases = Object.fromEntries([1, 2, 3, 4, 5].map((n) => [n, token(`phase-${n}`)]));
  const edge = (element) => tones[stateTone[element.data("state")]] || phases[element.data("phase")] || line;
  return [
    { selector: "node", style: { shape: "round-rectangle", width: (element) => Math.min(180, widthOf(element.data("label"))) + 20, height: 28, "background-color": surface, "border-width": 1.5, "border-color": edge, label: "data(label)", color: ink, "font-size": 12, "font-family": getComputedStyle(document.body).fontFamily, "text-valign": "center", "text-halign": "center", "text-max-width": "180px", "text-wrap": "ellipsis" } },
    { selector: "node[url]", style: { "font-weight": 600 } },
    { selector: "node.is-path, node:selected", style: { "border-width": 3, "border-color": accent } },
    { selector: "edge", style: { width: 1.5, "line-color": line, "target-arrow-color": line, "target-arrow-shape": "triangle", "arrow-scale": 0.9, "curve-style": "bezier", label: "data(label)", "font-size": 10, color: ink2, "text-background-color": surface, "text-background-opacity": 1, "text-background-padding": "2px" } },
    { selector: "edge.is-path", style: { "line-color": accent, "target-arrow-color": accent, width: 2.5 } },
    { selector: ".is-faint", style: { opacity: 0.3 } },
  ];
}

function listOf(data, verb) {
  const names = new Map(data.nodes.map((node) => [node.id, node]));
  const after = new Map();
  for (const edge of data.edges || []) after.set(edge.source, [...(after.get(edge.source) || []), edge.target]);
  const link = (node) => (node.url ? make("a", { href: node.url }, node.label) : make("span", {}, node.label));
  return make(
    "ul",
    { class: "pg-history" },
    ...data.nodes.map((node) => {
      const targets = (after.get(node.id) || []).map((id) => names.get(id)).filter(Boolean);
      const text = [link(node)];
      if (node.kind) text.push(make("span", { class: "pg-quiet" }, ` ${node.kind.replaceAll("_", " ")}`));
      if (node.state) text.push(make("span", { class: "pg-quiet" }, `, ${node.state_label || node.state}`));
      if (targets.length) text.push(` ${verb} `, ...targets.flatMap((target, i) => (i ? [", ", link(target)] : [link(target)])));
      return make("li", {}, make("span", { class: "pg-quiet pg-small" }, node.group || ""), make("div", {}, ...text));
    }),
  );
}

function drawGraph(graph) {
  const { node, data } = graph;
  graph.cy?.destroy();
  const cy = window.cytoscape({
    container: node.querySelector("[data-graph-canvas]"),
    elements: [...data.nodes.map((item) => ({ data: { ...item } })), ...(data.edges || []).map((edge, i) => ({ data: { id: `edge-${i}`, label: "", ...edge } }))],
    style: style(),
    layout: { name: "dagre", rankDir: node.clientWidth < 560 ? "TB" : node.dataset.direction, nodeSep: 18, rankSep: 56, animate: false, padding: 16 },
    minZoom: 0.2,
    maxZoom: 2,
    userZoomingEnabled: false,
    boxSelectionEnabled: false,
  });
  const readable = () => {
    cy.fit(undefined, 16);
    if (cy.zoom() > 1.15) {
      cy.zoom(1.15);
      cy.center();
    }
  };
  cy.on("tap", "node", (event) => {
    const { url } = event.target.data();
    if (url) window.location.assign(url);
  });
  cy.on("mouseover", "node", (event) => {
    const path = event.target.predecessors().union(event.target.successors()).union(event.target);
    cy.elements().difference(path).addClass("is-faint");
    path.addClass("is-path");
  });
  cy.on("mouseout", "node", () => cy.elements().removeClass("is-faint is-path"));
  cy.ready(readable);
  graph.cy = cy;
  graph.fit = readable;
  node.dataset.chartReady = "1";
}

async function begin(node) {
  const graph = { node, data: null, cy: null, fit: () => {} };
  graphs.set(node, graph);
  const canvas = node.querySelector("[data-graph-canvas]");
  const list = node.querySelector("[data-graph-list]");
  node.addEventListener("click", (event) => {
    const button = event.target.closest("[data-graph-act]");
    if (!button || !graph.cy) return;
    if (button.dataset.graphAct === "fit") graph.fit();
    if (button.dataset.graphAct === "list") {
      const open = list.hidden;
      list.hidden = !open;
      canvas.hidden = open;
      button.setAttribute("aria-pressed", String(open));
      if (!open) {
        graph.cy.resize();
        graph.fit();
      }
    }
  });
  const { cytoscape: main, dagre } = document.getElementById("pg-app").dataset;
  try {
    graph.data = await componentData(node);
    if (!graph.data?.nodes?.length) {
      canvas.hidden = true;
      list.hidden = false;
      list.replaceChildren(make("p", { class: "pg-quiet" }, graph.data?.reason || word("noData")));
      return;
    }
    list.replaceChildren(listOf(graph.data, node.dataset.verb || word("feeds")));
    await loadScript(main);
    await loadScript(dagre);
    if (!window.cytoscape.phasegateReady) {
      window.cytoscape.use(window.cytoscapeDagre);
      window.cytoscape.phasegateReady = true;
    }
    drawGraph(graph);
  } catch {
    canvas.hidden = true;
    list.hidden = false;
    if (!list.childElementCount) list.replaceChildren(make("p", { class: "pg-quiet" }, word("chartFailed")));
  }
}

export function start(scope = document) {
  const found = all("[data-graph]", scope);
  if (scope.matches?.("[data-graph]")) found.push(scope);
  for (const node of found) if (!graphs.has(node)) begin(node);
}

window.addEventListener("beforeprint", () => {
  const light = inScheme("light", style);
  for (const graph of graphs.values()) graph.cy?.style(light);
});
window.addEventListener("afterprint", () => {
  const shown = style();
  for (const graph of graphs.values()) graph.cy?.style(shown);
});
document.addEventListener("pg:theme", () => {
  for (const [node, graph] of graphs) {
    if (!node.isConnected) {
      graph.cy?.destroy();
      graphs.delete(node);
    } else if (graph.cy) graph.cy.style(style());
  }
});
