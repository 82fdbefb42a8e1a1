// From 100 redirects a second up to RATE (5,000) in equal steps, each held: where latency begins to
// grow is where the machine is full. It ends early where nothing is gained by going on. RATE,
// DURATION of each step, and lib/carom.js's.

import { createLinks, lasting, oneOf, ramping, setting, thresholds, trend, visit } from "./lib/carom.js";

const STEPS = 5;
const RATE = setting("RATE", 5000);
const held = lasting("30s");

const stages = [];
for (let step = 1; step <= STEPS; step++) {
  const target = Math.round((RATE * step) / STEPS);
  stages.push({ target, duration: "5s" }, { target, duration: held });
}

export const options = {
  scenarios: { ramp: ramping(100, stages) },
  thresholds: Object.assign(thresholds("ramp", 100), {
    // Half of all in a second is no server that is busy, but one that is not there.
    http_req_duration: [{ threshold: "p(50)<1000", abortOnFail: true, delayAbortEval: "10s" }],
  }),
  summaryTrendStats: trend,
};

export const setup = createLinks;

export default function (links) {
  visit(oneOf(links));
}
