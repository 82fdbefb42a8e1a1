// What pages do beyond links and forms. Each part looks for its own attributes, so a page says in its
// markup what it needs. Changes go through the public API, as anybody's do.
import { locale, said, t } from "./messages.js";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- Messages ------------------------------------------------------------------------------------

/** Says something to everybody, also to those who do not see it appear. */
export function say(text) {
  const place = $("#message");
  place.textContent = text;
  place.hidden = false;
  // Shown anew as a popover, it is above whatever dialog is open.
  place.popover = "manual";
  place.hidePopover?.();
  place.showPopover?.();
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.hidden = true; }, 4000);
}

// What was to be said once the page is there again.
const unsaid = sessionStorage.getItem("say");
sessionStorage.removeItem("say");
if (unsaid) say(unsaid);

// --- The API -------------------------------------------------------------------------------------

/** Calls the API. Gives the answer's JSON; throws a problem document (RFC 9457). */
export async function call(method, path, body, headers = {}) {
  const workspace = document.body.dataset.workspace;
  const response = await fetch(path, {
    method,
    headers: {
      Accept: "application/json",
      ...(workspace && { "Carom-Workspace": workspace }),
      ...(body !== undefined && { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch(() => { throw { code: "offline", detail: t("The server cannot be reached. Try again.") }; });
  const text = await response.text();
  // A proxy that cannot reach Carom answers with a page of its own.
  const json = response.headers.get("Content-Type")?.includes("json") && text ? JSON.parse(text) : null;
  if (response.ok) return json;
  // Not for a wrong password or code: whoever is asked for one is still signed in.
  if (json?.code === "authentication-required" && !location.pathname.startsWith("/sign-in") && workspace) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  for (const it of json ? [json, ...json.errors ?? []] : []) it.detail = said(it.detail);
  throw json ?? { code: "unknown", detail: t("The server answered with status {status}.", { status: response.status }) };
}

/** As `call`; where the server asks who this is, the person is asked, and it is called once more. */
export async function confirmed(...request) {
  try {
    return await call(...request);
  } catch (problem) {
    if (problem.code !== "reauthentication-required") throw problem;
    await ask($("#confirm-identity"));
    return call(...request);
  }
}

/** Shows a dialog; resolves once it was done, rejects if it was left. */
function ask(dialog) {
  return new Promise((resolve, reject) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "done") resolve();
      else reject({ code: "left", detail: "" });
    }, { once: true });
    dialog.showModal();
  });
}

// --- Forms ---------------------------------------------------------------------------------------

/** Words with commas between them. One in quotes may have commas itself, and two quotes for one. */
export const words = (text) => [...text.matchAll(/\s*"((?:[^"]|"")*)"\s*|[^,\n]+/g)]
  .map(([bare, quoted]) => (quoted?.replaceAll('""', '"') ?? bare).trim()).filter(Boolean);

/** The value of a control, as the API takes it; undefined leaves it out. */
function value(control) {
  const text = control.value.trim();
  switch (control.dataset.type) {
    case "flag": return control.checked;
    case "number": return text === "" ? null : Number(text);
    case "words": return words(text);
    case "days": return text === "" ? null : new Date(Date.now() + text * 86400000).toISOString();
    case "time": return text === "" ? null : new Date(text).toISOString();
    case "forward": return ["none", "all"].includes(text) ? text : words(text);
    case "optional": return text === "" ? undefined : text;
    case "nullable": return text === "" ? null : text;
    case "verbatim": return control.value;
    default: return text;
  }
}

/** What a form says, as JSON. A name with dots is a place within objects. */
function body(form) {
  const whole = {};
  for (const control of form.elements) {
    if (!control.name || control.matches(":disabled")) continue;
    if (control.type === "radio" && !control.checked) continue;
    // Where a form changes something that there is, only what was changed is sent.
    if (form.dataset.changes !== undefined && !isChanged(control)) continue;
    const path = control.name.split(".");
    const last = path.pop();
    const place = path.reduce((at, name) => (at[name] ??= {}), whole);
    // Boxes of one name are a list of those that are checked.
    if (control.dataset.type === "each") {
      place[last] ??= [];
      if (control.checked) place[last].push(control.value);
      continue;
    }
    const one = value(control);
    if (one !== undefined) place[last] = one;
  }
  return whole;
}

function isChanged(control) {
  if (control.dataset.type === "flag") return control.checked !== control.defaultChecked;
  if (control.dataset.type === "each") {
    return $$("[data-type=each]", control.form).some((it) => it.name === control.name && it.checked !== it.defaultChecked);
  }
  if (control.options) return ![...control.options].every((it) => it.selected === it.defaultSelected);
  return control.value !== control.defaultValue;
}

function clear(form) {
  for (const control of $$("[aria-invalid]", form)) control.removeAttribute("aria-invalid");
  for (const note of $$(".error", form)) note.textContent = "";
}

/** Shows a problem where it belongs: at its field, or above the form's button. */
function complain(form, problem) {
  const rest = [];
  for (const error of problem.errors ?? []) {
    const name = error.pointer.replace(/^#\//, "").replaceAll("/", ".");
    const control = form.elements[name] ?? form.elements[name.replace(/\.\d+$/, "")];
    const note = control?.id && $(`#${control.id}-error`, form);
    if (!note) { rest.push(error.detail); continue; }
    control.setAttribute("aria-invalid", "true");
    const fold = control.closest("details");
    if (fold) fold.open = true;
    note.textContent = error.detail;
  }
  if (!problem.errors?.length) rest.push(problem.detail);
  $("[role=alert]", form).textContent = rest.join(" ");
  ($("[aria-invalid]", form) ?? form.elements[0])?.focus();
}

/** Goes where a form leads to, with what the API answered: `/links/{id}`. There it says the words. */
function go(target, answer, said) {
  if (said) sessionStorage.setItem("say", said);
  if (target === "next") {
    // Whatever the address says, it is a page of this site.
    const next = new URL(new URLSearchParams(location.search).get("next") ?? "/links", location.origin);
    location.assign(next.origin === location.origin ? next.href : "/links");
    return;
  }
  const path = target.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer?.[name] ?? ""));
  if (path === "reload") location.reload();
  else location.assign(path);
}

/** Asks for a code of the second factor, instead of everything else on the page. */
function askCode(ticket) {
  const second = $("#code-form");
  second.elements.ticket.value = ticket;
  for (const form of $$("main form")) form.hidden = form !== second;
  second.elements.code.focus();
}

const after = {
  /** A secret that is shown once. */
  secret(form, answer) {
    const secret = answer[form.dataset.secret];
    if (secret === null) { go("reload", answer, form.dataset.say); return; }
    const dialog = $("#secret");
    $("output", dialog).textContent = [secret].flat().join("\n");
    dialog.addEventListener("close", () => go(form.dataset.then ?? "reload", answer), { once: true });
    form.closest("dialog")?.close();
    dialog.showModal();
  },
  /** Into the workspace that was made. */
  workspace(form, answer) { enter(answer.id); },
  /** A confirmation that somebody waits for. */
  done(form) { form.reset(); form.closest("dialog").close("done"); },
  /** Signed in, or asked for a second factor. */
  signedIn(form, answer) {
    if (answer.ticket) askCode(answer.ticket);
    else go("next");
  },
  /** To the provider, which sends the browser back. */
  elsewhere(form, answer) { location.assign(answer.authorization_url); },
  /** The person is told to look at their mail. */
  told(form) { form.hidden = true; $("[data-told]").hidden = false; },
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.api) return;
  event.preventDefault();
  clear(form);
  let [method, path] = form.dataset.api.split(" ");
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    let sent = body(form);
    if (method === "DELETE") {
      const query = new URLSearchParams(sent);
      if (query.size) path += `?${query}`;
      sent = undefined;
    }
    if (form.dataset.token) sent[form.dataset.token] = location.hash.slice(1);
    const { passkey } = form.dataset;
    if (passkey) sent.credential = await (await import("./passkey.js"))[passkey](form, sent);
    const headers = form.dataset.etag ? { "If-Match": form.dataset.etag } : {};
    const answer = await (form.dataset.plain !== undefined ? call : confirmed)(method, path, sent, headers);
    if (form.dataset.after) after[form.dataset.after](form, answer);
    else go(form.dataset.then ?? "reload", answer, form.dataset.say);
  } catch (problem) {
    if (problem.code === "left") return;
    complain(form, problem);
  } finally {
    if (button) button.disabled = false;
  }
});

// Somebody comes from the provider, and has a second factor here.
if (location.pathname === "/sign-in" && location.hash.startsWith("#ticket=")) {
  askCode(location.hash.slice(8));
  history.replaceState(null, "", "/sign-in");
}

// --- Clicks --------------------------------------------------------------------------------------

const actions = {
  async copy(element) {
    await navigator.clipboard.writeText(element.dataset.copy);
    say(t("Copied"));
  },
  async "copy-from"(element) {
    await navigator.clipboard.writeText($(element.dataset.copyFrom).textContent);
    say(t("Copied"));
  },
  /** What stands somewhere on the page, as a file. */
  download(element) {
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(new Blob([$(element.dataset.from).textContent, "\n"]));
    anchor.download = element.dataset.download;
    anchor.click();
    URL.revokeObjectURL(anchor.href);
  },
  open(element) {
    const dialog = $(element.dataset.open);
    for (const [name, text] of new URLSearchParams(element.dataset.fill ?? "")) {
      const control = $("form", dialog)?.elements[name];
      if (control) control.value = text;
    }
    dialog.showModal();
  },
  close(element) { element.closest("dialog").close(); },
  async call(element) {
    if (element.dataset.sure && !window.confirm(element.dataset.sure)) return;
    const [method, path] = element.dataset.call.split(" ");
    const sent = element.dataset.body ? JSON.parse(element.dataset.body) : undefined;
    try {
      const answer = await confirmed(method, path, sent);
      go(element.dataset.then ?? "reload", answer, element.dataset.say);
    } catch (problem) {
      if (problem.detail) say(problem.detail);
    }
  },
  "workspace-choice"(element) { enter(element.dataset.workspaceChoice); },
  "theme-switch"() {
    const root = document.documentElement;
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    paint(isDark ? "light" : "dark");
  },
};

/** Keeps what the server has to know of this browser; forgets it, if it is empty. */
function keep(name, value) {
  document.cookie = `carom_${name}=${value}; path=/; max-age=${value ? 31536000 : 0}; SameSite=Lax`;
}

function enter(workspace) {
  keep("workspace", workspace);
  location.assign("/links");
}

// Of several tabs, the one that somebody works in says which workspace its downloads and its next page
// are of.
for (const type of ["focus", "pointerdown", "keydown"]) {
  addEventListener(type, () => {
    if (document.body.dataset.workspace) keep("workspace", document.body.dataset.workspace);
  }, true);
}

/** In light or dark from now on; in whichever the system is in, if that is empty. */
function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  if (theme) localStorage.setItem("theme", theme);
  else localStorage.removeItem("theme");
  document.dispatchEvent(new Event("theme"));
}

for (const choice of $$("[data-theme-choice]")) {
  choice.value = localStorage.getItem("theme") ?? "";
  choice.addEventListener("change", () => paint(choice.value));
}

for (const choice of $$("[data-language-choice]")) {
  choice.addEventListener("change", () => {
    keep("language", choice.value);
    location.reload();
  });
}

document.addEventListener("click", (event) => {
  for (const name of Object.keys(actions)) {
    const element = event.target.closest?.(`[data-${name}]`);
    if (element) {
      event.preventDefault();
      actions[name](element);
      return;
    }
  }
  // Outside of a dialog is its backdrop.
  if (event.target.nodeName === "DIALOG" && event.target.dataset.stays === undefined) event.target.close();
});

// --- Keys ----------------------------------------------------------------------------------------

const hasKeys = () => localStorage.getItem("keys") !== "off";

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    $("#palette")?.showModal();
    return;
  }
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || !hasKeys()) return;
  const key = event.key === "ArrowLeft" ? "←" : event.key === "ArrowRight" ? "→" : event.key.toUpperCase();
  const element = $$("[data-key]").find((it) => it.dataset.key.toUpperCase() === key && !it.disabled);
  if (!element) return;
  event.preventDefault();
  if (element.matches("input")) element.focus();
  else element.click();
});

for (const box of $$("[data-keys-switch]")) {
  box.checked = hasKeys();
  box.addEventListener("change", () => localStorage.setItem("keys", box.checked ? "on" : "off"));
}

// --- The palette: links and pages by name --------------------------------------------------------

const palette = $("#palette");
if (palette) {
  const field = $("input", palette);
  const list = $("ul", palette);
  const pages = $$("li", list);
  let asked = 0;
  field.addEventListener("input", () => {
    const text = field.value.trim();
    for (const page of pages) page.hidden = !page.textContent.toLowerCase().includes(text.toLowerCase());
    const turn = ++asked;
    setTimeout(async () => {
      if (turn !== asked) return;
      const found = text ? (await call("GET", `/api/v1/links?limit=8&q=${encodeURIComponent(text)}`)).data : [];
      if (turn !== asked) return;
      for (const old of $$("[data-found]", list)) old.remove();
      for (const link of found) {
        const item = document.createElement("li");
        item.dataset.found = "";
        const anchor = document.createElement("a");
        anchor.href = `/links/${link.id}`;
        anchor.textContent = link.short_url.replace(/^https?:\/\//, "");
        const target = document.createElement("span");
        target.className = "muted small clip";
        target.textContent = link.title ?? link.url;
        anchor.append(target);
        item.append(anchor);
        list.append(item);
      }
    }, 200);
  });
  palette.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const all = $$("li:not([hidden]) a", list);
    if (step) {
      event.preventDefault();
      const at = all.indexOf(document.activeElement);
      (all[at + step] ?? (step < 0 ? field : all[0]))?.focus();
    } else if (event.key === "Enter" && document.activeElement === field) {
      event.preventDefault();
      ($("[data-found] a", list) ?? all[0])?.click();
    }
  });
}

// --- A URL that is pasted anywhere becomes a link ------------------------------------------------

document.addEventListener("paste", (event) => {
  const isTyping = event.target.closest?.("input, textarea, [contenteditable]");
  const dialog = $("#new-link");
  const text = event.clipboardData?.getData("text").trim() ?? "";
  if (isTyping || !dialog || !/^https?:\/\/\S+$/i.test(text)) return;
  event.preventDefault();
  $("form", dialog).elements.url.value = text;
  if (!dialog.open) dialog.showModal();
});

// --- Words of the viewer's own language, and their times -----------------------------------------

const names = {};
function name(type, code) {
  names[type] ??= new Intl.DisplayNames(locale, { type, fallback: "code" });
  try { return names[type].of(code) ?? code; } catch { return code; }
}

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];

function ago(time) {
  const seconds = (time - Date.now()) / 1000;
  const unit = UNITS.find(([, length]) => Math.abs(seconds) >= length);
  if (!unit) return t("just now");
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  return format.format(Math.round(seconds / unit[1]), unit[0]);
}

export function localise(root = document) {
  for (const element of $$("[data-region]", root)) element.textContent = name("region", element.dataset.region);
  for (const element of $$("[data-language]", root)) element.textContent = name("language", element.dataset.language);
  for (const element of $$("time", root)) {
    const time = new Date(element.dateTime);
    element.title = time.toLocaleString(locale, { dateStyle: "full", timeStyle: "long" });
    element.textContent = element.dataset.as === "ago" ? ago(time)
      : time.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  }
  for (const control of $$("input[type=datetime-local][data-at]", root)) {
    const time = new Date(control.dataset.at);
    time.setMinutes(time.getMinutes() - time.getTimezoneOffset());
    control.value = control.defaultValue = time.toISOString().slice(0, 16);
  }
}
localise();

// --- Selects that are forms' only controls -------------------------------------------------------

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});
