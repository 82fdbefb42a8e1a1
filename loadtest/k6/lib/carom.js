// What the scripts share: where Carom is, links to ask for, visitors who ask, and what is right.
//
// Environment: LOADTEST_KEY (required), LOADTEST_EDGE, LOADTEST_CONTROL, LINKS.

import http from "k6/http";
import { check, fail } from "k6";

export const EDGE = __ENV.LOADTEST_EDGE || "http://127.0.0.1:8080";
export const CONTROL = __ENV.LOADTEST_CONTROL || "http://127.0.0.1:8081";
const LINKS = Number(__ENV.LINKS || 100);

// A number of the environment, or else what the script means.
export function setting(name, otherwise) {
  return __ENV[name] ? Number(__ENV[name]) : otherwise;
}

// One that runs for a time of the environment, or else as the script means.
export function lasting(otherwise) {
  return __ENV.DURATION || otherwise;
}

// Requests that are due start at their time, however long the ones before take: a server that falls
// behind shows it as latency and as dropped iterations, instead of slowing the measurement down.
export function constant(rate, duration, options) {
  return Object.assign(
    {
      executor: "constant-arrival-rate",
      rate,
      timeUnit: "1s",
      duration,
      preAllocatedVUs: 50,
      maxVUs: 200,
    },
    options,
  );
}

export function ramping(startRate, stages, options) {
  return Object.assign(
    {
      executor: "ramping-arrival-rate",
      startRate,
      timeUnit: "1s",
      stages,
      preAllocatedVUs: 100,
      maxVUs: 400,
    },
    options,
  );
}

export const trend = ["avg", "med", "p(95)", "p(99)", "max"];

// Every answer is right and comes in time; `scenario` leaves setup() out, whose creates are durable.
export function thresholds(scenario, p99) {
  return {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    [`http_req_duration{scenario:${scenario}}`]: [`p(99)<${p99}`],
    dropped_iterations: ["count==0"],
  };
}

export function bearer(key) {
  return { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
}

// The keys of the environment: LOADTEST_KEYS, separated by commas, or else LOADTEST_KEY.
export function keys() {
  const all = (__ENV.LOADTEST_KEYS || __ENV.LOADTEST_KEY || "").split(",").filter((key) => key);
  if (all.length === 0) {
    fail("set LOADTEST_KEY to an API key: carom key create --name k6");
  }
  return all;
}

// Makes the links that are asked for.
export function createLinks() {
  const params = { headers: bearer(keys()[0]) };
  const links = [];
  for (let n = 0; n < LINKS; n++) {
    const url = `https://www.example.com/articles/${n}`;
    const response = http.post(`${CONTROL}/api/v1/links`, JSON.stringify({ url }), params);
    if (response.status !== 201) {
      fail(`POST /api/v1/links answered ${response.status}: ${response.body}`);
    }
    const link = response.json();
    links.push({ id: link.id, code: link.code, url: link.url });
  }
  return links;
}

export function oneOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

// Asks for a link as a browser does. The redirect is not followed: its target is only compared.
export function visit(link, tags) {
  const response = http.get(`${EDGE}/${link.code}`, {
    redirects: 0,
    // One time series for all links.
    tags: Object.assign({ name: "GET /{code}" }, tags),
    headers: {
      "User-Agent":
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
        "Chrome/138.0.0.0 Safari/537.36",
      "Accept-Language": "en-GB,en;q=0.9",
    },
  });
  check(response, {
    "status is 302": (r) => r.status === 302,
    "Location is the target": (r) => r.headers.Location === link.url,
  });
}

// Asks for a code that does not exist.
export function miss() {
  const code = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
  const response = http.get(`${EDGE}/${code}`, {
    redirects: 0,
    tags: { name: "GET /{no code}" },
    responseCallback: http.expectedStatuses(404),
  });
  check(response, { "status is 404": (r) => r.status === 404 });
}
