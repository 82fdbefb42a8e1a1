// Programs at the API, each with a key of its own, while visitors come: creates, reads, changes,
// lists, searches and statistics, and somebody whose key is wrong. Each kind of call has its own bound,
// because an average over calls that differ says nothing. RATE (calls a second; 100), VISITS (redirects
// a second; 500), DURATION, LOADTEST_KEYS, and lib/carom.js's. Start Carom without limits of keys and workspaces
// (CAROM_LIMITS__KEY_PER_MINUTE=0, CAROM_LIMITS__WORKSPACE_PER_MINUTE=0), or they are what is measured.

import http from "k6/http";
import { check } from "k6";
import {
  CONTROL,
  bearer,
  constant,
  createLinks,
  keys,
  lasting,
  oneOf,
  setting,
  trend,
  visit,
} from "./lib/carom.js";

const LINKS_PATH = "/api/v1/links";
const WRONG_KEY = "crm_000000000000000000000000000000000000";

// What is called, how often of a hundred, and in how many milliseconds 99 % have to be answered.
const MIX = [
  { name: "create", share: 20, p99: 200, call: create },
  { name: "read", share: 30, p99: 100, call: read },
  { name: "change", share: 10, p99: 200, call: change },
  { name: "list", share: 15, p99: 100, call: list },
  { name: "search", share: 10, p99: 200, call: search },
  { name: "statistics", share: 10, p99: 200, call: statistics },
  { name: "wrong_key", share: 5, p99: 100, call: wrongKey },
];

const bounds = {};
for (const { name, p99 } of MIX) {
  bounds[`http_req_duration{call:${name}}`] = [`p(99)<${p99}`];
}

export const options = {
  scenarios: {
    api: constant(setting("RATE", 100), lasting("60s"), { exec: "api" }),
    visitors: constant(setting("VISITS", 500), lasting("60s"), { exec: "visitors" }),
  },
  thresholds: Object.assign(bounds, {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    dropped_iterations: ["count==0"],
    // What programs do at the API must not be felt by visitors.
    "http_req_duration{scenario:visitors}": ["p(99)<50"],
  }),
  summaryTrendStats: trend,
};

export const setup = createLinks;

export function visitors(links) {
  visit(oneOf(links));
}

export function api(links) {
  let draw = Math.random() * 100;
  const kind = MIX.find(({ share }) => (draw -= share) < 0) || MIX[0];
  // All keys are of one workspace: each of them may read what another has made.
  const params = { headers: bearer(oneOf(keys())), tags: { call: kind.name, name: kind.name } };
  kind.call(oneOf(links), params);
}

function is(response, status, what) {
  check(response, { [what]: (r) => r.status === status });
}

function create(_link, params) {
  const url = `https://www.example.com/api-mix/${Math.random()}`;
  const headers = Object.assign({ "Idempotency-Key": `k6-${Math.random()}` }, params.headers);
  const made = http.post(
    CONTROL + LINKS_PATH,
    JSON.stringify({ url }),
    Object.assign({}, params, { headers }),
  );
  is(made, 201, "a link is made");
  // What was acknowledged leads there at once.
  if (made.status === 201) {
    visit(made.json());
  }
}

function read(link, params) {
  const response = http.get(`${CONTROL}${LINKS_PATH}/${link.id}`, params);
  check(response, {
    "a link is read": (r) => r.status === 200,
    "it is the one that was asked for": (r) => r.status === 200 && r.json().id === link.id,
  });
}

function change(link, params) {
  const body = JSON.stringify({ title: `changed ${Math.random()}` });
  is(http.patch(`${CONTROL}${LINKS_PATH}/${link.id}`, body, params), 200, "a link is changed");
}

function list(_link, params) {
  is(http.get(`${CONTROL}${LINKS_PATH}?limit=50`, params), 200, "links are listed");
}

function search(_link, params) {
  is(http.get(`${CONTROL}${LINKS_PATH}?q=articles&limit=20`, params), 200, "links are found");
}

function statistics(link, params) {
  const path = `${LINKS_PATH}/${link.id}/stats?by=country,browser`;
  is(http.get(CONTROL + path, params), 200, "statistics are read");
}

function wrongKey(link, params) {
  const refused = http.get(`${CONTROL}${LINKS_PATH}/${link.id}`, {
    headers: bearer(WRONG_KEY),
    tags: params.tags,
    responseCallback: http.expectedStatuses(401, 429),
  });
  // Strangers have a limit, and whoever tries keys is one.
  check(refused, { "a wrong key is refused": (r) => r.status === 401 || (r.status === 429 && r.headers["Retry-After"] > 0) });
}
