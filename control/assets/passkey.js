// Passkeys: what a browser asks its authenticators (W3C Web Authentication). carom.js loads this for
// forms that say so by data-passkey; the page where people sign in loads it at once.
import { call, confirmed } from "./carom.js";
import { t } from "./messages.js";

const keys = globalThis.PublicKeyCredential;
/** Browsers from before 2025 cannot read options from JSON. */
const isThere = Boolean(keys?.parseRequestOptionsFromJSON);

/** What goes wrong while a person is asked, in words. */
function words({ name, message }) {
  switch (name) {
    case "NotAllowedError": return t("No passkey was used: it was left, or took too long.");
    case "InvalidStateError": return t("This authenticator has a passkey of yours already.");
    default: return message;
  }
}

/** Asks the person's authenticators; `kind` is create or get. Throws what a form shows. */
async function ask(kind, path, more) {
  if (!isThere) throw { detail: t("This browser is too old for passkeys.") };
  const isNew = kind === "create";
  const options = await (isNew ? confirmed : call)("POST", path);
  const publicKey = isNew ? keys.parseCreationOptionsFromJSON(options) : keys.parseRequestOptionsFromJSON(options);
  try {
    return (await navigator.credentials[kind]({ publicKey, ...more })).toJSON();
  } catch (error) {
    throw error.name === "AbortError" ? { code: "left" } : { detail: words(error) };
  }
}

/** A new passkey. */
export const create = (form) => ask("create", form.dataset.options);

/** What waits for a choice from the browser's own list, since when, and what was chosen. */
let waiting, since, chosen;

/** A passkey that the person has. */
export async function get(form, sent) {
  const remember = document.querySelector("#password-form [name=remember]");
  if (remember) sent.remember = remember.checked;
  const credential = chosen;
  chosen = undefined;
  if (credential) return credential;
  waiting?.abort();
  return ask("get", form.dataset.options);
}

/** Lets the browser offer passkeys among the names that it knows for a field. */
async function offer(form) {
  waiting?.abort();
  waiting = new AbortController();
  since = Date.now();
  try {
    chosen = await ask("get", form.dataset.options, { mediation: "conditional", signal: waiting.signal });
    form.requestSubmit();
  } catch { /* The button is still there. */ }
}

const door = document.querySelector("#passkey-form");
if (door && isThere) {
  door.hidden = !document.querySelector("#code-form").hidden;
  if (await keys.isConditionalMediationAvailable?.()) {
    offer(door);
    // A challenge is worth five minutes.
    addEventListener("focus", () => { if (Date.now() - since > 240_000) offer(door); });
  }
}
