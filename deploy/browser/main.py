"""Runs the parts of the browser run, each with a `carom` of its own; see `run`."""

import argparse
import pathlib
import shutil
import sys
import time
import traceback

from playwright.sync_api import sync_playwright

import hostile
import journey
import pages
import passkeys
from rig import Carom
from watch import Watch

PARTS = {"journey": journey.play, "hostile": hostile.play, "pages": pages.play}
# Of a program with a feature that is not on: only if it is named.
MORE_PARTS = {"passkeys": passkeys.play}
HERE = pathlib.Path(__file__).resolve().parent
WORK = pathlib.Path("target/browser")


def arguments():
    parser = argparse.ArgumentParser(prog="deploy/browser/run")
    parser.add_argument("--carom", type=pathlib.Path, default="target/debug/carom", help="the program to try")
    parser.add_argument("--chromium", help=argparse.SUPPRESS)
    parser.add_argument("--part", action="append", choices=[*PARTS, *MORE_PARTS], help="only this one; may be repeated")
    parser.add_argument("--screenshots", type=pathlib.Path, default=WORK / "screenshots", help="a folder")
    parser.add_argument("--pictures", type=pathlib.Path, help="write the pictures of the README into this folder")
    return parser.parse_args()


def play(name, playwright, arguments):
    """One part; what went wrong, as texts."""
    begun = time.monotonic()
    screenshots = arguments.screenshots / name
    screenshots.mkdir(parents=True, exist_ok=True)
    carom = Carom(WORK.resolve() / name, arguments.carom.resolve())
    # No sandbox: root has none in Chromium, and these pages are our own.
    browser = playwright.chromium.launch(
        executable_path=arguments.chromium, args=["--no-sandbox", carom.resolver_rules()])
    watch = Watch(browser, carom, screenshots)
    wrong = []
    try:
        (PARTS | MORE_PARTS)[name](watch, carom, arguments)
    except Exception as error:
        steps = traceback.extract_tb(error.__traceback__)
        steps = [at for at in steps if pathlib.Path(at.filename).resolve().parent == HERE]
        print("".join(traceback.format_list(steps)), file=sys.stderr)
        wrong.append("stopped: %s: %s" % (type(error).__name__, str(error).strip()[:1000]))
        for context in watch.contexts:
            for page in context.pages:
                print("  at %s, see %s/failed.png" % (page.url, screenshots), file=sys.stderr)
                watch.shoot(page, "failed")
    finally:
        watch.close()
        browser.close()
        wrong += watch.findings + carom.close()
    for note in dict.fromkeys(watch.notes):
        print("  note: %s" % note)
    for one in wrong:
        print("  WRONG: %s" % one)
    verdict = "%d wrong" % len(wrong) if wrong else "good"
    print("part %s: %s, %.1f s" % (name, verdict, time.monotonic() - begun), flush=True)
    return wrong


def main():
    given = arguments()
    shutil.rmtree(WORK, ignore_errors=True)
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        failed = [name for name in given.part or PARTS if play(name, playwright, given)]
    total = len(given.part or PARTS)
    print("%d passed, %d failed" % (total - len(failed), len(failed)))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
