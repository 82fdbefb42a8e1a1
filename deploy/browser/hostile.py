"""What strangers and members may write stays text, wherever it is shown.

Each text goes into every field that takes it, and into what visitors send. Then every page is opened: nothing of it
became an element, ran, or made a page wider than a phone; and no cell of an export begins a formula.
"""

import csv
import io
import urllib.parse

from crawl import FOREIGN, crawl
from people import set_up, unfold
from rig import Api, until
from watch import NARROW, WIDE

MARKUP = "\"'></title></textarea></script><b class=injected>&amp;{{7*7}}<img src=x onerror=alert(1) class=injected>"
BIDI = "\u202egnp.exe\u2066\u200f\u061c end"
EMOJI = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3f4\U000e0067\U000e0062\U000e007f e\u0301"
FORMULAS = ['=HYPERLINK("https://evil.example","x")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "|=1"]
TEXTS = [MARKUP, BIDI, EMOJI, *FORMULAS]
# No place to break a line, and of different widths.
LONG = "W" * 4096

FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")

INJECTED = """() => [...document.querySelectorAll(
  ".injected, [onerror], [onload], script:not([src]):not([type='application/json']), [src='x'], [href^='javascript:']")]
  .map((it) => it.outerHTML.slice(0, 80))"""


def play(watch, carom, _):
    page = watch.context(viewport=NARROW).new_page()
    set_up(page, carom, name=MARKUP[:100])
    api = Api(carom)
    write(page, watch, api)
    visit(carom, api)

    def look(page, kind):
        watch.settle(page)
        watch.forbidden(page, kind)
        if not kind.startswith(FOREIGN):
            inspect(page, watch, kind)

    seen = crawl(page, carom, ["/links"], look)
    missing = {"/links", "/links/{id}", "/analytics", "/missing"} - seen
    assert not missing, "not reached by links: %s" % missing
    for link in api.call("GET", "/api/v1/links?limit=100")["data"]:
        page.goto("%s/links/%s" % (carom.url, link["id"]))
        look(page, "/links/%s" % (link["title"] or link["code"])[:20])
        dialogs(page, watch)
    # A tag that can be none is refused with a page.
    watch.allow(400, "/links")
    for address in states():
        page.goto(carom.url + address)
        look(page, address[:40])
    live(page, watch, carom, api)
    exports(page, watch, carom, api)


def write(page, watch, api):
    """Into every field of members that takes a text."""
    quoted = urllib.parse.quote(MARKUP)
    for at, text in enumerate(TEXTS):
        api.link(code="text-%d" % at, title=text.strip()[:200], notes=text * 3,
                 tags=[text.replace(",", "").strip()[:50]],
                 url="https://example.com/%s?q=%s&w=%s" % (quoted, urllib.parse.quote(text), "W" * 900))
    api.link(title=LONG[:200], notes=LONG[:4000], tags=[LONG[:50], "w" * 49 + "x"], code="w" * 64,
             url="https://%s.example/%s" % ("w" * 63, LONG[:1900]))
    watch.allow(422, "/api/v1/")
    # As a person types them: what is too long is refused with words.
    page.reload()
    page.keyboard.press("c")
    unfold(page)
    page.fill("#new-link [name=url]", "https://example.com/" + LONG)
    page.click("#new-link button.primary")
    page.locator("#new-link .error:not(:empty)").first.wait_for()
    page.fill("#new-link [name=url]", "https://example.com/?" + MARKUP)
    page.fill("#new-link [name=title]", MARKUP)
    page.fill("#new-link [name=notes]", MARKUP)
    page.fill("#new-link [name=tags]", "<i>one</i>, =1+1")
    page.click("#new-link button.primary")
    page.wait_for_url("**/links/*")
    for text in TEXTS:
        api.call("POST", "/api/v1/keys", {"name": text.strip()[:100], "scopes": ["links:read"]})
    page.evaluate("""(name) => fetch("/api/v1/workspaces/" + document.body.dataset.workspace, {
      method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) })
      .then(async (answer) => { if (!answer.ok) throw new Error(await answer.text()); })""", MARKUP[:100])


def visit(carom, api):
    """As visitors who send the texts."""
    for text in [*TEXTS, LONG]:
        sent = text.replace("\t", " ")
        query = urllib.parse.urlencode({name: sent[:200] for name in (
            "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")})
        for code in ("text-0", "w" * 64):
            status, _ = carom.visit("/%s?%s" % (code, query), agent=sent, language=sent[:50],
                                    referrer="https://%s/%s" % (urllib.parse.quote(sent[:60], safe=""), sent[:1000]))
            assert status == 302, status
        carom.visit("/" + urllib.parse.quote(sent[:60], safe=""))
        for referrer in (sent[:2000], "https://example.org/<b class=injected>", "javascript:alert(1)"):
            carom.visit("/text-1", referrer=referrer)
    clicks = 2 * (len(TEXTS) + 1) + 3 * (len(TEXTS) + 1)

    def stored():
        totals = api.call("GET", "/api/v1/stats?from=2020-01-01&interval=year")["totals"]
        return sum(totals[name] for name in ("clicks", "bots", "previews", "prefetches", "heads")) >= clicks

    until(stored, "%d clicks in the statistics" % clicks)


def states():
    """Pages as addresses make them: whatever is in one comes from a link that anybody may send."""
    for text in (MARKUP, LONG[:200], *FORMULAS[:1]):
        quoted = urllib.parse.quote(text, safe="")
        yield "/links?q=" + quoted[:1000]
        yield "/links?tag=" + quoted
        yield "/analytics?period=7d&filter=utm_source%3D%3D" + urllib.parse.quote(quoted, safe="")
        yield "/report?url=" + quoted
    for panel in ("sources=referrer_path", "campaigns=utm_source", "campaigns=utm_content", "places=language",
                  "devices=os"):
        yield "/analytics?period=today&" + panel


def inspect(page, watch, name):
    for what in page.evaluate(INJECTED):
        watch.finding(name, "became an element: %s" % what)
    watch.check_width(page, "%s (hostile)" % name)


def dialogs(page, watch):
    for name in page.evaluate("() => [...document.querySelectorAll('dialog')].map((it) => it.id)"):
        page.evaluate("(id) => document.getElementById(id).showModal()", name)
        inspect(page, watch, "dialog #%s" % name)
        page.evaluate("(id) => document.getElementById(id).close()", name)


def live(page, watch, carom, api):
    """A click as it comes, and the palette."""
    link = api.call("GET", "/api/v1/links?q=text-0")["data"][0]
    page.set_viewport_size(WIDE)
    page.goto("%s/links/%s" % (carom.url, link["id"]))
    page.locator("#live-state[data-state=on]").wait_for()
    carom.visit("/text-0", referrer="https://" + urllib.parse.quote(MARKUP[:60], safe="") + "/")
    page.locator("#live li").first.wait_for()
    inspect(page, watch, "live")
    page.keyboard.press("Control+k")
    page.fill("#palette input", "text-")
    page.locator("#palette [data-found]").first.wait_for()
    page.set_viewport_size(NARROW)
    inspect(page, watch, "palette")


def exports(page, watch, carom, api):
    """No cell of any export is a formula to a spreadsheet."""
    link = api.call("GET", "/api/v1/links?q=text-0")["data"][0]["id"]
    by = "referrer,referrer_path,utm_source,utm_campaign,browser,language"
    paths = ["/api/v1/stats?by=%s&format=csv&table=top.%s&limit=100" % (by, one) for one in by.split(",")]
    paths += ["/api/v1/links/%s/clicks?format=csv&limit=1000" % link, "/api/v1/audit?format=csv"]
    page.goto(carom.url + "/analytics")
    paths += page.evaluate("() => [...document.querySelectorAll('a[download]')].map((it) => it.getAttribute('href'))")
    for path in paths:
        status, media_type, text = page.evaluate("""async (path) => {
          const answer = await fetch(path);
          return [answer.status, answer.headers.get("content-type"), await answer.text()];
        }""", path)
        assert status == 200, "%s: %d %s" % (path, status, text[:200])
        if not media_type.startswith("text/csv"):
            continue
        rows = list(csv.reader(io.StringIO(text)))
        assert len(rows) > 1, "nothing in %s" % path
        for cell in (cell for row in rows for cell in row if cell.startswith(FORMULA_BEGINS)):
            watch.finding(path, "a cell begins a formula: %s" % cell[:40])
