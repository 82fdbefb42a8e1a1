// 1,000 redirects a second for a minute. RATE (a second), DURATION and lib/carom.js's.

import { constant, createLinks, lasting, oneOf, setting, thresholds, trend, visit } from "./lib/carom.js";

export const options = {
  scenarios: { redirects: constant(setting("RATE", 1000), lasting("60s")) },
  thresholds: thresholds("redirects", 50),
  summaryTrendStats: trend,
};

export const setup = createLinks;

export default function (links) {
  visit(oneOf(links));
}
