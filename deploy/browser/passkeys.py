"""Passkeys, with an authenticator that Chromium pretends to have (W3C Web Authentication, 11: WebDriver's virtual
authenticators, over the DevTools protocol): added, used at the door and for what is sensitive, and removed.

Takes a `carom` with the feature `passkeys`."""

import json
import re

from people import set_up, sign_in

NAME = "Laptop"
DOOR = "#passkey-form button"


def authenticator(page):
    """A platform's own: it keeps credentials, and has just looked at whoever uses it."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable", {"enableUI": False})
    added = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": True,
        "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True}})
    return lambda method, **more: cdp.send(
        "WebAuthn." + method, {"authenticatorId": added["authenticatorId"], **more})


def rows(page):
    return page.locator("section[aria-labelledby=passkeys] ul.rows > li")


def sign_out(page):
    page.click(".top .menu summary")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


def add(page, watch, carom, device):
    page.goto(carom.url + "/settings/second-factor")
    page.fill("#passkey-name", NAME)
    page.click("[data-passkey=create] button")
    rows(page).filter(has_text=NAME).wait_for()
    assert page.locator("#message").is_visible(), "nothing is said"
    watch.look(page, "/settings/second-factor (a passkey)")
    made = device("getCredentials")["credentials"]
    assert [(one["isResidentCredential"], one["rpId"]) for one in made] == [(True, "localhost")], made
    # The same authenticator makes no second one.
    page.fill("#passkey-name", "Again")
    page.click("[data-passkey=create] button")
    page.locator("[data-passkey=create] [role=alert]", has_text="already").wait_for()


def enter(page, watch, carom, device):
    """By the button; not before the person is verified."""
    device("setUserVerified", isUserVerified=False)
    sign_out(page)
    page.locator(DOOR).wait_for()
    watch.look(page, "/sign-in (passkeys)")
    assert page.get_attribute("#email", "autocomplete") == "username webauthn"
    page.click(DOOR)
    page.locator("#passkey-form [role=alert]:not(:empty)").wait_for()
    assert "/sign-in" in page.url
    device("setUserVerified", isUserVerified=True)
    page.click(DOOR)
    page.wait_for_url("**/links")


def remove(page, watch, carom):
    """For what is sensitive the passkey shows who it is."""
    asked = []

    def long_ago(route):
        # As if it was long ago that somebody showed who they are.
        if asked or route.request.method != "DELETE":
            route.continue_()
            return
        asked.append(route.request.url)
        route.fulfill(status=403, content_type="application/problem+json",
                      body=json.dumps({"code": "reauthentication-required", "detail": "Who is it?"}))

    watch.allow(403, "/api/v1/account/passkeys/")
    page.route(re.compile("/api/v1/account/passkeys/"), long_ago)
    page.goto(carom.url + "/settings/second-factor")
    watch.expect_dialog()
    rows(page).get_by_role("button").click()
    dialog = page.locator("#confirm-identity")
    dialog.wait_for()
    watch.axe(page, "dialog #confirm-identity (passkeys)")
    watch.shoot(page, "confirm-with-passkey")
    with page.expect_response(re.compile("/sessions/current/confirm-by-passkey$")) as confirmed:
        dialog.get_by_role("button", name=re.compile("passkey")).click()
    assert confirmed.value.status == 204, confirmed.value.status
    rows(page).wait_for(state="detached")
    assert asked, "nobody was asked"


def refused(page, watch, carom):
    """What was removed signs nobody in, though the authenticator still has it."""
    watch.allow(401, "/api/v1/sessions/passkey")
    sign_out(page)
    page.click(DOOR)
    page.locator("#passkey-form [role=alert]:not(:empty)").wait_for()
    sign_in(page, carom)


def play(watch, carom, _):
    page = watch.context().new_page()
    device = authenticator(page)
    set_up(page, carom)
    add(page, watch, carom, device)
    enter(page, watch, carom, device)
    remove(page, watch, carom)
    refused(page, watch, carom)
