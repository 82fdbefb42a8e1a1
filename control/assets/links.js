// Links: the forms that make and change one, QR codes, and what is done to many at once.
import { call, confirmed, say, words } from "./carom.js";
import { number, plural, said, t } from "./messages.js";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** A function that runs once nobody calls it any more for so long, with the last arguments. */
function debounced(milliseconds, run) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), milliseconds);
  };
}

// --- The form of a link --------------------------------------------------------------------------

/** The long URL with a query parameter of this value; without it, if the value is empty. The rest
    stays as it was written. */
function withParameter(url, name, value) {
  const [rest, ...hash] = url.split("#");
  const [base, ...query] = rest.split("?");
  const parts = query.join("?").split("&").filter(Boolean);
  const place = parts.findIndex((part) => nameOf(part) === name);
  const kept = parts.filter((part) => nameOf(part) !== name);
  if (value) kept.splice(place < 0 ? kept.length : place, 0, `${name}=${encodeURIComponent(value)}`);
  return base + (kept.length ? `?${kept.join("&")}` : "") + (hash.length ? `#${hash.join("#")}` : "");
}

const nameOf = (part) => new URLSearchParams(part).keys().next().value;

function readParameters(form) {
  const url = form.elements.url.value;
  const query = new URLSearchParams(url.split("#")[0].split("?").slice(1).join("?"));
  for (const field of $$("[data-parameter]", form)) field.value = query.get(field.dataset.parameter) ?? "";
}

for (const form of $$("[data-link]")) {
  readParameters(form);
  form.addEventListener("input", ({ target }) => {
    const url = form.elements.url;
    if (target === url) readParameters(form);
    if (target.dataset.parameter) {
      url.value = withParameter(url.value, target.dataset.parameter, target.value.trim());
    }
    if (target === form.elements.code || target === form.elements.domain) look(form);
  });
  form.addEventListener("change", ({ target }) => {
    if (target.dataset.forward === undefined) return;
    const names = $("[data-names]", form);
    const field = $("input", names);
    names.hidden = target.value !== "";
    field.value = target.value;
    if (!names.hidden) field.focus();
  });
}

// A field that is wrong and folded away is shown.
document.addEventListener("invalid", ({ target }) => {
  const fold = target.closest("details");
  if (fold) fold.open = true;
}, true);

let looked = 0;

/** Says what the short URL will be, and whether its code is to be had. */
function look(form) {
  const note = $("[data-host]", form);
  const code = form.elements.code.value.trim();
  const host = form.elements.domain?.value || note.dataset.host;
  form.elements.code.removeAttribute("aria-invalid");
  note.classList.remove("error");
  if (!code) { looked += 1; note.textContent = ""; return; }
  note.textContent = `${host}/${code}`;
  ask(form, note, host, code, looked += 1);
}

const REASONS = { taken: t("another link has it"), reserved: t("it is a word that is kept for other things") };

const ask = debounced(300, async (form, note, host, code, turn) => {
  const path = `/api/v1/codes/${encodeURIComponent(code)}?domain=${encodeURIComponent(host)}`;
  const found = await call("GET", path).catch((problem) => ({ detail: problem.detail }));
  if (turn !== looked) return;
  note.classList.toggle("error", found.available === false);
  if (found.available) { note.textContent = t("{short} is free", { short: `${host}/${found.code}` }); return; }
  if (found.available === false) form.elements.code.setAttribute("aria-invalid", "true");
  note.textContent = `${host}/${code}: ${REASONS[found.reason] ?? said(found.detail)}`;
  if (!found.link) return;
  const there = document.createElement("a");
  there.className = "inline";
  there.href = `/links/${found.link}`;
  there.textContent = t("Open it");
  note.append(". ", there);
});

if (location.hash === "#edit") {
  $("#edit-link")?.showModal();
  history.replaceState(null, "", location.pathname + location.search);
}

// --- Tags that there are -------------------------------------------------------------------------

let tags;

/** As `words` reads it. The server writes them so, too (page/links/form.rs). */
const quoted = (tag) => (/,|^"/.test(tag) ? `"${tag.replaceAll('"', '""')}"` : tag);

/** Offers tags for the last of those that a field holds. */
async function suggest(field) {
  if (!field.list) {
    const list = document.createElement("datalist");
    list.id = `${field.id}-known`;
    field.after(list);
    field.setAttribute("list", list.id);
  }
  tags ??= call("GET", "/api/v1/tags").then((answer) => answer.data, () => []);
  const known = await tags;
  const there = words(field.value.replace(/[^,]*$/, ""));
  const before = there.map((tag) => `${quoted(tag)}, `).join("");
  const has = new Set(there.map((tag) => tag.toLowerCase()));
  const offered = known.filter((tag) => !has.has(tag));
  field.list.replaceChildren(...offered.map((tag) => new Option("", before + quoted(tag))));
}

for (const type of ["focusin", "input"]) {
  document.addEventListener(type, ({ target }) => {
    if (target.dataset?.tags !== undefined && target.matches("input")) suggest(target);
  });
}

// --- QR codes ------------------------------------------------------------------------------------

const qr = $("#qr");
const logo = () => $("#qr-logo").files[0];
const address = (format, plain = false) => {
  const design = new URLSearchParams(new FormData($("form", qr)));
  for (const name of ["foreground", "background"]) design.set(name, design.get(name).slice(1));
  if (plain) design.set("size", 480);
  if (logo()) design.set("logo", true);
  design.set("format", format);
  return `/api/v1/links/${qr.dataset.of}/qr?${design}`;
};

/** The code as a file, with the logo if there is one. */
async function qrFile(format) {
  const answer = await fetch(address(logo() ? "svg" : format));
  if (!logo()) return answer.blob();
  const { asPng, withLogo } = await import("./logo.js");
  const svg = await withLogo(await answer.text(), logo());
  return format === "svg" ? new Blob([svg], { type: "image/svg+xml" }) : asPng(svg, $("#qr-size").value);
}

let drawn = 0;

/** Draws as the form says. What cannot be drawn is said, and cannot be downloaded. */
async function draw() {
  $("#qr-level").disabled = Boolean(logo());
  $("[data-qr-bare]", qr).hidden = !logo();
  const error = $("[role=alert]", qr);
  const picture = $("img", qr);
  for (const link of $$("[data-format]", qr)) {
    link.href = address(link.dataset.format);
    link.download = `${qr.dataset.name.replace(/[^\w.-]+/g, "-")}.${link.dataset.format}`;
  }
  const turn = drawn += 1;
  const answer = await fetch(address("svg", true)).catch(() => null);
  const text = await answer?.text();
  let svg = answer?.ok && text;
  if (svg && logo()) {
    const { withLogo } = await import("./logo.js");
    svg = await withLogo(text, logo()).catch(() => null);
  }
  if (turn !== drawn) return;
  if (svg) picture.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  error.textContent = svg ? "" : answer?.ok ? t("This browser cannot show this file as a picture.")
    : answer ? said(JSON.parse(text).detail) : t("The server cannot be reached. Try again.");
  const isBad = error.textContent !== "";
  picture.classList.toggle("faint", isBad);
  for (const control of $$("[data-format], [data-qr-copy]", qr)) {
    control.toggleAttribute("inert", isBad);
    control.setAttribute("aria-disabled", isBad);
  }
}

if (qr) {
  $("form", qr).addEventListener("input", debounced(150, draw));
  $("form", qr).addEventListener("submit", (event) => event.preventDefault());
  $("[data-qr-bare]", qr).addEventListener("click", () => {
    $("#qr-logo").value = "";
    draw();
  });
  for (const link of $$("[data-format]", qr)) {
    link.addEventListener("click", async (event) => {
      // What has a logo is a file of this browser; its click is the second one.
      if (!logo() || link.href.startsWith("blob:")) return;
      event.preventDefault();
      link.href = URL.createObjectURL(await qrFile(link.dataset.format));
      link.click();
      setTimeout(URL.revokeObjectURL, 10_000, link.href);
      link.href = address(link.dataset.format);
    });
  }
  $("[data-qr-copy]", qr).addEventListener("click", async () => {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": qrFile("png") })]);
      say(t("Copied"));
    } catch {
      say(t("This browser does not copy pictures. Download it instead."));
    }
  });
}

function showQr({ dataset }) {
  Object.assign(qr.dataset, { of: dataset.qr, name: dataset.name });
  $("h2 bdi", qr).textContent = dataset.name;
  $("img", qr).alt = t("QR code of {short}", { short: dataset.name });
  draw();
  qr.showModal();
}

// --- What is done to links -----------------------------------------------------------------------

/** Links of one call: far fewer than it takes, so that somebody sees it go on. */
const CHUNK = 100;
/** Links that are selected at once. */
const PICKED_MAX = 1000;
/** Links that an export takes by their ids. */
const NAMED_MAX = 200;

/** What each does to a link, what takes it back, and how it is said. */
const deeds = {
  delete: {
    item: () => ({ action: "delete" }),
    back: () => ({ action: "restore" }),
    said: (n) => plural("{n} link deleted.", "{n} links deleted.", n),
  },
  restore: {
    item: () => ({ action: "restore" }),
    back: () => ({ action: "delete" }),
    said: (n) => plural("{n} link restored.", "{n} links restored.", n),
  },
  disable: {
    item: () => ({ change: { state: "disabled" } }),
    back: () => ({ change: { state: "active" } }),
    said: (n) => plural("{n} link disabled.", "{n} links disabled.", n),
  },
  enable: {
    item: () => ({ change: { state: "active" } }),
    back: () => ({ change: { state: "disabled" } }),
    said: (n) => plural("{n} link enabled.", "{n} links enabled.", n),
  },
  archive: {
    item: () => ({ change: { archived: true } }),
    back: () => ({ change: { archived: false } }),
    said: (n) => plural("{n} link archived.", "{n} links archived.", n),
  },
  unarchive: {
    item: () => ({ change: { archived: false } }),
    back: () => ({ change: { archived: true } }),
    said: (n) => plural("{n} link out of the archive.", "{n} links out of the archive.", n),
  },
  tag: {
    item: (link, given) => {
      const has = new Set(link.tags.map((tag) => tag.toLowerCase()));
      const all = [...link.tags, ...given.filter((tag) => !has.has(tag.toLowerCase()))];
      return { version: link.version, change: { tags: all } };
    },
    back: (link) => ({ change: { tags: link.tags } }),
    said: (n) => plural("{n} link tagged.", "{n} links tagged.", n),
  },
  untag: {
    item: (link, given) => {
      const off = new Set(given.map((tag) => tag.toLowerCase()));
      return { version: link.version, change: { tags: link.tags.filter((tag) => !off.has(tag.toLowerCase())) } };
    },
    back: (link) => ({ change: { tags: link.tags } }),
    said: (n) => plural("{n} link without those tags.", "{n} links without those tags.", n),
  },
};

const count = (links) => plural("{n} link", "{n} links", links);

/** Sends items in parts. Gives the places of those that were done, and why others were not. */
async function send(items) {
  const done = [];
  const refused = [];
  for (let at = 0; at < items.length; at += CHUNK) {
    if (items.length > CHUNK) say(t("{done} of {links}", { done: number(at), links: count(items.length) }));
    const part = items.slice(at, at + CHUNK);
    const { results } = await confirmed("PATCH", "/api/v1/links/bulk", { links: part });
    for (const result of results) {
      if (result.problem) refused.push(result.problem);
      else done.push(at + result.index);
    }
  }
  return { done, refused };
}

const why = (problem) => (problem.code === "precondition-failed"
  ? t("somebody changed it meanwhile; look at it again")
  : said(problem.errors?.[0]?.detail ?? problem.detail));

/** Does something to links, and offers to take it back once the page shows it. */
async function perform(name, links, given = [], then = "") {
  const deed = deeds[name];
  const all = links.map((link) => ({ id: link.id, ...deed.item(link, given) }));
  try {
    const { done, refused } = await send(all);
    const undo = done.map((at) => ({ id: links[at].id, ...deed.back(links[at]) }));
    const parts = [deed.said(done.length)];
    if (refused.length) parts.push(plural("{n} link not: {why}.", "{n} links not: {why}.", refused.length, { why: why(refused[0]) }));
    leave(parts.join(" "), undo, then);
  } catch (problem) {
    if (problem.detail) say(problem.detail);
  }
}

/** Shows the page anew, or another, with a message and what takes the deed back. */
function leave(text, undo, then) {
  sessionStorage.setItem("undo", JSON.stringify({ text, undo }));
  if (then) location.assign(then);
  else location.reload();
}

const left = JSON.parse(sessionStorage.getItem("undo") ?? "null");
sessionStorage.removeItem("undo");
if (left) {
  say(left.text);
  if (left.undo.length) {
    const button = document.createElement("button");
    button.className = "button quiet";
    button.textContent = t("Undo");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { done } = await send(left.undo);
        leave(plural("{n} link as before.", "{n} links as before.", done.length), []);
      } catch (problem) {
        if (problem.detail) say(problem.detail);
      }
    });
    // Longer than other messages: somebody has to think, and to get there.
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { $("#message").hidden = true; }, 20_000);
    $("#message").append(" ", button);
  }
}

const linkOf = (element) => ({
  id: element.dataset.id,
  version: Number(element.dataset.version),
  tags: JSON.parse(element.dataset.tags ?? "[]"),
});

// --- The list ------------------------------------------------------------------------------------

const list = $("[data-links]");
const bar = $(".bulk");
/** Links that are selected, by their ids; also some of other pages. */
const picked = new Map();
const boxes = () => $$("[data-pick]", list);

function pick(box, is = box.checked) {
  box.checked = is;
  const link = linkOf(box.closest(".link"));
  if (is) picked.set(link.id, link);
  else picked.delete(link.id);
}

function showPicked() {
  const checked = boxes().filter((box) => box.checked).length;
  const all = $("[data-pick-all]", list);
  bar.hidden = picked.size === 0;
  $("[data-picked]", bar).textContent = picked.size ? plural("{n} link selected", "{n} links selected", picked.size) : "";
  if (!all) return;
  all.checked = checked > 0 && checked === boxes().length;
  all.indeterminate = checked > 0 && !all.checked;
  const more = $("[data-pick-more]", list);
  if (more) more.hidden = !all.checked || picked.size > checked;
}

/** Selects what the search finds beyond this page. */
async function pickMore() {
  const query = new URLSearchParams(list.dataset.links);
  query.set("limit", 100);
  picked.clear();
  try {
    do {
      const page = await call("GET", `/api/v1/links?${query}`);
      for (const { id, version, tags } of page.data) if (picked.size < PICKED_MAX) picked.set(id, { id, version, tags });
      say(plural("{n} link found", "{n} links found", picked.size));
      if (!page.next_cursor) break;
      query.set("cursor", page.next_cursor);
    } while (picked.size < PICKED_MAX);
    for (const box of boxes()) box.checked = picked.has(box.closest(".link").dataset.id);
    if (picked.size === PICKED_MAX) say(t("The first {n} links are selected: no more are changed at once.", { n: number(PICKED_MAX) }));
  } catch (problem) {
    if (problem.detail) say(problem.detail);
  }
  showPicked();
}

function pickNone() {
  picked.clear();
  for (const box of boxes()) box.checked = false;
  showPicked();
}

if (list) {
  let before;
  list.addEventListener("click", (event) => {
    const box = event.target.closest("[data-pick]");
    if (!box) return;
    const all = boxes();
    // With Shift, all from the one before to this one.
    if (event.shiftKey && before && before !== box) {
      const [from, to] = [all.indexOf(before), all.indexOf(box)].sort((a, b) => a - b);
      for (const one of all.slice(from, to + 1)) pick(one, box.checked);
    }
    before = box;
    pick(box);
    showPicked();
  });
  list.addEventListener("change", ({ target }) => {
    if (target.dataset.pickAll === undefined) return;
    const is = target.checked;
    if (!is) picked.clear();
    for (const box of boxes()) pick(box, is);
    showPicked();
  });
  // Pages that come back from the browser's memory have their boxes as they were.
  for (const box of boxes()) box.checked = false;
}

/** Downloads links: those that are named, or where an address has no room for all, those of the search. */
function exportLinks(links) {
  const file = document.createElement("a");
  const ids = links.map((link) => link.id).join(",");
  file.href = `/api/v1/links/export?${links.length > NAMED_MAX ? list.dataset.links : `ids=${ids}`}`;
  file.download = "";
  file.click();
}

const isSure = (question) => window.confirm(`${question} ${t("Whoever follows a deleted link is told that it is gone. You can take it back.")}`);

function many(name) {
  const links = [...picked.values()];
  if (name === "export") {
    exportLinks(links);
    return;
  }
  if (name === "delete" && !isSure(plural("Delete {n} link?", "Delete {n} links?", links.length))) return;
  const field = $("#retag-words");
  const given = name.endsWith("tag") ? words(field.value) : [];
  if (name.endsWith("tag") && !given.length) { field.reportValidity(); return; }
  $("#retag")?.close();
  perform(name, links, given);
}

function one(button) {
  const of = button.closest("[data-id]");
  const name = button.dataset.one;
  const clicks = Number(of.dataset.clicks);
  if (name === "delete" && clicks && !isSure(plural("This link has {n} click. Delete it?", "This link has {n} clicks. Delete it?", clicks))) return;
  perform(name, [linkOf(of)], [], button.dataset.then);
}

document.addEventListener("click", (event) => {
  const { target } = event;
  const on = (name) => target.closest?.(`[data-${name}]`);
  const menu = target.closest?.("details.menu");
  for (const open of $$("details.menu[open]")) if (open !== menu) open.open = false;
  if (menu && target.closest("li button")) menu.open = false;
  if (on("qr")) showQr(on("qr"));
  else if (on("one")) one(on("one"));
  else if (on("many")) { event.preventDefault(); many(on("many").dataset.many); }
  else if (on("pick-none")) pickNone();
  else if (on("pick-more")) pickMore();
});

// --- Keys in the list ----------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = $("details.menu[open]");
    if (open) { open.open = false; $("summary", open).focus(); return; }
    if (picked.size && !$("dialog[open]")) pickNone();
    return;
  }
  const isTyping = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (!list || isTyping || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
  if (localStorage.getItem("keys") === "off") return;
  const rows = $$(".link", list);
  const row = event.target.closest?.(".link");
  const step = { j: 1, k: -1 }[event.key];
  if (step) {
    const next = row ? rows[rows.indexOf(row) + step] : rows[0];
    if (next) { event.preventDefault(); $(".short", next).focus(); }
    return;
  }
  if (!row) return;
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const target = key === "X" ? $("[data-pick]", row)
    : key === "Q" ? $("[data-qr]", row)
      : $$("[data-row-key]", row).find((it) => it.dataset.rowKey === key);
  if (!target) return;
  event.preventDefault();
  target.click();
});
