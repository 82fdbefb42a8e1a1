"""Prints what a stopped Carom has stored in its SQLite click database, as one JSON document.

Read with Python's sqlite3 so that the measuring program trusts none of Carom's code. `links` are
[link, clicks] pairs; `without_referrer` are clicks of which only the number was kept.
"""

import json
import sqlite3
import sys
from urllib.parse import quote

RAW = "select workspace, link, at_s / 900 as quarter, kind, sum(n) from click group by 1, 2, 3, 4"
ROLLUP = "select workspace, link, quarter, kind, n from click_quarter"
DIFFERENCES = f"""
    select (select count(*) from ({RAW} except {ROLLUP}))
         + (select count(*) from ({ROLLUP} except {RAW}))
"""

database = sqlite3.connect(f"file:{quote(sys.argv[1])}?mode=ro", uri=True)


def one(sql):
    return database.execute(sql).fetchone()[0]


print(json.dumps({
    "integrity": one("pragma integrity_check"),
    "rollup_differences": one(DIFFERENCES),
    "links": [[str(link), n] for link, n in
              database.execute("select link, sum(n) from click group by link")],
    "without_referrer": one("""
        select coalesce(sum(n), 0) from click left join name on name.id = click.referrer
        where coalesce(name.text, '') = ''"""),
    "min_at_s": one("select coalesce(min(at_s), 0) from click"),
    "max_at_s": one("select coalesce(max(at_s), 0) from click"),
}))
