"""A browser that is watched: what a page does badly is a finding, whoever opened it.

Everywhere: errors of the console, exceptions, what the content security policy forbade, requests to other hosts,
dialogs that nobody expected. Where a page is looked at (`look`): accessibility by axe, layout that shifts, layout
that is wider than its screen, and bytes.
"""

import contextlib
import pathlib
import re
import urllib.parse

import axe_playwright_python

AXE = (pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# What axe calls worse than a nuisance; the rest is a note.
SERIOUS = {"serious", "critical"}
# Cumulative layout shift: what web.dev calls good.
SHIFT_MAX = 0.1
# Compressed bytes: all that somebody loads who comes for the first time and looks at links and statistics, and
# any page after that.
FIRST_VISIT_MAX, PAGE_MAX = 60 * 1024, 15 * 1024
# The edge's own pages, as they are sent: nothing is compressed there.
EDGE_PAGE_MAX = 1536
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}

WATCHER = """
window.watched = { shift: 0, forbidden: [], injected: false };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) watched.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
document.addEventListener("securitypolicyviolation", (event) =>
  watched.forbidden.push(`${event.effectiveDirective} ${event.blockedURI}`));
"""

# Two frames later the window has its size, and the chart is as wide as its place: shifts have been told by then.
SETTLED = """async (width) => {
  await document.fonts.ready;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const chart = document.querySelector("#chart");
  return innerWidth === width
    && (!chart || Math.abs((chart.querySelector(".uplot")?.offsetWidth ?? 0) - chart.clientWidth) <= 1);
}"""

# Bodies, compressed as they came; what came out of the cache took nothing.
BYTES = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((it) => it.transferSize > 0).reduce((sum, it) => sum + it.encodedBodySize, 0)"""

# Who is wider than the screen, if the page is: the innermost, by their paths.
WIDER = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const clips = (element) => {
    for (let at = element.parentElement; at && at !== document.body; at = at.parentElement)
      if (getComputedStyle(at).overflowX !== "visible") return true;
    return false;
  };
  const wide = [...document.body.querySelectorAll("*")].filter((it) =>
    it.getBoundingClientRect().right > width + 1 && !clips(it));
  const inner = wide.filter((it) => !wide.some((other) => other !== it && it.contains(other)));
  const name = (it) => [it.localName + (it.id && "#" + it.id), ...it.classList].join(".");
  return [`${document.documentElement.scrollWidth} px`,
    ...inner.slice(0, 3).map((it) => `${name(it.parentElement)} > ${name(it)}`)];
}"""


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "start"


class Watch:
    """All contexts of a part; findings and notes are lists of texts."""

    def __init__(self, browser, carom, screenshots):
        self.browser, self.carom, self.screenshots = browser, carom, screenshots
        self.findings, self.notes, self.weights = [], [], {}
        self.contexts = []
        # Statuses and paths that the console may complain about; and dialogs that are answered with yes.
        self.refused, self.dialogs = [], 0

    def context(self, **options):
        context = self.browser.new_context(**{
            "viewport": WIDE, "locale": "en-GB", "timezone_id": "Europe/Berlin", "color_scheme": "light",
            "reduced_motion": "reduce", "permissions": ["clipboard-read", "clipboard-write"],
            "accept_downloads": True, **options})
        context.set_default_timeout(20_000)
        context.add_init_script(WATCHER)
        context.on("console", self.on_console)
        context.on("weberror", lambda error: self.finding(error.page.url, "exception: %s" % error.error))
        context.on("request", self.on_request)
        context.on("dialog", self.on_dialog)
        self.contexts.append(context)
        return context

    def finding(self, where, what):
        where = where.replace(self.carom.url, "").replace(self.carom.edge, "edge") or "/"
        text = "%s: %s" % (where, what)
        if text not in self.findings:
            self.findings.append(text)

    def allow(self, status, path):
        """From now on an answer with this status is no error on this path: a part asks for it."""
        self.refused.append(("status of %d" % status, path))

    def expect_dialog(self):
        self.dialogs += 1

    def on_console(self, message):
        url = message.location.get("url", "")
        is_allowed = any(text in message.text and path in url for text, path in self.refused)
        if message.type in ("error", "warning") and not is_allowed:
            page = message.page.url if message.page else url
            self.finding(page, "console: %s (%s)" % (message.text, urllib.parse.urlsplit(url).path))

    def on_request(self, request):
        own = (self.carom.url + "/", self.carom.edge + "/", self.carom.other + "/", "data:", "blob:")
        if not request.url.startswith(own):
            self.finding("a page", "a request to another host: %s" % request.url)

    def on_dialog(self, dialog):
        if self.dialogs and dialog.type == "confirm":
            self.dialogs -= 1
            dialog.accept()
        else:
            self.finding(dialog.page.url, "a dialog that nobody expected: %s" % dialog.message[:80])
            dialog.dismiss()

    # --- Looking at a page

    def settle(self, page):
        page.wait_for_load_state("load")
        page.wait_for_function(SETTLED, arg=page.viewport_size["width"])

    def look(self, page, name, kind="page"):
        """Everything about a page that has just been opened: in both widths, in light and in dark."""
        self.settle(page)
        self.forbidden(page, name)
        shift = page.evaluate("watched.shift")
        if shift > SHIFT_MAX:
            self.finding(name, "layout shifts by %.2f, %.2f are allowed" % (shift, SHIFT_MAX))
        size, limit = page.evaluate(BYTES), {"page": PAGE_MAX, "edge": EDGE_PAGE_MAX}.get(kind)
        self.weights[name] = size
        if limit and size > limit:
            self.finding(name, "%d bytes, %d are allowed" % (size, limit))
        for width, scheme in (("wide", "light"), ("wide", "dark"), ("narrow", "dark"), ("narrow", "light")):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(WIDE if width == "wide" else NARROW)
            self.settle(page)
            self.check_width(page, "%s (%s)" % (name, width))
            # In the other two nothing is new: colours of the one, layout of the other.
            if (width, scheme) in (("wide", "light"), ("wide", "dark"), ("narrow", "light")):
                self.axe(page, "%s (%s, %s)" % (name, width, scheme), colours=scheme == "dark")
            # As high as the page: what is fixed to an edge of the screen would stand in its middle else.
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({**page.viewport_size, "height": min(6000, height)})
            self.settle(page)
            self.shoot(page, "%s-%s-%s" % (slug(name), scheme, page.viewport_size["width"]))
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(WIDE)

    def forbidden(self, page, name):
        for what in page.evaluate("watched.forbidden"):
            self.finding(name, "the content security policy forbade %s" % what)

    def check_width(self, page, name):
        self.settle(page)
        wider = page.evaluate(WIDER)
        if wider:
            self.finding(name, "wider than the screen: %s" % ", ".join(wider))

    def axe(self, page, name, colours=False):
        """Accessibility; with `colours`, of those alone."""
        if not page.evaluate("'axe' in window"):
            page.evaluate(AXE)
        only = {"type": "rule", "values": ["color-contrast"]} if colours else {"type": "tag", "values": WCAG}
        found = page.evaluate("(options) => axe.run(document, options)", {
            "runOnly": only, "resultTypes": ["violations"]})["violations"]
        for one in found:
            where = "; ".join(" ".join(map(str, node["target"])) for node in one["nodes"][:3])
            why = one["nodes"][0].get("failureSummary", "").split("\n")[-1].strip()
            text = "axe %s, %s (%d): %s: %s" % (one["impact"], one["id"], len(one["nodes"]), where, why)
            if one["impact"] in SERIOUS:
                self.finding(name, text)
            else:
                self.notes.append("%s: %s" % (name, text))

    def shoot(self, page, name, **options):
        page.screenshot(path=str(self.screenshots / (name + ".png")), animations="disabled", **options)

    def close(self):
        for context in self.contexts:
            with contextlib.suppress(Exception):
                context.close()
