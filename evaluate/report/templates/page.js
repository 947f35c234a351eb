"use strict";

const root = document.documentElement;
const charts = [...document.querySelectorAll(".chart")];
const dark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");

// Pixels of a page of A4 or US letter, without margins and captions.
const paperWidth = 680;
const paperHeight = 900;

function colour(name) {
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// What charts take from the page: all colours that are not data's.
function template() {
  const [ink, muted, rule, panel] = ["ink", "muted", "rule", "panel"].map(colour);
  const axis = { gridcolor: rule, linecolor: muted, zerolinecolor: rule, tickcolor: muted, automargin: true };
  return {
    layout: {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 16, t: 8, b: 8 },
      xaxis: axis,
      yaxis: axis,
      shapedefaults: { line: { color: muted } },
      annotationdefaults: { font: { size: 12.5 } },
      hoverlabel: { bgcolor: panel, bordercolor: rule, font: { color: ink }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
    },
  };
}

const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

function redraw(onPaper = false) {
  const colours = { template: template() };
  for (const chart of charts) {
    if (!chart.data) continue;
    const scale = onPaper ? Math.min(1, paperHeight / chart.layout.height) : 1;
    chart.style.zoom = scale;
    Plotly.relayout(chart, { ...colours, width: onPaper ? paperWidth / scale : null, autosize: !onPaper });
    // plotly.js sees only now where a legend belongs whose number of lines has changed.
    if (chart.layout.legend) Plotly.relayout(chart, colours);
  }
}

function setTheme(theme) {
  if (theme) root.dataset.theme = theme;
  themeButton.textContent = isDark() ? "Light" : "Dark";
  redraw();
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const isNamed = (trace) => trace.name && trace.showlegend !== false;

async function draw() {
  const script = document.createElement("script");
  script.textContent = await unpack(document.getElementById("plotly").textContent);
  document.head.append(script);
  const config = { displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  for (const chart of charts) {
    const { data, layout } = JSON.parse(await unpack(chart.firstElementChild.textContent));
    chart.replaceChildren();
    // On a phone a legend has one name a line.
    if (chart.clientWidth < 500 && layout.legend) layout.height += 18 * data.filter(isNamed).length;
    chart.style.height = `${layout.height}px`;
    await Plotly.newPlot(chart, data, { ...layout, template: template() }, config);
    await new Promise((done) => setTimeout(done));
  }
  root.dataset.drawn = charts.length;
}

function compare(one, other) {
  const [a, b] = [Number(one), Number(other)];
  if (one !== "nan" && other !== "nan" && !Number.isNaN(a) && !Number.isNaN(b)) return a - b;
  return one.localeCompare(other);
}

function sortBy(header) {
  const descending = header.ariaSort === "ascending";
  const body = header.closest("table").tBodies[0];
  const key = (row) => row.cells[header.cellIndex].dataset.key;
  const missing = (row) => key(row) === "nan";
  const rows = [...body.rows].sort((one, other) => {
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    return (descending ? -1 : 1) * compare(key(one), key(other));
  });
  body.append(...rows);
  for (const cell of header.parentElement.cells) cell.ariaSort = "none";
  header.ariaSort = descending ? "descending" : "ascending";
}

for (const header of document.querySelectorAll("thead th")) header.firstElementChild.onclick = () => sortBy(header);
themeButton.onclick = () => setTheme(isDark() ? "light" : "dark");
dark.onchange = () => setTheme();

let lastWidth = innerWidth;
let resized;
addEventListener("resize", () => {
  if (innerWidth === lastWidth) return;
  lastWidth = innerWidth;
  clearTimeout(resized);
  resized = setTimeout(() => redraw(), 100);
});

// On paper all is light and open, and charts fit a page; they have to know before the browser lays it out.
let onScreen;
addEventListener("beforeprint", () => {
  const folds = [...document.querySelectorAll("details:not([open])")];
  onScreen = { theme: root.dataset.theme, folds };
  for (const fold of folds) fold.open = true;
  root.dataset.theme = "light";
  redraw(true);
});
addEventListener("afterprint", () => {
  for (const fold of onScreen.folds) fold.open = false;
  if (onScreen.theme) root.dataset.theme = onScreen.theme;
  else delete root.dataset.theme;
  redraw();
});
setTheme();
draw();
