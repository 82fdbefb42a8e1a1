// The same load for long: what leaks, fills up or wears out shows as later answers that are slower
// than earlier ones. RATE (200 a second), DURATION (30m), and lib/carom.js's. Watch memory, descriptors
// and disk beside it: curl http://127.0.0.1:9080/metrics.

import exec from "k6/execution";
import { constant, createLinks, lasting, miss, oneOf, setting, thresholds, trend, visit } from "./lib/carom.js";

const p99 = ["p(99)<50"];

export const options = {
  scenarios: { soak: constant(setting("RATE", 200), lasting("30m")) },
  thresholds: Object.assign(thresholds("soak", 50), {
    // The same bound for each third: an average over all of it would hide a slow end.
    "http_req_duration{third:first}": p99,
    "http_req_duration{third:second}": p99,
    "http_req_duration{third:last}": p99,
  }),
  summaryTrendStats: trend,
};

export const setup = createLinks;

export default function (links) {
  const progress = exec.scenario.progress;
  const third = progress < 1 / 3 ? "first" : progress < 2 / 3 ? "second" : "last";
  // As in life, one in twenty asks for what is not there.
  if (Math.random() < 0.05) {
    miss();
  } else {
    visit(oneOf(links), { third });
  }
}
