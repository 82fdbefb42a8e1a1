"""Prints what a stopped Carom has stored in its SQLite click database, as JSON lines.

Arguments: the database, and `referrer` or `link`. Read with Python's sqlite3 so that the measuring
program trusts none of Carom's code, and links no database itself. First line: {"rollup_differences":
N, "hours": {"START": [PEOPLE, BOTS]}}: the rows that differ between the rollups and the raw clicks
they are made from, and the raw clicks by hour, in seconds since 1970. Then one [NAME, CLICKS] for
each host of a referrer ("" is none), or for each link.
"""

import json
import sqlite3
import sys
from urllib.parse import quote

# What the clicks say of each quarter hour; all else is made from it, for one way through them.
QUARTERS = """
    create temp table raw as
    select workspace, link, at_s / 900 as quarter, kind, sum(n) as n, max(at_s) as last_at_s
    from click
    group by workspace, link, quarter, kind
"""
PEOPLE = "sum(case when kind = 0 then n else 0 end)"
BOTS = "sum(case when kind = 1 then n else 0 end)"
ROLLUPS = [
    (
        "select workspace, link, quarter, kind, n, last_at_s from raw",
        "select workspace, link, quarter, kind, n, last_at_s from click_quarter",
    ),
    (
        "select workspace, quarter, kind, sum(n), max(last_at_s) from raw group by 1, 2, 3",
        "select workspace, quarter, kind, n, last_at_s from workspace_quarter",
    ),
    (
        f"select workspace, link, {PEOPLE}, {BOTS} from raw group by 1, 2",
        "select workspace, link, clicks, bots from click_link",
    ),
]
HOURS = f"select quarter / 4 * 3600, {PEOPLE}, {BOTS} from raw group by 1"
COUNTS = {
    "referrer": """
        select name.text, sum(click.n)
        from click join name on name.id = click.referrer
        group by click.referrer
    """,
    "link": "select cast(link as text), sum(n) from raw group by link",
}

database = sqlite3.connect(f"file:{quote(sys.argv[1])}?mode=ro", uri=True)
(integrity,) = database.execute("pragma integrity_check").fetchone()
if integrity != "ok":
    sys.exit(f"the database is damaged: {integrity}")
database.execute("pragma temp_store = memory")
database.execute(QUARTERS)
differences = 0
for raw, rollup in ROLLUPS:
    for one, other in [(raw, rollup), (rollup, raw)]:
        query = f"select count(*) from (select * from ({one}) except select * from ({other}))"
        (count,) = database.execute(query).fetchone()
        differences += count
hours = {str(hour): [people, bots] for hour, people, bots in database.execute(HOURS)}
print(json.dumps({"rollup_differences": differences, "hours": hours}))
for row in database.execute(COUNTS[sys.argv[2]]):
    print(json.dumps(row))
