// Draws a dashboard of Grafana as an SVG, where there is no Grafana: `node render.mjs DASHBOARD PROMETHEUS FROM TO OUT [TITLE]`, with
// FROM and TO in seconds since 1970. It puts the queries of each panel to Prometheus and draws lines and numbers; it knows the kinds of
// panels, units and options that roomcast.json uses, and no others. A query that Prometheus refuses ends it.

import { readFileSync, writeFileSync } from "node:fs";

const [dashboard, prometheus, from, to, out, title = ""] = process.argv.slice(2);
if (!out) throw new Error("usage: node render.mjs DASHBOARD PROMETHEUS FROM TO OUT [TITLE]");
const { panels } = JSON.parse(readFileSync(dashboard, "utf8"));

/** The size of a unit of the grid, in pixels. */
const [CELL_WIDTH, CELL_HEIGHT, MARGIN, TOP] = [60, 29, 8, 34];
/** Points of a line. */
const POINTS = 90;
const COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff"];
const [TEXT, FAINT] = ["#d8d9da", "#8e8e8e"];

const step = Math.max(1, Math.round((to - from) / POINTS));
const boxes = [];
for (const panel of panels) boxes.push(await draw(panel));
const rows = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h));
const [width, height] = [24 * CELL_WIDTH + 2 * MARGIN, rows * CELL_HEIGHT + TOP + MARGIN];
writeFileSync(
  out,
  `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="DejaVu Sans, sans-serif" font-size="10">
<rect width="100%" height="100%" fill="#111217"/>
<text x="${MARGIN}" y="22" font-size="15" fill="${TEXT}">${escaped(title)}</text>
${boxes.join("\n")}
</svg>
`,
);

/** The answer of Prometheus to a query, at the end or over the whole time. */
async function ask({ expr, instant }) {
  const query = expr.replaceAll("$job", ".*").replaceAll("$instance", ".*").replaceAll("$__rate_interval", "20s");
  const time = instant ? { time: to } : { start: from, end: to, step };
  const parameters = new URLSearchParams({ query, ...time });
  const answer = await fetch(`${prometheus}/api/v1/${instant ? "query" : "query_range"}?${parameters}`);
  const { status, error, data } = await answer.json();
  if (status !== "success") throw new Error(`${query}: ${error}`);
  return data.result;
}

async function draw({ type, title: name, gridPos, targets = [], fieldConfig, options }) {
  const [x, y] = [MARGIN + gridPos.x * CELL_WIDTH, TOP + gridPos.y * CELL_HEIGHT];
  if (type === "row") return `<text x="${x}" y="${y + 20}" font-size="14" fill="${TEXT}">${escaped(name)}</text>`;
  const box = { width: gridPos.w * CELL_WIDTH - 6, height: gridPos.h * CELL_HEIGHT - 6 };
  const series = [];
  for (const target of targets) {
    for (const { metric, value, values } of await ask(target)) {
      const label = target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_, key) => metric[key] ?? "");
      series.push({ label, values: (values ?? [value]).map(([time, text]) => [time, Number(text)]) });
    }
  }
  const inner = type === "stat" ? stat(series, fieldConfig.defaults, options, box) : lines(series, fieldConfig.defaults, box);
  return `<g transform="translate(${x} ${y})"><rect width="${box.width}" height="${box.height}" fill="#181b1f" stroke="#2c3235"/>
<text x="8" y="16" font-size="11" fill="${TEXT}">${escaped(name)}</text>${inner}</g>`;
}

function stat(series, { mappings, thresholds, unit }, { textMode }, { width: w, height: h }) {
  const texts = series.map(({ label, values }) => {
    const value = values.at(-1)[1];
    const mapped = mappings[0]?.options[value];
    const { color } = thresholds.steps.filter((each) => each.value === null || value >= each.value).at(-1);
    const fill = { text: TEXT, green: COLOURS[0], red: COLOURS[4] }[mapped?.color ?? color];
    return { text: textMode === "name" ? label : (mapped?.text ?? shown(value, unit)), fill };
  });
  if (texts.length === 0) texts.push({ text: "no data", fill: FAINT });
  const text = texts.map((each) => each.text).join(", ");
  return `<text x="${w / 2}" y="${h / 2 + 18}" font-size="26" text-anchor="middle" fill="${texts[0].fill}">${escaped(text)}</text>`;
}

function lines(series, { unit, max: most, custom, thresholds }, { width: w, height: h }) {
  const [left, top, right, bottom] = [56, 26, w - 8, h - 50];
  if (custom.stacking.mode === "normal") stack(series);
  const values = series.flatMap((each) => each.values.map(([, value]) => value)).filter(Number.isFinite);
  const limit = custom.thresholdsStyle && thresholds.steps.at(-1).value;
  const highest = most ?? nice(Math.max(0, ...values, limit ?? 0) || 1);
  const at = ([time, value]) => [left + ((time - from) / (to - from)) * (right - left), bottom - (value / highest) * (bottom - top)];
  let drawing = "";
  for (const part of [0, 0.5, 1]) {
    const y = bottom - part * (bottom - top);
    drawing += `<path d="M${left} ${y}H${right}" stroke="#2c3235"/><text x="${left - 5}" y="${y + 3}" text-anchor="end" fill="${FAINT}">${shown(part * highest, unit)}</text>`;
  }
  for (const part of [0, 0.5, 1]) {
    const time = Number(from) + part * (to - from);
    const anchor = ["start", "middle", "end"][part * 2];
    drawing += `<text x="${left + part * (right - left)}" y="${bottom + 13}" text-anchor="${anchor}" fill="${FAINT}">${new Date(time * 1000).toISOString().slice(11, 19)}</text>`;
  }
  if (limit) {
    const [, y] = at([0, limit]);
    drawing += `<path d="M${left} ${y.toFixed(1)}H${right}" stroke="${COLOURS[4]}" stroke-dasharray="4 3" opacity="0.6"/>`;
  }
  // The legend has two lines; what does not fit is left out.
  let [x, y] = [8, h - 20];
  series.forEach(({ label, values: points }, index) => {
    const colour = COLOURS[index % COLOURS.length];
    // A line is interrupted where there is no value.
    let [path, before] = ["", -Infinity];
    for (const [time, value] of points) {
      if (!Number.isFinite(value)) continue;
      const [px, py] = at([time, value]).map((each) => each.toFixed(1));
      path += `${time - before > 1.5 * step ? "M" : "L"}${px} ${py}`;
      before = time;
    }
    drawing += `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.3"/>`;
    const length = 16 + 6.1 * label.length;
    if (x + length > w && y < h - 10) [x, y] = [8, h - 8];
    if (x + length > w) return;
    drawing += `<rect x="${x}" y="${y - 4}" width="8" height="3" fill="${colour}"/><text x="${x + 11}" y="${y}" fill="${TEXT}">${escaped(label)}</text>`;
    x += length + 6;
  });
  if (values.length === 0) drawing += `<text x="${w / 2}" y="${h / 2}" text-anchor="middle" fill="${FAINT}">no data</text>`;
  return drawing;
}

/** Adds to each series those before it. */
function stack(series) {
  const sums = new Map();
  for (const { values } of series) {
    for (const point of values) {
      point[1] += sums.get(point[0]) ?? 0;
      sums.set(point[0], point[1]);
    }
  }
}

/** The next number of 1, 2 or 5 times a power of ten. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value * 0.999) ?? value;
}

function shown(value, unit) {
  if (unit === "percentunit") return `${Math.round(value * 100)} %`;
  if (unit === "s") return value >= 1 || value === 0 ? `${number(value)} s` : value >= 1e-3 ? `${number(value * 1e3)} ms` : `${number(value * 1e6)} µs`;
  if (unit === "bytes" || unit === "Bps") {
    const size = value >= 2 ** 30 ? [value / 2 ** 30, "GiB"] : value >= 2 ** 20 ? [value / 2 ** 20, "MiB"] : value >= 2 ** 10 ? [value / 2 ** 10, "KiB"] : [value, "B"];
    return `${number(size[0])} ${size[1]}${unit === "Bps" ? "/s" : ""}`;
  }
  return `${number(value)}${unit === "ops" ? "/s" : ""}`;
}

function number(value) {
  return value >= 1e6 ? `${Number((value / 1e6).toPrecision(3))}M` : value >= 1e4 ? `${Number((value / 1e3).toPrecision(3))}k` : String(Number(value.toPrecision(3)));
}

function escaped(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
