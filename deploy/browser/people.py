"""What a person does in front of a page to get in."""

import base64
import hmac
import struct
import time

PASSWORD = "walnut lantern copper meadow"
ADA = ("Ada Lovelace", "ada@example.com")


def set_up(page, carom, name=ADA[0]):
    """Makes the first account."""
    page.goto(carom.setup_url)
    page.fill("#name", name)
    page.fill("#email", ADA[1])
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/links")


def sign_in(page, carom, email=ADA[1], password=PASSWORD):
    page.goto(carom.url + "/sign-in")
    page.fill("#email", email)
    page.fill("#password", password)
    page.click("#password-form button.primary")
    page.wait_for_url("**/links")


def confirm_identity(page, password=PASSWORD):
    """Says once more who it is, if the page asks."""
    dialog = page.locator("#confirm-identity")
    if dialog.is_visible():
        dialog.locator("[name=password]").fill(password)
        dialog.locator("button.primary").click()
        dialog.wait_for(state="hidden")


def unfold(page):
    """Opens what is folded in the dialog that is open."""
    for fold in page.locator("dialog[open] details:not([open]) > summary").all()[::-1]:
        fold.click()


def totp(secret, at=None):
    """The code of RFC 6238 that an app shows for a secret in base32."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, struct.pack(">Q", int((at or time.time()) // 30)), "sha1")
    offset = digest[-1] & 15
    return "%06d" % ((int.from_bytes(digest[offset:offset + 4], "big") & 0x7FFFFFFF) % 1_000_000)
