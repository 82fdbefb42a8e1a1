"""Prints what a stopped Carom has stored in its SQLite click database, as JSON lines.

Read with Python's sqlite3 so that the measuring program trusts none of Carom's code, and links no
database itself. First line: {"rollup_differences": N}, the rows that differ between the rollup and
the raw clicks it is made from. Then one [referrer host, clicks] for each; "" is no referrer.
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
REFERRERS = """
    select name.text, sum(click.n)
    from click join name on name.id = click.referrer
    group by click.referrer
"""

database = sqlite3.connect(f"file:{quote(sys.argv[1])}?mode=ro", uri=True)
(integrity,) = database.execute("pragma integrity_check").fetchone()
if integrity != "ok":
    sys.exit(f"the database is damaged: {integrity}")
(differences,) = database.execute(DIFFERENCES).fetchone()
print(json.dumps({"rollup_differences": differences}))
for row in database.execute(REFERRERS):
    print(json.dumps(row))
