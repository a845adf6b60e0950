/* Tables: row links, column chooser, choosing rows for bulk acts, and a name for tables too wide for their place. */
import { all, kept, word } from "./core.js";

function openRow(row, event) {
  if (event.target.closest("a, button, input, label, select, summary")) return;
  if (String(window.getSelection())) return;
  if (event.ctrlKey || event.metaKey || event.button === 1) window.open(row.dataset.href, "_blank", "noopener");
  else window.location.assign(row.dataset.href);
}

function measure(wrap) {
  const table = wrap.querySelector("table");
  if (!table) return;
  wrap.classList.remove("is-wide");
  const wide = table.scrollWidth > wrap.clientWidth + 1;
  wrap.classList.toggle("is-wide", wide);
  if (wide) {
    wrap.setAttribute("tabindex", "0");
    wrap.setAttribute("role", "region");
    wrap.setAttribute("aria-label", word("scroll"));
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) wrap.removeAttribute(name);
  }
}

function prepareColumns(menu) {
  const key = menu.dataset.columns;
  const hidden = new Set(kept.read().columns?.[key] || []);
  const wrap = menu.closest("#table, [data-table-scope]") || document;
  const apply = () => {
    for (const cell of all("[data-column]", wrap)) cell.hidden = hidden.has(cell.dataset.column);
    for (const box of all(".pg-table-wrap", wrap)) measure(box);
  };
  for (const box of all('input[type="checkbox"]', menu)) {
    box.checked = !hidden.has(box.value);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(box.value);
      else hidden.add(box.value);
      kept.write({ columns: { ...kept.read().columns, [key]: [...hidden] } });
      apply();
    });
  }
  if (hidden.size) apply();
}

function prepareBulk(form) {
  const bar = form.querySelector("[data-bulk-bar]");
  const boxes = all('tbody input[type="checkbox"]', form);
  const whole = form.querySelector('thead input[type="checkbox"]');
  const tell = () => {
    const chosen = boxes.filter((box) => box.checked).length;
    bar.classList.toggle("is-on", chosen > 0);
    bar.querySelector("[data-bulk-count]").textContent = `${chosen} ${word("selected")}`;
    for (const box of boxes) box.closest("tr").classList.toggle("is-selected", box.checked);
    if (whole) {
      whole.checked = chosen > 0 && chosen === boxes.length;
      whole.indeterminate = chosen > 0 && chosen < boxes.length;
    }
  };
  form.addEventListener("change", (event) => {
    if (event.target === whole) for (const box of boxes) box.checked = whole.checked;
    tell();
  });
  tell();
}

const watcher = new ResizeObserver((entries) => {
  for (const entry of entries) measure(entry.target);
});

export function prepareTables(scope = document) {
  for (const wrap of all(".pg-table-wrap", scope)) {
    if (wrap.dataset.ready) continue;
    wrap.dataset.ready = "1";
    watcher.observe(wrap);
    wrap.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-href]");
      if (row) openRow(row, event);
    });
    wrap.addEventListener("auxclick", (event) => {
      const row = event.target.closest("tr[data-href]");
      if (row && event.button === 1) openRow(row, event);
    });
  }
  for (const menu of all("[data-columns]", scope)) {
    if (menu.dataset.ready) continue;
    menu.dataset.ready = "1";
    prepareColumns(menu);
  }
  for (const form of all("[data-bulk-form]", scope)) {
    if (form.dataset.ready) continue;
    form.dataset.ready = "1";
    prepareBulk(form);
  }
}
