// Does all of it answer? Health, a link's whole life, redirects, a code that is not there: five a
// second for ten seconds, each answer compared. DURATION and lib/carom.js's.

import http from "k6/http";
import { check } from "k6";
import {
  CONTROL,
  EDGE,
  bearer,
  constant,
  createLinks,
  keys,
  lasting,
  miss,
  oneOf,
  thresholds,
  trend,
  visit,
} from "./lib/carom.js";

export const options = {
  scenarios: { smoke: constant(5, lasting("10s"), { preAllocatedVUs: 5, maxVUs: 20 }) },
  thresholds: thresholds("smoke", 500),
  summaryTrendStats: trend,
};

export const setup = createLinks;

export default function (links) {
  visit(oneOf(links));
  miss();
  wholeLife();
}

// Made, followed at once, changed, followed at once, deleted, gone at once.
function wholeLife() {
  const headers = bearer(keys()[0]);
  const path = `${CONTROL}/api/v1/links`;
  const named = (name) => ({ headers, tags: { name } });
  const url = `https://www.example.com/smoke/${Math.random()}`;
  const made = http.post(path, JSON.stringify({ url }), named("POST /api/v1/links"));
  if (!check(made, { "a link is made": (r) => r.status === 201 })) {
    return;
  }
  const link = made.json();
  visit(link);
  const changed = http.patch(
    `${path}/${link.id}`,
    JSON.stringify({ url: `${url}/changed` }),
    named("PATCH /api/v1/links/{id}"),
  );
  check(changed, { "a link is changed": (r) => r.status === 200 });
  visit({ code: link.code, url: `${url}/changed` });
  const deleted = http.del(`${path}/${link.id}`, null, named("DELETE /api/v1/links/{id}"));
  check(deleted, { "a link is deleted": (r) => r.status === 204 || r.status === 200 });
  const gone = http.get(`${EDGE}/${link.code}`, {
    redirects: 0,
    tags: { name: "GET /{deleted code}" },
    responseCallback: http.expectedStatuses(410),
  });
  check(gone, { "a deleted link is gone": (r) => r.status === 410 });
}
