/* Naming somebody in a comment: after "@" the people of the picker below are offered; choosing one writes the name and picks the person. */
import { all, make } from "./core.js";

const LONGEST = 8;

/** The word after the last "@" before the cursor: { from, text }, or null. */
function asked(area) {
  const before = area.value.slice(0, area.selectionStart);
  const from = before.lastIndexOf("@");
  if (from < 0 || (from > 0 && /[\w@]/.test(before[from - 1]))) return null;
  const text = before.slice(from + 1);
  return text.length > 40 || text.includes("\n") ? null : { from, text: text.toLowerCase() };
}

function prepare(area) {
  const picker = area.form.querySelector(`#${area.dataset.mentions}`);
  if (!picker || area.dataset.ready) return;
  area.dataset.ready = "1";
  const id = `${area.id}_names`;
  const list = make("ul", { class: "gate-names", id, role: "listbox", "aria-label": picker.labels[0]?.textContent.trim() || "", hidden: true });
  area.after(list);
  for (const [name, value] of [["aria-autocomplete", "list"], ["aria-haspopup", "listbox"], ["aria-controls", id]]) area.setAttribute(name, value);
  let at = 0;

  const close = () => {
    list.hidden = true;
    list.replaceChildren();
    area.removeAttribute("aria-activedescendant");
  };
  const mark = () => {
    all("li", list).forEach((row, index) => row.setAttribute("aria-selected", String(index === at)));
    area.setAttribute("aria-activedescendant", `${id}_${at}`);
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };
  const choose = (option) => {
    const found = asked(area);
    if (!found) return;
    const name = option.textContent.trim();
    area.setRangeText(`@${name} `, found.from, area.selectionStart, "end");
    option.selected = true;
    close();
    area.focus();
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const offer = () => {
    const found = asked(area);
    const rows = found ? [...picker.options].filter((option) => option.textContent.toLowerCase().includes(found.text)).slice(0, LONGEST) : [];
    if (!rows.length || rows.some((option) => `${option.textContent.trim().toLowerCase()} ` === found.text)) {
      close();
      return;
    }
    at = 0;
    list.replaceChildren(
      ...rows.map((option, index) => {
        const row = make("li", { role: "option", id: `${id}_${index}` }, option.textContent.trim());
        // Before the field loses its focus, and with it the place of the cursor.
        row.addEventListener("mousedown", (event) => {
          event.preventDefault();
          choose(option);
        });
        return row;
      }),
    );
    list.offered = rows;
    list.hidden = false;
    mark();
  };

  area.addEventListener("input", offer);
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = (at + (event.key === "ArrowDown" ? 1 : list.children.length - 1)) % list.children.length;
      mark();
    } else if (event.key === "Enter" || event.key === "Tab") {
      event.preventDefault();
      choose(list.offered[at]);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      event.preventDefault();
      close();
    }
  });
}

export function start(scope = document) {
  for (const area of all("textarea[data-mentions]", scope)) prepare(area);
}
