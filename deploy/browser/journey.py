"""What people do, from the first start on: each step as they see it, with mouse, keyboard and paste."""

import csv
import re
import time
import urllib.parse

from people import ADA, PASSWORD, confirm_identity, sign_in, totp, unfold
from rig import CHROME, SAFARI, until

TARGET = "https://shop.example.com/summer?colour=green"
BEN = ("Ben Okri", "ben@example.com", "harbour velvet onion cartwheel")


def play(watch, carom, _):
    context = watch.context()
    page = context.new_page()
    enter(page, watch, carom)
    create(page, watch, carom)
    paint(page, watch)
    code = follow(page, watch, carom)
    understand(page, watch, carom)
    export(page, watch, carom)
    change(page, watch, carom, code)
    jump(page, watch, carom)
    use_keys(page, watch, carom)
    change_theme(page, watch, carom)
    invite(page, watch, carom)
    revoke(page, watch, carom)
    second_factor(page, watch, carom)


def says(page, text):
    """Waits until the page says it."""
    page.get_by_text(text).first.wait_for()


def enter(page, watch, carom):
    """The first account; then wrong and right at the door."""
    watch.allow(422, "/api/v1/setup")
    page.goto(carom.setup_url)
    page.fill("#name", ADA[0])
    page.fill("#email", ADA[1])
    page.fill("#password", "password1password1")
    page.click("button.primary")
    page.locator(".error:not(:empty)").first.wait_for()
    watch.shoot(page, "setup-refused")
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/links")
    says(page, "No links yet")
    page.click(".top .menu summary")
    watch.shoot(page, "menu")
    page.click("text=Sign out")
    page.wait_for_url("**/sign-in")
    watch.allow(401, "/api/v1/sessions")
    page.fill("#email", ADA[1])
    page.fill("#password", "a wrong one, long enough")
    page.click("button.primary")
    page.locator("#password-form [role=alert]:not(:empty)").wait_for()
    watch.shoot(page, "sign-in-refused")
    # Who is not in yet is sent to where they wanted to go.
    page.goto(carom.url + "/analytics?period=7d")
    page.wait_for_url("**/sign-in?next=*")
    page.fill("#email", ADA[1])
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/analytics?period=7d")


def create(page, watch, carom):
    """By the field, by pasting anywhere, and by the dialog with a code of one's own."""
    page.goto(carom.url + "/links")
    page.fill(".quick input", "https://example.com/a/long/way")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/links/\d+"))
    page.click("[data-copy]")
    says(page, "Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert carom.visit(urllib.parse.urlsplit(copied).path) == (302, "https://example.com/a/long/way"), copied

    page.goto(carom.url + "/links")
    page.evaluate("(text) => navigator.clipboard.writeText(text)", TARGET)
    page.locator("h1").click()
    page.keyboard.press("Control+v")
    page.locator("#new-link[open]").wait_for()
    assert page.input_value("#new-link [name=url]") == TARGET
    watch.axe(page, "dialog #new-link")
    page.fill("#new-link [name=code]", "summer")
    page.click("#new-link button.primary")
    page.wait_for_url(re.compile(r"/links/\d+"))
    says(page, "go.example.com/summer")
    # A code that is taken: the error is at its field, and what was typed stays.
    watch.allow(409, "/api/v1/links")
    page.keyboard.press("c")
    page.fill("#new-link [name=url]", "https://example.com/other")
    page.fill("#new-link [name=code]", "summer")
    page.click("#new-link button.primary")
    page.locator("#new-link .error:not(:empty)").first.wait_for()
    assert page.input_value("#new-link [name=url]") == "https://example.com/other"
    watch.shoot(page, "code-taken")
    page.keyboard.press("Escape")


def paint(page, watch):
    """The link's QR code: shown, in other colours, and as a file."""
    page.locator("main [data-qr]").first.click()
    image = page.locator("#qr[open] img")
    shown = lambda: page.wait_for_function("(it) => it.complete && it.naturalWidth > 0", arg=image.element_handle())
    shown()
    before = image.get_attribute("src")
    page.fill("#qr-foreground", "#0a6b4f")
    page.wait_for_function("([it, before]) => it.getAttribute('src') !== before", arg=[image.element_handle(), before])
    shown()
    watch.axe(page, "dialog #qr")
    watch.shoot(page, "qr")
    with page.expect_download() as download:
        page.click("#qr [data-format=svg]")
    assert download.value.path().read_text().startswith(("<svg", "<?xml")), "no SVG"
    lay_logo(page, watch, image)
    page.keyboard.press("Escape")


def lay_logo(page, watch, image):
    """A picture of one's own in the middle: in what is shown and in both files; and what is no picture."""
    changes = lambda act: (before := image.get_attribute("src"), act(), page.wait_for_function(
        "([it, before]) => it.getAttribute('src') !== before", arg=[image.element_handle(), before]))
    picture = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4.5" cy="4.5" r="4.5" fill="#c2185b"/></svg>'
    file = lambda text: {"name": "logo.svg", "mimeType": "image/svg+xml", "buffer": text.encode()}
    changes(lambda: page.set_input_files("#qr-logo", file(picture)))
    assert "%3Cimage" in image.get_attribute("src") and page.is_disabled("#qr-level")
    watch.axe(page, "dialog #qr")
    watch.shoot(page, "qr-logo")
    files = {}
    for kind in ("svg", "png"):
        with page.expect_download() as download:
            page.click(f"#qr [data-format={kind}]")
        files[kind] = download.value.path().read_bytes()
    assert b'<image href="data:image/png;base64,' in files["svg"] and b"circle" not in files["svg"], "no logo in the SVG"
    size = tuple(int.from_bytes(files["png"][at:at + 4]) for at in (16, 20))
    assert files["png"].startswith(b"\x89PNG") and size == (512, 512), f"no PNG of 512 pixels: {size}"
    page.set_input_files("#qr-logo", file("no picture"))
    page.locator("#qr [role=alert]:not(:empty)").wait_for()
    changes(lambda: page.click("[data-qr-bare]"))
    page.locator("#qr [role=alert]:empty").wait_for(state="attached")
    assert "%3Cimage" not in image.get_attribute("src") and not page.is_disabled("#qr-level")


def follow(page, watch, carom):
    """Clicks arrive while somebody looks, and are in the numbers then."""
    page.locator("#live-state[data-state=on]").wait_for()
    with page.expect_response("**/api/v1/live**"):
        page.reload()
    visits = [("198.51.100.7", None, "https://news.example.org/today"),
              ("198.51.100.8", CHROME, "https://news.example.org/"),
              ("203.0.113.9", SAFARI, "https://www.google.com/"), ("192.0.2.1", None, None)]
    for address, agent, referrer in visits:
        more = {"agent": agent} if agent else {}
        assert carom.visit("/summer", address=address, referrer=referrer, **more) == (302, TARGET)
    page.locator("#live li").nth(len(visits) - 1).wait_for()
    feed = page.locator("#live").inner_text()
    for words in ("Germany", "Berlin", "France", "news.example.org", "Firefox", "direct"):
        assert words in feed, "%s is not in the live list: %s" % (words, feed)
    watch.shoot(page, "live", full_page=True)
    until(lambda: reloaded_clicks(page) == len(visits), "%d clicks on the page" % len(visits))
    return "summer"


def reloaded_clicks(page):
    page.reload()
    return clicks(page)


def clicks(page):
    return int(page.locator(".metric dd").first.inner_text().replace(",", ""))


def understand(page, watch, carom):
    """A click on a row filters everything; filters add up, and each goes away by its cross."""
    page.get_by_role("link", name="Germany").first.click()
    page.wait_for_url("**filter=**")
    assert clicks(page) == 2, clicks(page)
    page.get_by_role("link", name="news.example.org").first.click()
    page.wait_for_url("**referrer**")
    assert clicks(page) == 2 and page.locator(".chip").count() == 2
    watch.shoot(page, "filtered", full_page=True)
    page.get_by_role("link", name=re.compile("Chrome")).first.click()
    page.wait_for_url("**Chrome**")
    assert clicks(page) == 1 and page.locator(".chip").count() == 3
    page.go_back()
    page.wait_for_function("document.querySelectorAll('.chip').length === 2")
    assert clicks(page) == 2
    while page.locator(".chip a").count():
        before = page.url
        page.locator(".chip a").first.click()
        page.wait_for_url(lambda url, before=before: url != before)
    assert clicks(page) == 4
    page.keyboard.press("w")
    page.wait_for_url("**period=7d**")
    menu = page.locator(".bar-top .menu", has=page.locator("summary", has_text="Compare"))
    menu.locator("summary").click()
    menu.locator("a[href*='compare=previous']").click()
    page.wait_for_url("**compare=previous**")
    says(page, "from 0")
    watch.settle(page)
    watch.shoot(page, "compared", full_page=True)


def export(page, watch, carom):
    """The view as a file that a spreadsheet opens."""
    menu = page.locator(".bar-top .menu", has=page.locator("summary", has_text="Export"))
    menu.locator("summary").click()
    watch.shoot(page, "export")
    with page.expect_download() as download:
        menu.locator("a[download]").first.click()
    path = watch.screenshots / download.value.suggested_filename
    download.value.save_as(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["clicks"]) for row in rows) == 4, rows


def change(page, watch, carom, code):
    """Edits are followed at once; what is disabled or deleted is gone, and comes back."""
    status = lambda: carom.visit("/" + code)
    answers = lambda expected: until(lambda: status()[0] == expected, "%d of /%s" % (expected, code))
    page.click("[data-open='#edit-link']")
    unfold(page)
    watch.axe(page, "dialog #edit-link")
    page.fill("#edit-link [name=title]", "Summer sale")
    page.fill("#edit-link [name=tags]", "sale, summer")
    page.fill("#edit-link [name=url]", "https://shop.example.com/autumn")
    page.click("#edit-link button.primary")
    says(page, "Summer sale")
    until(lambda: status() == (302, "https://shop.example.com/autumn"), "the new target at the edge")
    press(page, "disable", "enable")
    answers(410)
    press(page, "enable", "disable")
    answers(302)
    press(page, "archive", "unarchive")
    press(page, "unarchive", "archive")
    for comes_back in (undo, restore):
        page.goto(carom.url + "/links?q=summer")
        page.locator(".link a.short").first.click()
        page.wait_for_url(re.compile(r"/links/\d+"))
        watch.expect_dialog()
        page.click("main [data-one=delete]")
        page.wait_for_url("**/links")
        answers(410)
        comes_back(page, watch, carom)
        answers(302)


def press(page, button, then):
    """Presses a button of a link's page; the page that comes has another in its place."""
    page.click("main [data-one=%s]" % button)
    page.locator("main [data-one=%s]" % then).wait_for()


def undo(page, watch, _):
    watch.shoot(page, "undo")
    page.get_by_role("button", name="Undo").click()
    says(page, "as before")


def restore(page, watch, carom):
    page.goto(carom.url + "/links?show=deleted")
    watch.shoot(page, "deleted")
    page.click(".link [data-one=restore]")
    says(page, "restored")


def jump(page, watch, carom):
    """The palette: a link by its words, then a page by its name."""
    page.goto(carom.url + "/links")
    page.keyboard.press("Control+k")
    page.locator("#palette[open]").wait_for()
    page.keyboard.type("sale")
    page.locator("#palette [data-found]").first.wait_for()
    watch.axe(page, "dialog #palette")
    watch.shoot(page, "palette")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/links/\d+"))
    says(page, "Summer sale")
    page.keyboard.press("Control+k")
    page.keyboard.type("missing")
    page.locator("#palette li:not([hidden]) a", has_text="Missing").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/missing")


def use_keys(page, watch, carom):
    """Without a mouse: past the bar, a new link, its statistics, back; and keys can be turned off."""
    page.goto(carom.url + "/links")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    watch.shoot(page, "skip")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'main'")
    page.keyboard.press("c")
    page.locator("#new-link[open]").wait_for()
    page.keyboard.type("https://example.com/by/keys")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/links/\d+"))
    page.keyboard.press("d")
    page.wait_for_url("**period=today**")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile("from=|period=yesterday"))
    page.go_back()
    page.go_back()
    page.keyboard.press("?")
    page.locator("#keys[open]").wait_for()
    watch.axe(page, "dialog #keys")
    watch.shoot(page, "keys")
    page.keyboard.press("Tab")
    page.locator("#keys [data-keys-switch]").press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.keyboard.press("Control+k")
    page.locator("#palette[open]").wait_for()
    assert not page.locator("#new-link[open]").count(), "a key did something although keys are off"
    page.keyboard.press("Escape")
    page.evaluate("localStorage.removeItem('keys')")
    # What has the focus can be seen, and each thing on the way can be left again.
    page.goto(carom.url + "/links")
    been = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        at = page.evaluate("""() => { const it = document.activeElement, box = it.getBoundingClientRect();
          return it === document.body ? null : [it.outerHTML.slice(0, 200), box.width > 0 && box.height > 0,
            [it, it.parentElement].some((one) => getComputedStyle(one).outlineStyle !== "none")]; }""")
        if at is None:
            break
        been.add(at[0])
        if not (at[1] and at[2]):
            watch.finding("/links", "nobody sees that this has the focus: %s" % at[0])
    assert len(been) > 10, been


def change_theme(page, watch, carom):
    """Dark for somebody whose system is light, and so it stays on other pages."""
    paper = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = paper()
    page.click(".top .menu summary")
    page.click("[data-theme-switch]")
    page.goto(carom.url + "/analytics")
    assert paper() != light, "the theme is forgotten"
    page.click(".top .menu summary")
    page.click("[data-theme-switch]")
    assert paper() == light


def invite(page, watch, carom):
    """Somebody with an account is invited by a link, comes in, and can do less."""
    side = page.evaluate("""() => fetch("/api/v1/workspaces", { method: "POST", body: '{"name":"Side"}',
      headers: { "Content-Type": "application/json" } }).then((answer) => answer.json())""")["id"]
    made = carom.run("user", "create", "--email", BEN[1], "--name", BEN[0], "--workspace", side, "--role", "viewer")
    reset = re.search(r"http\S+#\S+", made)[0]
    page.goto(carom.url + "/settings/members")
    page.fill("[data-api*=invitations] [name=email]", BEN[1])
    page.select_option("[data-api*=invitations] [name=role]", "viewer")
    page.click("[data-api*=invitations] button.primary")
    confirm_identity(page)
    page.locator("#secret[open]").wait_for()
    watch.axe(page, "dialog #secret")
    link = page.locator("#secret output").inner_text()
    page.click("#secret [data-close]")
    says(page, BEN[1])

    ben = watch.context().new_page()
    ben.goto(reset)
    ben.fill("#password", BEN[2])
    ben.click("button.primary")
    ben.wait_for_url("**/sign-in")
    sign_in(ben, carom, BEN[1], BEN[2])
    ben.goto(link)
    ben.click("button.primary")
    ben.wait_for_url("**/links")
    ben.click(".top .menu summary")
    ben.locator("[data-workspace-choice]").filter(has_not_text="Side").first.click()
    says(ben, "Summer sale")
    assert not ben.locator("[data-open='#new-link']").count() and not ben.locator(".quick").count()
    ben.get_by_role("link", name=re.compile("summer")).first.click()
    ben.wait_for_url(re.compile(r"/links/\d+"))
    assert not ben.get_by_role("button", name=re.compile("Edit|Disable|Delete")).count(), "a viewer may change links"
    watch.shoot(ben, "viewer", full_page=True)
    watch.allow(403, "/api/v1/links")
    refused = ben.evaluate("""() => fetch(location.pathname.replace("/links", "/api/v1/links"), { method: "DELETE",
      headers: { "Carom-Workspace": document.body.dataset.workspace } }).then((answer) => answer.status)""")
    assert refused == 403, refused


def revoke(page, watch, carom):
    """A session that is ended elsewhere is out within five seconds."""
    other = watch.context().new_page()
    sign_in(other, carom)
    page.goto(carom.url + "/settings/sessions")
    watch.shoot(page, "sessions", full_page=True)
    page.locator("main").get_by_role("button", name=re.compile("^(End|Sign out everywhere else)")).first.click()
    confirm_identity(page)
    ended = time.monotonic()
    until(lambda: other.goto(carom.url + "/links") and "/sign-in" in other.url, "the end of the session", patience=10)
    assert time.monotonic() - ended < 5, "the session went on for %.1f s" % (time.monotonic() - ended)


def second_factor(page, watch, carom):
    """An app's codes: set up, then asked for at the door; a wrong one is refused."""
    page.goto(carom.url + "/settings/second-factor")
    watch.allow(422, "/api/v1/account/totp")
    watch.allow(401, "/api/v1/sessions")
    page.click("[data-call='POST /api/v1/account/totp']")
    confirm_identity(page)
    page.locator("#totp-secret").wait_for(state="attached")
    watch.settle(page)
    secret = page.locator("#totp-secret").text_content()
    watch.shoot(page, "second-factor", full_page=True)
    begun = time.time()
    page.fill("#code", totp(secret, begun))
    page.click("[data-api*='totp/confirm'] button.primary")
    page.locator("#secret[open]").wait_for()
    codes = page.locator("#secret output").inner_text().split()
    assert len(codes) == 10, codes
    page.click("#secret [data-close]")
    other = watch.context().new_page()
    other.goto(carom.url + "/sign-in")
    other.fill("#email", ADA[1])
    other.fill("#password", PASSWORD)
    other.click("#password-form button.primary")
    other.locator("#code-form:not([hidden])").wait_for()
    watch.axe(other, "/sign-in (second factor)")
    watch.shoot(other, "sign-in-code")
    other.fill("#code", "000000")
    other.click("#code-form button.primary")
    other.locator("#code-form [role=alert]:not(:empty)").wait_for()
    # A code of an app works once, and this half minute's was used: a recovery code does at any time.
    other.fill("#code", codes[0])
    other.click("#code-form button.primary")
    other.wait_for_url("**/links")
