"use strict";
// The page is complete without this script: it sorts tables, filters answers and marks the place in the
// contents.

function sortTable(table, column, button) {
  const header = button.closest("th");
  const descending = header.getAttribute("aria-sort") === "ascending";
  const key = (row) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
  };
  const order = (a, b) => {
    const x = key(a);
    const y = key(b);
    if (typeof x === "number" && typeof y === "number") return x - y;
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    return x.localeCompare(y);
  };
  const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? order(b, a) : order(a, b)));
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortTable(table, column, button));
  });
}

// Each example carries what its filters may ask for: data-principle="0 3", data-change="better".
function makeFilters(filters) {
  const examples = [...document.querySelectorAll(filters.dataset.of)];
  const selects = [...filters.querySelectorAll("select")];
  const count = filters.querySelector("output");
  const show = () => {
    let shown = 0;
    for (const example of examples) {
      example.hidden = selects.some((select) => {
        const values = (example.dataset[select.name] || "").split(" ");
        return select.value !== "" && !values.includes(select.value);
      });
      shown += example.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${examples.length} shown`;
  };
  for (const select of selects) select.addEventListener("change", show);
  filters.hidden = false;
  show();
}

function markPlace(links) {
  const places = links.map((link) => document.getElementById(link.hash.slice(1)));
  const mark = () => {
    let at = 0;
    places.forEach((place, i) => {
      if (place && place.getBoundingClientRect().top < 120) at = i;
    });
    links.forEach((link, i) => {
      if (i === at) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".filters").forEach(makeFilters);
markPlace([...document.querySelectorAll("nav a")]);
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
