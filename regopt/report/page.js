"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const figures = read("figures");
const options = {
  displaylogo: false,
  responsive: true,
  plotlyServerURL: "",
};
const buttons = [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]];

function draw(holder) {
  const figure = figures[holder.dataset.figure];
  const plain = figure.data[0].type === "parcoords" || holder.parentElement.className === "slices";
  Plotly.react(holder, figure.data, figure.layout, { ...options, ...(plain ? { displayModeBar: false } : { modeBarButtons: buttons }) });
}

// A figure is drawn when it comes near the screen, so that a page with many figures opens at once.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "300px" });
for (const holder of document.querySelectorAll(".figure")) seen.observe(holder);
addEventListener("beforeprint", () => document.querySelectorAll(".figure:not(.js-plotly-plot)").forEach(draw));

for (const select of document.querySelectorAll("select[data-for]")) {
  select.addEventListener("change", () => {
    const holder = document.getElementById(select.dataset.for);
    holder.dataset.figure = select.value;
    draw(holder);
  });
}

for (const button of document.querySelectorAll(".copy button")) {
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// The table of all settings: its columns, the order of its rows, and how many of them are shown.
const table = read("table");
const page = 100;
const body = document.querySelector("#settings tbody");
const more = document.getElementById("more");
const filter = document.getElementById("filter");
let order = table.order;
let shown = page;

function written(value) {
  if (value === null) return "\u2013";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(3);
}

function show() {
  const wanted = filter.value;
  const rows = wanted ? order.filter((row) => table.status[row] === wanted) : order;
  body.replaceChildren(...rows.slice(0, shown).map((row) => {
    const line = document.createElement("tr");
    if (row === table.best) line.className = "best-row";
    for (const column of table.columns) {
      const cell = line.insertCell();
      const value = column.values[row];
      cell.textContent = written(value);
      cell.title = value === null ? "" : String(value);
      if (column.text) cell.className = "text";
    }
    return line;
  }));
  more.hidden = rows.length <= shown;
  more.textContent = `Show more (${Math.min(shown, rows.length)} of ${rows.length})`;
}

// Numbers sort before texts; missing values come last in both directions.
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === typeof b) return String(a).localeCompare(String(b));
  return typeof a === "number" ? -1 : 1;
}

function sort(index) {
  const heads = document.querySelectorAll("#settings th");
  const down = heads[index].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[index].setAttribute("aria-sort", down ? "descending" : "ascending");
  const values = table.columns[index].values;
  order = [...values.keys()].sort((a, b) => {
    if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
    return (down ? -1 : 1) * compare(values[a], values[b]) || a - b;
  });
  shown = page;
  show();
}

document.querySelectorAll("#settings th button").forEach((button, index) => button.addEventListener("click", () => sort(index)));
filter.addEventListener("change", () => { shown = page; show(); });
more.addEventListener("click", () => { shown += 5 * page; show(); });
show();
