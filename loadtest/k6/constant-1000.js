// 1,000 redirects a second, open loop, for a minute: requests start when they are due, however long
// the ones before take, so a server that falls behind shows it as latency and dropped iterations
// instead of slowing the measurement down.
//
// setup() creates the links through the API. Redirects are not followed: the target is only
// compared. Environment: LOADTEST_KEY (required), LOADTEST_EDGE, LOADTEST_CONTROL, RATE (a second),
// DURATION, LINKS.

import http from "k6/http";
import { check, fail } from "k6";

const EDGE = __ENV.LOADTEST_EDGE || "http://127.0.0.1:8080";
const CONTROL = __ENV.LOADTEST_CONTROL || "http://127.0.0.1:8081";
const RATE = Number(__ENV.RATE || 1000);
const DURATION = __ENV.DURATION || "60s";
const LINKS = Number(__ENV.LINKS || 100);

export const options = {
  scenarios: {
    redirects: {
      executor: "constant-arrival-rate",
      rate: RATE,
      timeUnit: "1s",
      duration: DURATION,
      preAllocatedVUs: 50,
      maxVUs: 200,
    },
  },
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    // The scenario's requests only: setup() waits for durable creates.
    "http_req_duration{scenario:redirects}": ["p(99)<50"],
    dropped_iterations: ["count==0"],
  },
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
};

export function setup() {
  if (!__ENV.LOADTEST_KEY) {
    fail("set LOADTEST_KEY to an API key: carom key create --name k6");
  }
  const params = {
    headers: {
      Authorization: `Bearer ${__ENV.LOADTEST_KEY}`,
      "Content-Type": "application/json",
    },
  };
  const links = [];
  for (let n = 0; n < LINKS; n++) {
    const url = `https://www.example.com/articles/${n}`;
    const response = http.post(`${CONTROL}/api/v1/links`, JSON.stringify({ url }), params);
    if (response.status !== 201) {
      fail(`POST /api/v1/links answered ${response.status}: ${response.body}`);
    }
    const link = response.json();
    links.push({ code: link.code, url: link.url });
  }
  return links;
}

export default function (links) {
  const link = links[Math.floor(Math.random() * links.length)];
  const response = http.get(`${EDGE}/${link.code}`, {
    redirects: 0,
    // One time series for all links.
    tags: { name: "GET /{code}" },
    headers: {
      "User-Agent":
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
        "Chrome/138.0.0.0 Safari/537.36",
    },
  });
  check(response, {
    "status is 302": (r) => r.status === 302,
    "Location is the target": (r) => r.headers.Location === link.url,
  });
}
