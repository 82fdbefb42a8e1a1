// A link goes round: within a second ten times as many visitors, and most for one link; then it is
// over. Before, during and after are told apart: what comes after must be as what was before. RATE
// (before; 300 a second), DURATION of each part, and lib/carom.js's.

import exec from "k6/execution";
import { createLinks, lasting, oneOf, ramping, setting, thresholds, trend, visit } from "./lib/carom.js";

const TIMES = 10;
const RATE = setting("RATE", 300);
const part = lasting("20s");

export const options = {
  scenarios: {
    spike: ramping(RATE, [
      { target: RATE, duration: part },
      { target: RATE * TIMES, duration: "1s" },
      { target: RATE * TIMES, duration: part },
      { target: RATE, duration: "1s" },
      { target: RATE, duration: part },
    ]),
  },
  thresholds: Object.assign(thresholds("spike", 100), {
    "http_req_duration{part:before}": ["p(99)<50"],
    "http_req_duration{part:during}": ["p(99)<100"],
    "http_req_duration{part:after}": ["p(99)<50"],
  }),
  summaryTrendStats: trend,
};

export const setup = createLinks;

export default function (links) {
  const progress = exec.scenario.progress;
  // Where one stage goes over into the next counts as the spike.
  const name = progress < 0.32 ? "before" : progress > 0.7 ? "after" : "during";
  const hot = name === "during" && Math.random() < 0.9;
  visit(hot ? links[0] : oneOf(links), { part: name });
}
