"""All pages that can be reached by links, one of each kind: new ones are found without being named here."""

import re
import urllib.parse

# Answers of programs, and files: no pages.
NO_PAGES = ("/api/", "/assets/", "/problems/")
# Swagger's page, vendored: what it looks like is its makers' matter. What it loads is ours.
FOREIGN = ("/docs/",)

# Those of a map are links too, but of SVG: they only filter.
LINKS = "() => [...document.links].filter((it) => !it.hasAttribute('download')).map((it) => it.href)"


def shape(url):
    """The kind of page at an address: its path, with `{id}` for what differs among pages of one kind."""
    path = urllib.parse.urlsplit(url).path
    return re.sub(r"/(\d+|[0-9A-Za-z_-]{20,})(?=/|$)", "/{id}", path)


def crawl(page, carom, begin, visit):
    """Opens one page of each kind that links lead to from `begin`, and calls `visit(page, shape)` on it."""
    seen, waiting = set(), list(begin)
    while waiting:
        address = waiting.pop(0)
        kind = shape(address)
        if kind in seen or kind.startswith(NO_PAGES):
            continue
        seen.add(kind)
        page.goto(urllib.parse.urljoin(carom.url, address))
        visit(page, kind)
        own = (url for url in page.evaluate(LINKS) if url.startswith(carom.url + "/"))
        waiting += [urllib.parse.urlsplit(url).path for url in own]
    return seen
