"""Prints the links of a stopped Carom with SQLite as JSON: {"workspace", "domain", "links": [id, ...]}.

Read with Python's sqlite3, as the API does not name the ids of workspaces and domains, which a batch
of clicks holds. All links are taken to be of one workspace and domain; anything else is an error.
"""

import json
import sqlite3
import sys
from urllib.parse import quote

database = sqlite3.connect(f"file:{quote(sys.argv[1])}?mode=ro", uri=True)
((workspace, domain),) = database.execute("select distinct workspace_id, domain_id from link")
links = [id for (id,) in database.execute("select id from link order by id")]
json.dump({"workspace": workspace, "domain": domain, "links": links}, sys.stdout)
