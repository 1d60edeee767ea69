// The charts of the last ten minutes.

import { age, bytes, number, text } from "/parts.js";

const POINTS_MAX = 600;
const STAGES = ["receive", "verify", "persist", "execute", "prune"].map((stage) => ({ name: stage, tone: `--${stage}` }));
const ACTORS = [
  { name: "state", tone: "--state" }, { name: "qc_wal", tone: "--qcs" }, { name: "block_wal", tone: "--blocks" },
  { name: "verifier", tone: "--verify" }, { name: "pruner", tone: "--prune" },
];
const fsync = (wal, tone) => ({
  title: wal === "qcs" ? "fsync of the QC log" : "fsync of the block log", id: `fsync-${wal}`, unit: (value) => age(value), log: true,
  series: [
    { name: "p50", tone, of: (point) => point.fsync[wal].p50 },
    { name: "p99", tone: "--execute", of: (point) => point.fsync[wal].p99 },
    { name: "records in a batch", tone: "--prune", of: (point) => point.fsync[wal].batch, scale: "batch", unit: (value) => number(value) },
  ],
});
const CHARTS = [
  { title: "Blocks per second", id: "blocks", unit: (value) => number(value), series: STAGES.map((stage) => ({ ...stage, of: (point) => point.blocks[stage.name] })) },
  { title: "Bytes per second", id: "bytes", unit: (value) => bytes(value), series: STAGES.map((stage) => ({ ...stage, of: (point) => point.bytes[stage.name] })) },
  fsync("qcs", "--qcs"),
  fsync("blocks", "--blocks"),
  { title: "Latency since production, median", id: "latency", unit: (value) => age(value), log: true, series: STAGES.map((stage) => ({ ...stage, of: (point) => point.latency[stage.name] })) },
  { title: "Messages in the mailboxes", id: "mailbox", unit: (value) => number(value), series: ACTORS.map((actor) => ({ ...actor, of: (point) => point.mailbox[actor.name] })) },
];

// A power of ten in the largest unit that is whole.
const instant = (seconds) => (seconds < 1e-3 ? `${Math.round(seconds * 1e6)} µs` : seconds < 1 ? `${Math.round(seconds * 1e3)} ms` : `${number(seconds)} s`);

// The powers of ten between two, at most five of them.
function powers(low, high) {
  const [first, last] = [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  const step = Math.ceil((last - first) / 5) || 1;
  const found = [];
  for (let power = first; power <= last; power += step) found.push(10 ** power);
  return found;
}

// Whole powers of ten around what is shown.
function decades(plot, low, high) {
  if (!(low > 0)) return [1e-4, 1];
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.max(Math.ceil(Math.log10(high)), Math.floor(Math.log10(low)) + 1)];
}

export class Charts {
  constructor(parent) {
    this.points = [];
    this.shown = CHARTS.map((chart) => this.figure(chart, parent));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const shown of this.shown) this.plot(shown);
    });
    new ResizeObserver(() => {
      for (const { plot, box } of this.shown) plot?.setSize({ width: box.clientWidth, height: box.clientHeight });
    }).observe(parent);
  }

  figure(chart, parent) {
    const figure = text("figure", "", "chart");
    figure.id = `chart-${chart.id}`;
    const keys = text("span", "", "keys");
    const values = chart.series.map((series) => {
      const key = text("span", `${series.name} `);
      key.style.setProperty("--tone", `var(${series.tone})`);
      const value = text("b", "–");
      key.append(value);
      keys.append(key);
      return value;
    });
    const caption = document.createElement("figcaption");
    caption.append(text("h3", chart.title), keys);
    const box = text("div", "", "plot");
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${chart.title} over the last ten minutes; the newest values stand beside the title`);
    figure.append(caption, box);
    parent.append(figure);
    return { chart, figure, box, values, plot: null };
  }

  plot(shown) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { chart, box } = shown;
    shown.plot?.destroy();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const scaled = chart.series.some((series) => series.scale);
    shown.plot = new uPlot({
      width: box.clientWidth, height: box.clientHeight, legend: { show: false },
      // All charts show what was at the moment that one of them is pointed at.
      cursor: { y: false, points: { size: 5 }, sync: { key: "time" }, drag: { x: false, y: false } }, hooks: { setCursor: [() => this.read(shown)] }, padding: [8, scaled ? 0 : 10, 0, 0],
      scales: {
        x: { range: () => this.range() },
        y: chart.log ? { distr: 3, range: decades } : { range: (plot, low, high) => [0, high > 0 ? high * 1.12 : 1] },
        batch: { range: (plot, low, high) => [0, high > 0 ? high * 1.6 : 1] },
      },
      axes: [
        { ...axis, size: 26, space: 80, values: (plot, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB")) },
        { ...axis, size: 62, space: 30, ...(chart.log ? { splits: (plot, at, low, high) => powers(low, high), filter: (plot, splits) => splits } : {}), values: (plot, splits) => splits.map((value) => (chart.log ? instant : chart.unit)(value).replace(".0 ", " ")) },
        ...(scaled ? [{ ...axis, side: 1, scale: "batch", size: 40, space: 44, grid: { show: false } }] : []),
      ],
      series: [{}, ...chart.series.map((series) => ({ label: series.name, stroke: colour(series.tone), width: series.scale ? 1 : 1.6, dash: series.scale ? [3, 4] : undefined, scale: series.scale ?? "y", spanGaps: true, points: { show: false } }))],
    }, this.columns(chart), box);
  }

  // What there is of the last ten minutes, and never less than one.
  range() {
    const end = this.points.at(-1)?.t ?? Date.now() / 1000;
    const begin = Math.max(this.points[0]?.t ?? end, end - POINTS_MAX);
    return [Math.min(begin, end - 60), end];
  }

  columns(chart) {
    // A logarithmic scale has no zero.
    const value = (series, point) => (chart.log && !series.scale ? series.of(point) || null : series.of(point) ?? null);
    return [this.points.map((point) => point.t), ...chart.series.map((series) => this.points.map((point) => value(series, point)))];
  }

  replace(points) {
    this.points = points;
    this.draw();
  }

  add(point) {
    if (this.points.at(-1)?.t === point.t) return;
    this.points.push(point);
    if (this.points.length > POINTS_MAX) this.points.shift();
    this.draw();
  }

  draw() {
    const newest = this.points.at(-1);
    for (const shown of this.shown) {
      if (shown.plot) shown.plot.setData(this.columns(shown.chart));
      else this.plot(shown);
      for (const series of shown.chart.series) {
        const value = newest ? series.of(newest) : null;
        shown.figure.dataset[series.name.split(" ")[0]] = value == null ? "" : String(value);
      }
      this.read(shown);
    }
  }

  // Writes the values beside a chart's title: those of the moment that is pointed at, else the newest.
  read(shown) {
    const at = shown.plot?.cursor.idx;
    const point = at == null ? this.points.at(-1) : this.points[at];
    shown.chart.series.forEach((series, place) => {
      const value = point ? series.of(point) : null;
      shown.values[place].textContent = value == null ? "–" : (series.unit ?? shown.chart.unit)(value);
    });
    const when = at == null || !point ? "" : `at ${new Date(point.t * 1000).toLocaleTimeString("en-GB")}`;
    document.getElementById("chart-time").textContent = when;
  }
}
