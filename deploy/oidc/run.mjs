// Signs in by a real provider of OpenID Connect, npm's oidc-provider, from end to end: its own discovery,
// keys (RS256), pages and codes, and a whole carom. Used by deploy/test.
//
//   node deploy/oidc/run.mjs --carom target/debug/carom --modules FOLDER
//
// FOLDER is where `npm install --prefix FOLDER oidc-provider@8.8.1` was run. carom is built with
// `--features oidc`.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: args } = parseArgs({ options: { carom: { type: "string" }, modules: { type: "string" } } });
const { default: Provider } = await import(
  pathToFileURL(join(resolve(args.modules), "node_modules/oidc-provider/lib/index.js")).href
);

const CLIENT = "carom";
const SECRET = "of-this-run-alone-0123456789abcdef";
const PASSWORD = "seven purple lanterns drift";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** A browser: cookies by origin, redirects one at a time. */
class Browser {
  jars = new Map();

  async fetch(url, { method = "GET", json, form, headers = {} } = {}) {
    const { origin } = new URL(url);
    const jar = this.jars.get(origin) ?? new Map();
    this.jars.set(origin, jar);
    const body = json !== undefined ? JSON.stringify(json) : form && new URLSearchParams(form);
    const response = await fetch(url, {
      method,
      redirect: "manual",
      headers: {
        cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; "),
        ...(json !== undefined && { "content-type": "application/json" }),
        ...(method !== "GET" && { origin }),
        ...headers,
      },
      body,
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [pair] = cookie.split(";");
      const at = pair.indexOf("=");
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      if (value && !/expires=Thu, 01 Jan 1970/i.test(cookie)) jar.set(name, value);
      else jar.delete(name);
    }
    return response;
  }
}

/** Goes through the provider's own pages as somebody, until they lead back; where they lead. */
async function throughProvider(browser, url, back, login) {
  for (let step = 0; step < 20; step++) {
    if (url.startsWith(back)) return url;
    const page = await browser.fetch(url);
    if (page.status >= 300 && page.status < 400) {
      url = new URL(page.headers.get("location"), url).href;
      continue;
    }
    const html = await page.text();
    assert.equal(page.status, 200, html);
    const action = /<form[^>]*action="([^"]+)"/.exec(html)[1];
    const prompt = /name="prompt" value="([^"]+)"/.exec(html)[1];
    const form = prompt === "login" ? { prompt, login, password: "any" } : { prompt };
    const sent = await browser.fetch(new URL(action, url).href, { method: "POST", form });
    url = new URL(sent.headers.get("location"), url).href;
  }
  throw new Error(`the provider's pages do not end: ${url}`);
}

async function startProvider(port, redirect) {
  const provider = new Provider(`http://localhost:${port}`, {
    clients: [{ client_id: CLIENT, client_secret: SECRET, redirect_uris: [redirect] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    cookies: { keys: ["of this run alone"] },
    pkce: { required: () => true },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, email: `${id}@example.com`, email_verified: !id.startsWith("unverified"), name: `Of ${id}`,
      }),
    }),
  });
  const server = provider.listen(port, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  return server;
}

const folder = mkdtempSync(join(tmpdir(), "carom-oidc-"));
const [edge, control, internal, edgeAdmin, controlAdmin, at] = await Promise.all(
  Array.from({ length: 6 }, freePort),
);
const base = `http://localhost:${control}`;
const back = `${base}/sign-in/callback`;
const environment = {
  PATH: process.env.PATH,
  CAROM_DATA_DIR: folder,
  CAROM_EDGE__LISTEN: `127.0.0.1:${edge}`,
  CAROM_CONTROL__LISTEN: `127.0.0.1:${control}`,
  CAROM_CONTROL__INTERNAL_LISTEN: `127.0.0.1:${internal}`,
  CAROM_EDGE__ADMIN_LISTEN: `127.0.0.1:${edgeAdmin}`,
  CAROM_CONTROL__ADMIN_LISTEN: `127.0.0.1:${controlAdmin}`,
  CAROM_CONTROL__PUBLIC_URL: base,
  CAROM_ACCOUNTS__REGISTRATION: "open",
  CAROM_ACCOUNTS__OIDC__ISSUER: `http://localhost:${at}`,
  CAROM_ACCOUNTS__OIDC__CLIENT_ID: CLIENT,
  CAROM_ACCOUNTS__OIDC__CLIENT_SECRET: SECRET,
  CAROM_ACCOUNTS__OIDC__LABEL: "Example",
  CAROM_ACCOUNTS__OIDC__TRUST_EMAIL: "true",
};
const program = resolve(args.carom);
const carom = (...command) => execFileSync(program, command, { env: environment, encoding: "utf8" });

// The provider is away while carom starts.
const serving = spawn(program, ["serve"], { env: environment, stdio: ["ignore", "ignore", "inherit"] });
let provider;
try {
  for (let tries = 0; ; tries++) {
    const ready = await fetch(`http://127.0.0.1:${controlAdmin}/readyz`).catch(() => null);
    if (ready?.ok) break;
    assert.ok(tries < 200 && serving.exitCode === null, "carom does not start");
    await new Promise((done) => setTimeout(done, 50));
  }
  const api = (browser, method, path, json) => browser.fetch(`${base}/api/v1${path}`, { method, json });
  const begin = async (browser, path, json) => {
    const answer = await api(browser, "POST", path, json);
    assert.equal(answer.status, 200, await answer.clone().text());
    return (await answer.json()).authorization_url;
  };
  const account = async (browser) => (await api(browser, "GET", "/account")).json();

  const away = await api(new Browser(), "POST", "/oidc", {});
  assert.equal(away.status, 503);
  assert.equal((await away.json()).code, "provider-unavailable");

  provider = await startProvider(at, back);
  const page = await (await new Browser().fetch(`${base}/sign-in`)).text();
  assert.match(page, /Sign in with Example/);

  // Somebody new, and the same person once more.
  for (const _ of [1, 2]) {
    const browser = new Browser();
    const callback = await throughProvider(browser, await begin(browser, "/oidc", {}), back, "grace");
    assert.ok(new URL(callback).searchParams.get("iss"), "the provider names itself");
    const answer = await browser.fetch(callback);
    assert.equal(answer.status, 303, await answer.text());
    assert.equal(answer.headers.get("location"), "/");
    const { email, name } = await account(browser);
    assert.deepEqual([email, name], ["grace@example.com", "Of grace"]);
    // The same answer once more.
    assert.equal((await browser.fetch(callback)).status, 401);

    // Who they are, once more: the provider asks again.
    const again = await begin(browser, "/sessions/current/confirm-by-provider", undefined);
    const confirmed = await browser.fetch(await throughProvider(browser, again, back, "grace"));
    assert.equal(confirmed.status, 303, await confirmed.text());
  }
  const users = JSON.parse(carom("user", "list", "--json")).data;
  assert.equal(users.length, 1);

  // An account with a password that is there already.
  const made = JSON.parse(carom("user", "create", "--email", "ada@example.com", "--json"));
  const token = made.link.split("#")[1];
  const set = await api(new Browser(), "POST", "/password-resets/confirm", { token, password: PASSWORD });
  assert.equal(set.status, 204, await set.text());
  const ada = new Browser();
  const arrived = await ada.fetch(await throughProvider(ada, await begin(ada, "/oidc", {}), back, "ada"));
  assert.equal(arrived.status, 303, await arrived.text());
  assert.equal((await account(ada)).id, made.id);
  const { data, provider: shown } = await (await api(ada, "GET", "/account/identities")).json();
  assert.deepEqual([data.length, data[0].subject, shown.label], [1, "ada", "Example"]);

  // An address that nobody has verified makes nothing; an answer is the browser's that asked.
  const stranger = new Browser();
  const url = await throughProvider(stranger, await begin(stranger, "/oidc", {}), back, "unverified");
  assert.equal((await stranger.fetch(url)).status, 409);
  const other = new Browser();
  const theirs = await throughProvider(other, await begin(other, "/oidc", {}), back, "grace");
  assert.equal((await new Browser().fetch(theirs)).status, 401);
  console.log("signed in by a real provider: new, known, confirmed, linked by address; refused where due");
} finally {
  serving.kill();
  provider?.close();
  provider?.closeAllConnections?.();
  rmSync(folder, { recursive: true, force: true });
}
