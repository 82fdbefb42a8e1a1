"""Every page, looked at: with nothing in it, with much in it, signed out, and what visitors of the edge see."""

import base64
import datetime
import json
import random
import urllib.parse

from crawl import FOREIGN, crawl
from people import set_up, sign_in
from rig import Api, until
from watch import BYTES, FIRST_VISIT_MAX, NARROW, WIDE

# Of a new installation, signed out. The rest is found by links.
GATES = ["/setup", "/sign-in", "/forgot", "/register", "/reset", "/account/email", "/undo-email", "/invitation",
         "/report?url=go.example.com/summer", "/no-such-page"]
EMPTY = ["/links", "/analytics", "/missing"]
# Addresses with a state that looks different; `{id}` is the busiest link.
STATES = ["/links?q=nothing-is-called-so", "/links?show=archived", "/links?sort=clicks&tag=launch",
          "/analytics?period=91d&compare=previous&interval=week", "/analytics?period=today",
          "/links/{id}?period=7d&filter=country%3D%3DDE;browser%3D%3DFirefox", "/links/{id}?period=nonsense",
          "/links/1", "/links?state=unknown"]
# What is looked at in German too: its words are longer.
GERMAN = ["/links", "/analytics?from=2026-01-01&to=2026-01-31", "/links/{id}", "/shares", "/settings/profile",
          "/settings/limits", "/settings/keys", "/links?state=unknown"]
# Pages that links should lead to: a crawl that found less found nothing.
KNOWN = {"/links", "/links/{id}", "/analytics", "/missing", "/shares", "/settings/profile", "/settings/members"}

LINKS = [("summer", "https://shop.example.com/summer?colour=green", "Summer sale", ["launch", "shop"]),
         ("guide", "https://docs.example.com/guide/getting-started", "Getting started", ["docs"]),
         ("jobs", "https://example.com/careers", "Open positions", []),
         ("talk", "https://events.example.org/2026/keynote/slides.pdf", "Slides of the keynote", ["events"]),
         ("beta", "https://example.com/beta/sign-up", "Beta programme", ["launch"]),
         ("press", "https://example.com/press/kit.zip", "Press kit", ["launch", "press"]),
         ("map", "https://maps.example.net/place/harbour-13", "How to find us", []),
         ("survey", "https://forms.example.com/f/9aK2", "Customer survey", ["research"])]


def play(watch, carom, arguments):
    gates(watch, carom)
    page = watch.context().new_page()
    set_up(page, carom)
    for path in EMPTY:
        page.goto(carom.url + path)
        watch.look(page, path + " (empty)", kind="first")
    api = Api(carom)
    seed(carom, api)
    more(api)
    busiest = api.call("GET", "/api/v1/links?sort=clicks&limit=1")["data"][0]["id"]
    first_visit(watch, carom, busiest)
    # From here on somebody has been here before.
    page.goto(carom.url + "/links/" + busiest)
    watch.settle(page)
    opened = set()

    def visit(page, kind):
        if kind.startswith(FOREIGN):
            page.wait_for_load_state("load")
            watch.forbidden(page, kind)
            return
        watch.look(page, kind)
        dialogs(page, watch, kind, opened)

    shares(watch, carom, api, busiest)
    seen = crawl(page, carom, ["/links/" + busiest, "/links"], visit)
    assert KNOWN <= seen, "not reached by links: %s" % (KNOWN - seen)
    watch.allow(404, "/links/1")
    watch.allow(400, "/links")
    for state in STATES:
        page.goto(carom.url + state.replace("{id}", busiest))
        watch.look(page, state)
    german(watch, carom, busiest)
    edge(watch, carom, api)
    # They are told of once a minute.
    until(lambda: api.call("GET", "/api/v1/missing")["data"], "a missing code", patience=90)
    page.goto(carom.url + "/missing")
    watch.look(page, "/missing (filled)")
    if arguments.pictures:
        pictures(watch, carom, page, busiest, arguments.pictures)
    (watch.screenshots.parent / "bytes.json").write_text(json.dumps(watch.weights, indent=1))
    print("  pages: %d found by links, %d more; bytes of the largest: %s" % (
        len(seen), len(watch.weights) - len(seen),
        ", ".join("%s %d" % (name, size) for name, size in sorted(watch.weights.items(), key=lambda it: -it[1])[:6])))


def gates(watch, carom):
    page = watch.context().new_page()
    watch.allow(404, "/no-such-page")
    for path in GATES:
        page.goto(carom.url + path)
        # The first of them loads what all share: that is the first visit's to count.
        watch.look(page, path, kind="first" if path == GATES[0] else "page")


def first_visit(watch, carom, busiest):
    """All that comes over the wire until somebody who comes for the first time has seen links and statistics."""
    page = watch.context().new_page()
    page.goto(carom.url + "/sign-in")
    sizes = {"/sign-in": weigh(watch, page)}
    sign_in(page, carom)
    sizes["/links"] = weigh(watch, page)
    page.goto(carom.url + "/links/" + busiest)
    sizes["/links/{id}"] = weigh(watch, page)
    print("  first visit: %d bytes: %s" % (sum(sizes.values()), ", ".join("%s %d" % one for one in sizes.items())))
    if sum(sizes.values()) > FIRST_VISIT_MAX:
        watch.finding("first visit", "%d bytes, %d are allowed" % (sum(sizes.values()), FIRST_VISIT_MAX))


def german(watch, carom, busiest):
    """Pages in another language, and what the API says in their forms."""
    page = watch.context(locale="de-DE").new_page()
    watch.allow(401, "/api/v1/sessions")
    page.goto(carom.url + "/sign-in")
    # The messages of scripts come with the first page.
    watch.look(page, "/sign-in (German)", kind="first")
    page.fill("#email", "nobody@example.com")
    page.fill("#password", "not that one, no")
    page.click("#password-form button.primary")
    page.locator("#password-form [role=alert]", has_text="falsch").wait_for()
    sign_in(page, carom)
    for path in GERMAN:
        page.goto(carom.url + path.replace("{id}", busiest))
        watch.look(page, path + " (German)", kind="first")
        assert page.evaluate("document.documentElement.lang") == "de", path


def weigh(watch, page):
    watch.settle(page)
    return page.evaluate(BYTES)


def shares(watch, carom, api, busiest):
    """What somebody without an account sees at the address of a share: with a password, without, and none."""
    page = watch.context().new_page()
    watch.allow(404, "/share/")
    watch.allow(401, "/share/")
    watch.allow(401, "/api/v1/shares/open")
    watch.allow(422, "/api/v1/shares/open")
    opened = api.call("POST", "/api/v1/shares", {"name": "For the agency", "link_id": busiest})["url"]
    closed = api.call("POST", "/api/v1/shares", {"name": "For the board", "password": "harbour velvet onion"})["url"]
    page.goto(opened)
    # The scripts and styles of statistics come with it.
    watch.look(page, "share", kind="first")
    page.goto(closed)
    watch.look(page, "share with a password")
    page.fill("[type=password]", "not that one, no")
    page.click("button.primary")
    page.locator("[role=alert]:not(:empty), .error:not(:empty)").first.wait_for()
    page.fill("[type=password]", "harbour velvet onion")
    page.click("button.primary")
    page.locator("#chart").wait_for()
    watch.look(page, "share, opened by a password")
    page.goto(carom.url + "/share/" + "a" * 22)
    watch.look(page, "share that is gone")


def dialogs(page, watch, kind, opened):
    """What buttons of a page open, once each."""
    for name in page.evaluate("() => [...document.querySelectorAll('dialog[id]')].map((it) => it.id)"):
        if name in opened:
            continue
        opened.add(name)
        page.evaluate("(id) => document.getElementById(id).showModal()", name)
        page.evaluate("() => document.querySelectorAll('dialog[open] details').forEach((it) => { it.open = true; })")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            watch.axe(page, "%s, dialog #%s (%s)" % (kind, name, scheme), colours=scheme == "dark")
        page.emulate_media(color_scheme="light")
        watch.shoot(page, "dialog-" + name)
        page.set_viewport_size(NARROW)
        watch.check_width(page, "dialog #" + name)
        watch.shoot(page, "dialog-%s-360" % name)
        page.set_viewport_size(WIDE)
        page.evaluate("(id) => document.getElementById(id).close()", name)


def seed(carom, api):
    """Two months of an organisation of some size; the same at each run, but for the day that it ends."""
    for code, url, title, tags in LINKS:
        api.link(code=code, url=url, title=title, tags=tags)
    expired = api.link(code="early", url="https://example.com/early-bird", title="Early bird tickets",
                       expires_at="2040-02-01T00:00:00Z")
    off = api.link(code="old", url="https://example.com/2019", title="The year before")
    api.call("PATCH", "/api/v1/links/" + off["id"], {"state": "disabled"})
    api.call("PATCH", "/api/v1/links/" + expired["id"], {"archived": True})
    chance = random.Random(8)
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    pick = lambda **weights: chance.choices(list(weights), weights.values())[0]
    rows = []
    for day in range(75, -1, -1):
        weekday = (now - datetime.timedelta(days=day)).weekday()
        busy = (1.6 - day / 80) * (0.45 if weekday > 4 else 1) * (1.8 if day in (12, 13) else 1)
        busy *= chance.uniform(0.85, 1.15)
        for at, (code, *_) in enumerate(LINKS):
            for _ in range(round(busy * 26 / (at + 1.2))):
                hour = min(23, max(0, round(chance.gauss(14, 4.2))))
                moment = (now - datetime.timedelta(days=day)).replace(
                    hour=hour, minute=chance.randrange(60), second=chance.randrange(60))
                if moment < now:
                    rows.append(click(chance, pick, code, moment))
    rows.sort(key=lambda row: row["at"])
    carom.import_clicks(rows)
    for _ in range(3):
        for path in ("/sumer", "/job", "/guide2", "/SUMMER"):
            carom.visit(path, address="198.51.100.44")
    total = len(rows)
    until(lambda: api.call("GET", "/api/v1/stats?from=2020-01-01&interval=year")["totals"]["clicks"] > total * 0.9,
          "%d imported clicks" % total)


def more(api):
    """What settings show."""
    api.call("POST", "/api/v1/domains", {"host": "links.example.org"})
    for email, role in (("ben@example.com", "viewer"), ("chinua@example.com", "editor")):
        api.call("POST", "/api/v1/invitations", {"email": email, "role": role})
    for name in ("Newsletter", "Till in the shop"):
        api.call("POST", "/api/v1/keys", {"name": name, "scopes": ["links:read", "links:write"]})


def click(chance, pick, code, moment):
    country, city, region, language = chance.choices(
        [("DE", "Berlin", "BE", "de"), ("DE", "Hamburg", "HH", "de"), ("FR", "Paris", "IDF", "fr"),
         ("US", "New York", "NY", "en"), ("GB", "London", "ENG", "en"), ("NL", "Utrecht", "UT", "nl"),
         ("JP", "Tokyo", "13", "ja"), ("BR", "Recife", "PE", "pt"), ("IN", "Pune", "MH", "en"),
         ("SG", "Singapore", "", "en")], [22, 11, 14, 18, 9, 7, 6, 5, 5, 3])[0]
    device = pick(desktop=58, mobile=38, tablet=4)
    browser, system = {
        "desktop": [("Chrome", "Windows"), ("Firefox", "Linux"), ("Safari", "macOS"), ("Edge", "Windows")],
        "mobile": [("Mobile Safari", "iOS"), ("Chrome Mobile", "Android")], "tablet": [("Mobile Safari", "iPadOS")],
    }[device][chance.randrange({"desktop": 4, "mobile": 2, "tablet": 1}[device])]
    referrer, channel = chance.choices(
        [("", "direct"), ("google.com", "search"), ("news.ycombinator.com", "social"), ("linkedin.com", "social"),
         ("newsletter.example.com", "referral"), ("duckduckgo.com", "search")], [34, 22, 17, 11, 10, 6])[0]
    row = {"code": code, "at": moment.isoformat().replace("+00:00", "Z"), "kind": pick(human=94, bot=6),
           # Some come more than once a day.
           "visitor": "%08x%08x" % (moment.toordinal(), chance.randrange(1, 90)),
           "via": pick(link=88, qr=12), "channel": channel, "device": device,
           "country": country, "city": city, "region": region, "language": language, "browser": browser, "os": system,
           "referrer": referrer}
    if chance.random() < 0.3:
        row |= {"utm_source": pick(newsletter=5, partner=2), "utm_medium": pick(email=5, social=2),
                "utm_campaign": chance.choice(["summer-26", "launch"])}
    return row


def edge(watch, carom, api):
    """What visitors see who are not led anywhere: a page of its own, light or dark as they like."""
    blocked = api.link(code="blocked", url="https://phish.example.com/")
    carom.run("link", "block", blocked["id"])
    api.link(code="long", url="https://shop.example.com/" + "a-long-way/" * 180)
    deleted = api.link(code="gone")
    api.call("DELETE", "/api/v1/links/" + deleted["id"])
    for code, status in (("blocked", 451), ("gone", 410), ("old", 410)):
        until(lambda code=code, status=status: carom.visit("/" + code)[0] == status, "%d of /%s" % (status, code))
    page = watch.context(extra_http_headers={"X-Forwarded-For": "192.0.2.99"}).new_page()
    pages = [("unknown host", carom.other + "/summer", 421), ("not found", "/never-was", 404),
             ("gone", "/gone", 410), ("blocked", "/blocked", 451),
             ("preview", "/summer+", 200), ("preview of a long target", "/long+", 200)]
    for name, path, status in pages:
        watch.allow(status, path)
        answer = page.goto(urllib.parse.urljoin(carom.edge, path))
        assert answer.status == status, "%s: %d" % (path, answer.status)
        watch.look(page, "edge, " + name, kind="edge" if status != 200 else "page")
    report = page.get_by_role("link", name="Report this link")
    assert urllib.parse.urlsplit(report.get_attribute("href")).path == "/report"
    # Whoever guesses codes is told to stop.
    until(lambda: carom.visit("/guess", address="192.0.2.98")[0] == 429, "429 for who guesses")
    page = watch.context(extra_http_headers={"X-Forwarded-For": "192.0.2.98"}).new_page()
    watch.allow(429, "/guess")
    page.goto(carom.edge + "/guess")
    watch.look(page, "edge, too many", kind="edge")


def pictures(watch, carom, page, busiest, folder):
    """The pictures of the README, compressed by the browser."""
    high = {"width": 1280, "height": 1000}
    views = [("links", "/links?sort=clicks", "light", WIDE), ("link", "/links/" + busiest, "light", high),
             ("analytics-dark", "/analytics", "dark", high),
             ("phone", "/links/" + busiest, "light", {"width": 390, "height": 844})]
    painter = page.context.new_page()
    for name, path, scheme, size in views:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.goto(carom.url + path)
        watch.settle(page)
        png = base64.b64encode(page.screenshot(animations="disabled")).decode()
        webp = painter.evaluate("""async (png) => {
          const image = new Image(); image.src = "data:image/png;base64," + png; await image.decode();
          const canvas = new OffscreenCanvas(image.width, image.height); canvas.getContext("2d").drawImage(image, 0, 0);
          const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.86 });
          return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer()).values().toArray()));
        }""", png)
        (folder / (name + ".webp")).write_bytes(base64.b64decode(webp))
    painter.close()
