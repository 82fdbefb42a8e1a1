// Importing a file of links: it is read here, line by line, and sent in parts, so the server keeps
// nothing of it, and a line that is wrong is named. What was sent is there already if it comes again.
import { confirmed } from "./carom.js";
import { number, plural, said, t } from "./messages.js";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Rows of one call, and characters of one: a quarter of what it takes, for those with many bytes. */
const ROWS = 500;
const CHARACTERS = 250_000;
/** Characters of a row. Longer ones have a quote that is not closed. */
const ROW_MAX = 65_536;
/** Rows that are refused and kept to be shown, and to be downloaded. */
const SHOWN_MAX = 100;
const KEPT_MAX = 100_000;
/** Rows of the preview. */
const PREVIEW = 5;
/** Bytes of a list in JSON. */
const LIST_MAX = 50_000_000;
/** How often a server that is busy is asked again, and how long after, in milliseconds. */
const PATIENCE = 60;
const RETRY = 1000;

const section = $("[data-import]");
const steps = Object.fromEntries($$("[data-step]", section).map((it) => [it.dataset.step, it]));

// --- What columns mean ---------------------------------------------------------------------------

const FIELDS = section.dataset.import.split(" ").filter((name) => name !== "id");
FIELDS.splice(2, 0, "short_url");
/** What the dashboard calls them. */
const FIELD_WORDS = {
  code: t("Code"), url: t("Long URL"), short_url: t("Short URL"), domain: t("Domain"), title: t("Title"), notes: t("Notes"),
  tags: t("Tags"), redirect_status: t("Status"), max_age: t("Kept by browsers"), state: t("State"), archived: t("Archived"),
  not_before: t("From"), expires_at: t("Until"), fallback_url: t("After that, lead to"), query_forward: t("Query parameters"),
  query_prefer: t("Where both have one"), created_at: t("Made"), deleted_at: t("Deleted"), clicks: t("Clicks"),
};
const wordsOf = (field) => FIELD_WORDS[field] ?? field;
/** What others call them; letters and digits alone. */
const NAMES = {
  code: ["slug", "shortcode", "keyword", "key", "alias", "backhalf", "custombackhalf", "path", "hash"],
  url: ["longurl", "destination", "destinationurl", "target", "targeturl", "originalurl", "original", "redirecturl"],
  short_url: ["shorturl", "shortlink", "bitlink", "link"],
  domain: ["host", "hostname"],
  title: ["name", "pagetitle"],
  notes: ["note", "description", "comments", "comment"],
  tags: ["tag", "labels"],
  redirect_status: ["status", "statuscode", "redirecttype"],
  not_before: ["validsince", "startsat", "activefrom"],
  expires_at: ["expires", "validuntil", "expiresat", "expiry", "expiration", "expirationdate"],
  fallback_url: ["expiredurl", "fallback"],
  created_at: ["created", "createdat", "datecreated", "timestamp", "creationdate", "date"],
  clicks: ["visits", "totalclicks", "visitcount", "hits", "engagements"],
};

function fieldOf(column) {
  const name = column.toLowerCase().trim();
  if (FIELDS.includes(name)) return name;
  const bare = name.replace(/[^a-z0-9]/g, "");
  return FIELDS.find((field) => field.replace(/_/g, "") === bare || NAMES[field]?.includes(bare)) ?? "";
}

/** A spreadsheet's guard: an apostrophe before what begins a formula. */
const unguarded = (cell) => (/^''*[=+\-@\t\r\n]/.test(cell) ? cell.slice(1) : cell);

/** Tags with bars between them, as Carom writes them, or with commas or semicolons, as others do. */
function tagsOf(cell) {
  const parts = /[|\\]/.test(cell)
    ? [...cell.matchAll(/((?:\\[|\\]|[^|])*)(?:\||$)/g)].map((match) => match[1].replace(/\\([|\\])/g, "$1"))
    : cell.split(/[,;]/);
  return parts.map((tag) => tag.trim()).filter(Boolean);
}

/** A time as the API takes it; what cannot be read is handed on, and the API says what is wrong. */
function timeOf(cell) {
  const text = cell.trim();
  if (text === "0") return undefined;
  const number = Number(text);
  const plain = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?(?: ?UTC)?$/.exec(text);
  const time = Number.isInteger(number) ? new Date(number < 1e11 ? number * 1000 : number)
    : plain ? new Date(`${plain[1]}T${plain[2] ?? "00:00:00"}Z`) : null;
  return time && !Number.isNaN(time.valueOf()) ? time.toISOString() : text;
}

const numberOf = (cell) => (/^\d+$/.test(cell.trim()) ? Number(cell) : cell);
const truthOf = (cell) => ({ true: true, yes: true, 1: true, false: false, no: false, 0: false })[cell.trim().toLowerCase()] ?? cell;

const READ = {
  tags: tagsOf, redirect_status: numberOf, max_age: numberOf, clicks: numberOf, archived: truthOf,
  not_before: timeOf, expires_at: timeOf, created_at: timeOf, deleted_at: timeOf,
};

/** Types that the API would not read a whole part for. */
const NUMBERS = { redirect_status: 65_535, max_age: 65_535, clicks: Number.MAX_SAFE_INTEGER };

/** The cells of a row as a link, and what of them is nothing that can be sent. */
function linkOf(cells, fields) {
  const link = {};
  const errors = [];
  cells.forEach((raw, place) => {
    const field = fields[place];
    const cell = unguarded(raw);
    if (!field || cell.trim() === "") return;
    const value = READ[field]?.(cell) ?? (READ[field] ? undefined : cell);
    if (value === undefined) return;
    if (field in NUMBERS && !(typeof value === "number" && value <= NUMBERS[field])) errors.push(t("{field} is no number, or too large a one", { field: wordsOf(field) }));
    else if (field === "archived" && typeof value !== "boolean") errors.push(t("{field} is true or false", { field: wordsOf(field) }));
    else if (field === "short_url") {
      const [host, ...code] = value.replace(/^[a-z]+:\/\//i, "").split("/");
      link.code ??= code.join("/");
      link.domain ??= host;
    } else if (field === "query_prefer") (link.query ??= {}).prefer = value;
    else if (field === "query_forward") {
      (link.query ??= {}).forward = ["none", "all"].includes(value) ? value
        : value.split(",").map((name) => name.trim()).filter(Boolean);
    } else if (field === "domain" && value.toLowerCase() === "default") return;
    else link[field] = value;
  });
  return { link, errors };
}

// --- Reading a file ------------------------------------------------------------------------------

/** The text of a file, in pieces. */
async function* pieces(file, told) {
  const reader = file.stream().getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let read = 0;
  for (;;) {
    const { done, value } = await reader.read();
    read += value?.length ?? 0;
    told?.(read);
    const text = decoder.decode(value, { stream: !done });
    if (text) yield text;
    if (done) return;
  }
}

/** Rows of CSV (RFC 4180) or of what is alike, with the line that each begins on. */
async function* csvRows(file, told, separator) {
  let [row, cell, line, begin, isQuoted, wasQuote, wasReturn] = [[], "", 1, 1, false, false, false];
  const end = () => { const whole = [...row, cell]; row = []; cell = ""; wasQuote = false; return { line: begin, cells: whole }; };
  for await (const text of pieces(file, told)) {
    for (const c of text) {
      const isLineEnd = c === "\n" || c === "\r";
      if (c === "\n" ? !wasReturn : c === "\r") line += 1;
      const isSecond = c === "\n" && wasReturn;
      wasReturn = c === "\r";
      if (isQuoted) {
        if (c === '"') { isQuoted = false; wasQuote = true; } else cell += c;
      } else if (c === '"' && (cell === "" || wasQuote)) {
        // A second quote after one that closed is a quote.
        if (wasQuote) cell += c;
        isQuoted = true;
      } else if (c === separator) { row.push(cell); cell = ""; wasQuote = false; } else if (isLineEnd) {
        if (!isSecond) { if (row.length || cell) yield end(); }
        begin = line;
      } else cell += c;
      if (cell.length > ROW_MAX) throw { detail: t("The row that begins on line {line} is longer than any link. Is a quote not closed?", { line: begin }) };
    }
  }
  if (row.length || cell) yield end();
}

/** Objects, one a line, as rows of the columns that they have. */
async function* jsonRows(file, told, columns) {
  let [rest, line] = ["", 0];
  const row = (text) => {
    line += 1;
    if (!text.trim()) return null;
    try {
      return { line, object: { ...JSON.parse(text) } };
    } catch {
      throw { detail: t("Line {line} is no JSON object. Write one on each line.", { line }) };
    }
  };
  for await (const text of pieces(file, told)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    if (rest.length > ROW_MAX) throw { detail: t("Line {line} is longer than any link. Write one object on each line.", { line: line + 1 }) };
    for (const one of lines) { const found = row(one); if (found) yield cellsOf(found, columns); }
  }
  const last = row(rest);
  if (last) yield cellsOf(last, columns);
}

/** The objects of one list, numbered: it is read whole. */
async function* listRows(file, told, columns) {
  if (file.size > LIST_MAX) throw { detail: t("This list is too long to be read whole. Write JSON lines, one object on each.") };
  const list = await file.text().then(JSON.parse).catch(() => { throw { detail: t("This is no list of JSON objects.") }; });
  told?.(file.size);
  for (const [place, object] of list.entries()) yield cellsOf({ line: place + 1, object: { ...object } }, columns);
}

/** An object's members as cells, so that both kinds of file go one way. */
function cellsOf({ line, object }, columns) {
  const flat = { ...object, ...(object.query && { query_forward: object.query.forward, query_prefer: object.query.prefer, query: undefined }) };
  for (const name of Object.keys(flat)) if (!columns.includes(name) && flat[name] !== undefined) columns.push(name);
  const text = (name) => {
    const value = flat[name];
    if (value === null || value === undefined) return "";
    if (name === "query_forward" && Array.isArray(value)) return value.map((it) => `${it},`).join("");
    if (Array.isArray(value)) return value.map((it) => String(it?.name ?? it).replace(/[|\\]/g, "\\$&")).join("|") + (value.length === 1 ? "|" : "");
    return String(value);
  };
  return { line, cells: columns.map(text) };
}

// --- A file, from its choice to its end ----------------------------------------------------------

/** The file that was chosen, how it is read, and how far it is. */
let chosen;

function rows(told) {
  const { file, columns, isList, isJson, separator } = chosen;
  if (isJson) return (isList ? listRows : jsonRows)(file, told, columns);
  return csvRows(file, told, separator);
}

async function choose(file) {
  const alert = $("[role=alert]", section);
  alert.textContent = "";
  steps.preview.hidden = steps.run.hidden = true;
  if (!file) return;
  try {
    const head = await file.slice(0, ROW_MAX).text();
    const first = head.replace(/^\uFEFF/, "").split(/\r?\n/)[0];
    const isJson = /^\s*[[{]/.test(head);
    const separator = [",", ";", "\t"].sort((a, b) => first.split(b).length - first.split(a).length)[0];
    chosen = { file, isJson, isList: /^\s*\[/.test(head), separator, columns: [], first: 0 };
    const shown = [];
    for await (const row of rows()) {
      if (!isJson && !chosen.columns.length) { chosen.columns = row.cells; continue; }
      shown.push(row.cells);
      if (shown.length === PREVIEW) break;
    }
    if (!shown.length) throw { detail: t("There is no link in this file. CSV needs a first row with the names of its columns.") };
    preview(shown);
  } catch (problem) {
    alert.textContent = problem.detail ?? t("This file cannot be read. Save it as UTF-8 text.");
  }
}

function preview(shown) {
  const known = new Set();
  const head = document.createElement("tr");
  chosen.columns.forEach((column, place) => {
    const cell = document.createElement("th");
    const select = document.createElement("select");
    select.dataset.column = place;
    select.setAttribute("aria-label", t("What the column {column} is", { column }));
    const found = fieldOf(column);
    select.append(new Option(t("left out"), ""), ...FIELDS.map((field) => new Option(wordsOf(field), field)));
    if (found && !known.has(found)) { select.value = found; known.add(found); }
    const name = document.createElement("span");
    name.className = "clip";
    name.textContent = column;
    cell.append(name, select);
    head.append(cell);
  });
  $("thead", steps.preview).replaceChildren(head);
  $("tbody", steps.preview).replaceChildren(...shown.map((cells) => {
    const row = document.createElement("tr");
    row.append(...chosen.columns.map((_, place) => {
      const cell = document.createElement("td");
      cell.textContent = unguarded(cells[place] ?? "").slice(0, 80);
      return cell;
    }));
    return row;
  }));
  steps.preview.hidden = false;
}

const WORDS = [["made", t("new")], ["present", t("here already")], ["replaced", t("replaced")], ["skipped", t("skipped")], ["refused", t("refused")]];

/** Goes through the file from where it stopped. */
async function run() {
  const state = chosen.run;
  state.isStopped = false;
  show();
  let part = [];
  let size = 0;
  let number = 0;
  try {
    const told = (read) => { state.part = read / chosen.file.size; };
    for await (const { line, cells } of rows(told)) {
      if (!chosen.isJson && number === 0 && !state.sawHead) { state.sawHead = true; continue; }
      number += 1;
      // Sent before it stopped.
      if (number <= state.done) continue;
      part.push({ line, cells });
      size += cells.reduce((sum, cell) => sum + cell.length, 0) + 200;
      if (part.length < ROWS && size < CHARACTERS) continue;
      await send(part);
      [part, size] = [[], 0];
      if (state.isStopped) break;
    }
    if (part.length && !state.isStopped) await send(part);
    state.isDone = !state.isStopped;
    if (state.isDone) state.part = 1;
  } catch (problem) {
    state.isStopped = true;
    state.problem = problem.detail || t("It stopped. Nothing that was imported is lost: go on from here.");
  }
  show();
}

async function send(part) {
  const { run: state } = chosen;
  const links = part.map(({ cells }) => linkOf(cells, state.fields));
  const sent = links.flatMap(({ link, errors }, place) => (errors.length ? [] : [{ place, link }]));
  const outcomes = links.map(({ errors }) => ({ outcome: "refused", why: errors.join("; ") }));
  if (sent.length) {
    const body = { on_conflict: state.onConflict, dry_run: state.isDry, rows: sent.map(({ link }) => link) };
    const { results } = await patiently(body);
    for (const { index, outcome, errors } of results) {
      const why = (errors ?? []).map((error) => said(error.detail)).join("; ");
      outcomes[sent[index].place] = settled(sent[index].link, { outcome, why });
    }
  }
  part.forEach(({ line, cells }, place) => {
    const { outcome, why } = outcomes[place];
    state.counts[outcome] += 1;
    if (outcome !== "refused") return;
    if (state.refused.length < KEPT_MAX) state.refused.push({ line, cells, why, code: links[place].link.code ?? "" });
  });
  state.done += part.length;
  show();
}

/** What becomes of a row in a check, had those before it been written. */
function settled(link, answer) {
  const { run: state } = chosen;
  if (!state.isDry || answer.outcome !== "made") return answer;
  const key = `${link.domain ?? ""}/${link.code}`;
  const known = state.seen.get(key);
  state.seen.set(key, link.url);
  if (known === undefined) return answer;
  if (known === link.url) return { outcome: "present", why: "" };
  if (state.onConflict === "refuse") state.seen.set(key, known);
  return { refuse: { outcome: "refused", why: t("an earlier row has the code, with another long URL") }, skip: { outcome: "skipped", why: "" }, replace: { outcome: "replaced", why: "" } }[state.onConflict];
}

async function patiently(body) {
  for (let turn = 0; ; turn += 1) {
    try {
      return await confirmed("POST", "/api/v1/links/import", body);
    } catch (problem) {
      const isBusy = ["overloaded", "rate-limited", "timeout", "offline"].includes(problem.code);
      if (!isBusy || turn === PATIENCE || chosen.run.isStopped) throw problem;
      await new Promise((resolve) => { setTimeout(resolve, RETRY); });
    }
  }
}

function progressOf({ done, isDry, isStopped, problem }, isRunning) {
  if (problem) return `${plural("{n} row.", "{n} rows.", done)} ${problem}`;
  if (isRunning) return plural("{n} row so far", "{n} rows so far", done);
  const said = [
    isDry ? plural("{n} row checked.", "{n} rows checked.", done) : plural("{n} row imported.", "{n} rows imported.", done),
    isDry && t("Nothing is written yet."),
    isStopped && t("It was stopped."),
  ];
  return said.filter(Boolean).join(" ");
}

function show() {
  const { run: state } = chosen;
  const isRunning = !state.isDone && !state.isStopped;
  steps.run.hidden = false;
  const progress = $("progress", steps.run);
  progress.value = state.part;
  $("[data-progress]", steps.run).textContent = progressOf(state, isRunning);
  $("[data-outcome]", steps.run).replaceChildren(...WORDS.filter(([name]) => state.counts[name]).flatMap(([name, words]) => {
    const [term, fact] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = state.isDry && name === "made" ? t("would be new") : words;
    fact.textContent = number(state.counts[name]);
    return [term, fact];
  }));
  const will = state.counts.made + state.counts.replaced;
  const real = $("[data-run=real]", steps.run);
  real.hidden = !(state.isDry && state.isDone && will);
  real.textContent = plural("Import {n} link", "Import {n} links", will);
  $("[data-run=on]", steps.run).hidden = !state.isStopped;
  $("[data-run=stop]", steps.run).hidden = !isRunning;
  $("[data-after]", steps.run).hidden = state.isDry || !state.isDone;
  for (const control of $$("select, input, button", steps.preview)) control.disabled = isRunning;
  $("#import-file").disabled = isRunning;
  showRefused(isRunning);
}

function showRefused(isRunning) {
  const { run: state } = chosen;
  const fold = $("[data-errors]", steps.run);
  const file = $("[data-refused]", steps.run);
  fold.hidden = !state.refused.length;
  file.hidden = isRunning || !state.refused.length;
  $("tbody", fold).replaceChildren(...state.refused.slice(0, SHOWN_MAX).map(({ line, code, why }) => {
    const row = document.createElement("tr");
    row.append(...[line, code, why].map((text, place) => {
      const cell = document.createElement("td");
      cell.className = place === 0 ? "num" : "";
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
  if (state.refused.length > SHOWN_MAX) {
    const row = document.createElement("tr");
    row.insertCell().colSpan = 3;
    row.cells[0].textContent = t("and {n} more, in the file of refused rows", { n: number(state.counts.refused - SHOWN_MAX) });
    $("tbody", fold).append(row);
  }
  if (file.hidden) return;
  URL.revokeObjectURL(file.href);
  const cell = (text) => `"${String(text).replaceAll('"', '""')}"`;
  // Cells are as they were read, guards and all; the reason is our own sentence.
  const lines = [[...chosen.columns, "line", "why"], ...state.refused.map(({ line, cells, why }) => [...chosen.columns.map((_, place) => cells[place] ?? ""), line, why])];
  file.href = URL.createObjectURL(new Blob([lines.map((row) => `${row.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" }));
}

function begin(isDry) {
  const fields = [];
  for (const select of $$("[data-column]", steps.preview)) fields[select.dataset.column] = select.value;
  const twice = fields.find((field, place) => field && fields.indexOf(field) !== place);
  const alert = $("[role=alert]", section);
  alert.textContent = twice ? t("Two columns are: {field}. Leave one out.", { field: wordsOf(twice) })
    : !fields.includes("url") ? t("Say which column is the long URL.")
      : !fields.includes("code") && !fields.includes("short_url") ? t("Say which column is the code, or the short URL.") : "";
  if (alert.textContent) { alert.scrollIntoView({ block: "center" }); return; }
  const counts = Object.fromEntries(WORDS.map(([name]) => [name, 0]));
  chosen.run = { fields, isDry, onConflict: $("#import-conflict").value, counts, refused: [], seen: new Map(), done: 0, part: 0 };
  run();
}

if (section) {
  $("#import-file").addEventListener("change", ({ target }) => choose(target.files[0]));
  $("[data-import-form]", section).addEventListener("submit", (event) => { event.preventDefault(); begin(true); });
  // What was checked is not what is chosen any more.
  steps.preview.addEventListener("change", () => { steps.run.hidden = true; });
  section.addEventListener("click", ({ target }) => {
    const what = target.closest("[data-run]")?.dataset.run;
    if (what === "real") begin(false);
    if (what === "stop") chosen.run.isStopped = true;
    if (what === "on") { Object.assign(chosen.run, { problem: "", sawHead: false }); run(); }
  });
  window.addEventListener("beforeunload", (event) => {
    const state = chosen?.run;
    if (state && !state.isDry && !state.isDone && !state.isStopped) event.preventDefault();
  });
}
