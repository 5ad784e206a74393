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
    if (entry.target.id === "curve" && selected >= 0) highlight();
  }
}, { rootMargin: "300px" });
for (const holder of document.querySelectorAll(".figure")) seen.observe(holder);
addEventListener("beforeprint", () => document.querySelectorAll(".figure:not(.js-plotly-plot)").forEach(draw));

for (const select of document.querySelectorAll("select[data-for]")) {
  select.addEventListener("change", () => {
    const holder = document.getElementById(select.dataset.for);
    holder.dataset.figure = select.value;
    draw(holder);
    if (select.dataset.for === "curve") highlight();
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
const search = document.getElementById("search");
const boxes = [...document.querySelectorAll("#columns input")];
const heads = [...document.querySelectorAll("#settings th")];
const chosen = document.getElementById("chosen");
const curve = document.getElementById("curve");
let order = table.order;
let shown = page;
let selected = -1;

function written(value) {
  if (value === null) return "\u2013";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(3);
}

// A row is found by a text if one of its visible cells has it, in any case of letters.
function fits(row, text) {
  return table.columns.some((column, index) => boxes[index].checked
    && (written(column.values[row]).toLowerCase().includes(text) || String(column.values[row]).toLowerCase().includes(text)));
}

function show() {
  const wanted = filter.value;
  const text = search.value.trim().toLowerCase();
  const rows = order.filter((row) => (!wanted || table.status[row] === wanted) && (!text || fits(row, text)));
  heads.forEach((head, index) => { head.hidden = !boxes[index].checked; });
  body.replaceChildren(...rows.slice(0, shown).map((row) => {
    const line = document.createElement("tr");
    line.dataset.row = row;
    line.tabIndex = 0;
    line.classList.toggle("best-row", row === table.best);
    line.classList.toggle("chosen-row", row === selected);
    for (const [index, column] of table.columns.entries()) {
      if (!boxes[index].checked) continue;
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
search.addEventListener("input", () => { shown = page; show(); });
for (const box of boxes) box.addEventListener("change", show);

// The curve of the row that was clicked stands out of the others; a second click lets it go.
function highlight() {
  const figure = figures[curve.dataset.figure];
  // Plotly changes the figure's own traces, so how they were is kept beside them.
  figure.plain ??= figure.data.map((trace) => ({ ...trace.line, opacity: trace.opacity ?? 1 }));
  const lines = figure.plain;
  const found = figure.data.findIndex((trace) => selected >= 0 && trace.meta === selected);
  if (curve.classList.contains("js-plotly-plot")) {
    Plotly.restyle(curve, {
      "line.width": lines.map((line, index) => (index === found ? 5 : line.width)),
      "line.color": lines.map((line, index) => (index === found ? "#111827" : line.color)),
      opacity: lines.map((line, index) => (index === found ? 1 : lines[index].opacity)),
    });
  }
  chosen.hidden = selected < 0;
  chosen.textContent = found < 0 ? `Setting ${selected} is not among the curves that are drawn.` : `The curve of setting ${selected} stands out above.`;
}

function choose(row) {
  selected = row === selected ? -1 : row;
  for (const line of body.rows) line.classList.toggle("chosen-row", Number(line.dataset.row) === selected);
  highlight();
}

body.addEventListener("click", (event) => {
  const line = event.target.closest("tr");
  if (line) choose(Number(line.dataset.row));
});
body.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.dataset.row) choose(Number(event.target.dataset.row));
});
more.addEventListener("click", () => { shown += 5 * page; show(); });
show();

// A page that is served asks whether the sweep has gone on, and loads itself again with what the reader had chosen.
const version = document.documentElement.dataset.version;
if (version) {
  const memory = `kept ${location.pathname}`; // several pages may be open side by side
  const kept = JSON.parse(sessionStorage.getItem(memory) ?? "null");
  if (kept) {
    filter.value = kept.filter;
    search.value = kept.search;
    boxes.forEach((box, index) => { box.checked = kept.boxes[index] ?? true; });
    if (kept.sorted >= 0 && kept.sorted < heads.length) {
      sort(kept.sorted);
      if (kept.down) sort(kept.sorted);
    }
    shown = kept.shown;
    show();
    if (kept.selected >= 0) choose(kept.selected);
    scrollTo(0, kept.scroll);
  }
  setInterval(async () => {
    let now = version;
    try {
      now = await (await fetch("version")).text();
    } catch {
      return; // the server has ended; what is shown stays
    }
    if (now === version) return;
    const sorted = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    const down = sorted >= 0 && heads[sorted].getAttribute("aria-sort") === "descending";
    sessionStorage.setItem(memory, JSON.stringify({
      filter: filter.value, search: search.value, boxes: boxes.map((box) => box.checked), sorted, down, shown, selected, scroll: scrollY,
    }));
    location.reload();
  }, 2000);
}
