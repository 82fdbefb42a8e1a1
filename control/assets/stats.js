// The chart and the live list of a page with statistics.
import { localise } from "./carom.js";
import { locale, number, plural, t } from "./messages.js";

const $ = (selector, root = document) => root.querySelector(selector);

// --- The chart -----------------------------------------------------------------------------------

const place = $("#chart");
const data = place && JSON.parse($("#series").textContent);
/** What stands there while no step is pointed at. */
const note = place && $("#hint").textContent;
let chart;

/** A colour of the style sheet, as a canvas takes it. */
function colour(name) {
  place.style.color = `var(${name})`;
  const found = getComputedStyle(place).color;
  place.style.color = "";
  return found;
}

/** The last bucket is not over yet: what is there of it is drawn as a line of its own, in dashes. */
function split(values, hasRest) {
  const last = values.findLastIndex((value) => value !== null);
  if (!hasRest || last < 1) return [values, values.map(() => null)];
  return [
    values.map((value, at) => (at >= last ? null : value)),
    values.map((value, at) => (at >= last - 1 ? value : null)),
  ];
}

/** Words under the chart: times of a day, of which each new one is named, or days, months, years. */
function marks(_, ticks, axis, space, apart) {
  const words = (style) => {
    const format = new Intl.DateTimeFormat(locale, { timeZone: data.zone, ...style });
    return ticks.map((tick) => format.format(tick * 1e3));
  };
  if (apart >= 31536000) return words({ year: "numeric" });
  if (apart >= 2419200) return words({ month: "short", year: "numeric" });
  const days = words({ month: "short", day: "numeric" });
  if (apart >= 86400) return days;
  return words({ timeStyle: "short" }).map((time, at) => (at && days[at] !== days[at - 1] ? days[at] : time));
}

function draw() {
  const [whole, rest] = split(data.now, data.isOpen);
  const axis = { stroke: colour("--ink-3"), ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const line = { stroke: colour("--accent"), width: 2, points: { show: data.at.length < 3 } };
  chart?.destroy();
  chart = new uPlot({
    width: place.clientWidth,
    height: place.clientHeight,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), data.zone),
    legend: { show: false },
    cursor: { points: { size: 7 }, y: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 64, values: marks },
      {
        ...axis,
        grid: { stroke: colour("--line"), width: 1 },
        size: 56,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
        values: (_, ticks) => ticks.map(number),
      },
    ],
    series: [
      {},
      { stroke: colour("--second"), width: 1.25, dash: [2, 4], points: { show: false } },
      { ...line, fill: colour("--accent-soft") },
      { ...line, dash: [5, 4] },
    ],
    hooks: { setCursor: [hint], setSelect: [zoom] },
  }, [data.at, data.before ?? data.now.map(() => null), whole, rest], place);
}

/** Numbers of the chart, in words. */
const WORDS = {
  clicks: (n) => plural("{n} click", "{n} clicks", n),
  visitors: (n) => plural("{n} visitor", "{n} visitors", n),
  bots: (n) => plural("{n} bot", "{n} bots", n),
};

/** What stands under the cursor, in words. */
function hint(plot) {
  const at = plot.cursor.idx;
  const tip = $("#hint");
  if (at === null || at === undefined) { tip.textContent = note; return; }
  const hour = data.step < 86400 ? { timeStyle: "short" } : {};
  const time = new Date(data.at[at] * 1e3).toLocaleString(locale, { dateStyle: "medium", timeZone: data.zone, ...hour });
  const words = (n) => (n === null ? t("nothing yet") : WORDS[data.name](n));
  const [now, before] = [words(data.now[at]), data.before?.[at] ?? null];
  tip.textContent = before === null ? t("{time}: {now}", { time, now })
    : t("{time}: {now}, before: {before}", { time, now, before: number(before) });
}

/** Dragging over the chart chooses a range; the fields for dates do the same. */
function zoom(plot) {
  if (plot.select.width < 8) return;
  const date = (x) => new Date(plot.posToVal(x, "x") * 1e3).toISOString().replace(/\.\d+/, "");
  const url = new URL(location.href);
  url.searchParams.delete("period");
  url.searchParams.delete("interval");
  url.searchParams.set("from", date(plot.select.left));
  url.searchParams.set("to", date(plot.select.left + plot.select.width));
  location.assign(url);
}

if (place) {
  draw();
  document.addEventListener("theme", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let waits;
  new ResizeObserver(() => {
    cancelAnimationFrame(waits);
    waits = requestAnimationFrame(() => chart.setSize({ width: place.clientWidth, height: place.clientHeight }));
  }).observe(place);
  place.tabIndex = 0;
  place.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const last = data.at.length - 1;
    const at = Math.min(last, Math.max(0, (chart.cursor.idx ?? last + 1) + step));
    chart.setCursor({ left: chart.valToPos(data.at[at], "x"), top: 0 });
  });
}

// --- The map: names of countries are the browser's -----------------------------------------------

for (const shape of document.querySelectorAll("[data-place]")) {
  let name = shape.dataset.place;
  try { name = new Intl.DisplayNames(locale, { type: "region" }).of(name); } catch { /* its code */ }
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = `${name}: ${shape.dataset.words}`;
  shape.append(title);
}

// --- Clicks as they come -------------------------------------------------------------------------

const list = $("#live");
/** Rows that are kept. */
const ROWS = 30;
/** Who asked, where it was nobody. */
const KINDS = { bot: t("bot"), preview: t("preview"), prefetch: t("prefetch"), head: t("HEAD request") };
let stream;

function open() {
  stream = new EventSource(list.dataset.stream);
  stream.addEventListener("click", (event) => add(JSON.parse(event.data)));
  $("#live-state").dataset.state = "on";
}

function close() {
  stream?.close();
  stream = undefined;
  $("#live-state").dataset.state = "off";
}

function cell(text, name) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = text;
  return span;
}

function add(click) {
  const row = document.createElement("li");
  const country = document.createElement("span");
  if (click.country) country.dataset.region = click.country;
  const what = cell("", "clip");
  const parts = [click.city, click.browser && click.os ? t("{browser} on {os}", click) : click.browser];
  what.append(country, parts.filter(Boolean).map((part) => ` · ${part}`).join("") || ` ${t("unknown")}`);
  const time = cell(new Date(click.at).toLocaleTimeString(locale), "muted num");
  const from = cell(click.via === "qr" ? t("QR code") : click.referrer || t("direct"), "muted clip");
  row.append(time, what, from);
  if (click.kind in KINDS) row.append(cell(KINDS[click.kind], "tag"));
  list.prepend(row);
  localise(row);
  while (list.children.length > ROWS) list.lastChild.remove();
  $("#live-empty").hidden = true;
}

if (list) {
  let isPaused = false;
  const follow = () => {
    if (document.hidden || isPaused) close();
    else if (!stream) open();
  };
  $("#live-pause").addEventListener("click", (event) => {
    isPaused = !isPaused;
    event.target.textContent = isPaused ? t("Go on") : t("Pause");
    follow();
  });
  document.addEventListener("visibilitychange", follow);
  follow();
}
