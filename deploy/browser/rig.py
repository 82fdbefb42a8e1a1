"""What the browser run is made of: a `carom` on an empty folder, a file of places, visitors."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse

# Seconds that anything may take that should come soon. Long: the machine may do other things.
PATIENCE = 30

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
          "Version/18.5 Mobile/15E148 Safari/604.1")
CHROME = ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
          "Chrome/140.0.0.0 Safari/537.36")

# Of the short links, as visitors would see it.
HOST = "go.example.com"

# Blocks that are for documentation (RFC 5737), in places that they are not in.
PLACES = {"192.0.2": ("US", "New York", "NY"), "198.51.100": ("DE", "Berlin", "BE"),
          "203.0.113": ("FR", "Paris", "IDF")}


def until(ask, what, patience=PATIENCE):
    """Waits for a condition that no browser can tell of."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError("%s: not within %d s" % (what, patience))


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [one.getsockname()[1] for one in sockets]


def places_file():
    """The bytes of a MaxMind DB 2.0: IPv6, records of 32 bits, each block of PLACES a /24."""

    def head(kind, length):
        assert length < 29 + 256
        bits, more = (length, b"") if length < 29 else (29, bytes([length - 29]))
        return (bytes([kind << 5 | bits]) if kind < 8 else bytes([bits, kind - 7])) + more

    def value(of):
        match of:
            case str():
                return head(2, len(of.encode())) + of.encode()
            case dict():
                return head(7, len(of)) + b"".join(value(key) + value(of[key]) for key in of)
            case list():
                return head(11, len(of)) + b"".join(value(one) for one in of)
            case kind, length, number:
                return head(kind, length) + number.to_bytes(length, "big")

    data, nodes = b"", [[None, None]]
    for block, (country, city, region) in PLACES.items():
        address = int.from_bytes(socket.inet_aton(block + ".0"), "big")
        # IPv4 is looked for below ::/96.
        path, at = [0] * 96 + [address >> (31 - depth) & 1 for depth in range(24)], 0
        for side in path[:-1]:
            if nodes[at][side] is None:
                nodes[at][side] = len(nodes)
                nodes.append([None, None])
            at = nodes[at][side]
        nodes[at][path[-1]] = ("data", len(data))
        data += value({"country": {"iso_code": country}, "city": {"names": {"en": city}},
                       "subdivisions": [{"iso_code": region}]})

    def record(side):
        match side:
            case None:
                return len(nodes)
            case ("data", offset):
                return len(nodes) + 16 + offset
        return side

    tree = b"".join(record(side).to_bytes(4, "big") for node in nodes for side in node)
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + value({
        "binary_format_major_version": (5, 2, 2), "binary_format_minor_version": (5, 2, 0),
        "build_epoch": (9, 8, 1767225600), "database_type": "Test", "description": {}, "ip_version": (5, 2, 6),
        "languages": [], "node_count": (6, 4, len(nodes)), "record_size": (5, 2, 32)})


class Carom:
    """`carom` on a folder of its own, until `close`."""

    def __init__(self, folder, program, settings=()):
        self.folder, self.program = folder, program
        os.makedirs(folder)
        with open(os.path.join(folder, "places.mmdb"), "wb") as file:
            file.write(places_file())
        edge, control, edge_admin, control_admin, internal = free_ports(5)
        self.edge_port = edge
        self.url = "http://localhost:%d" % control
        # The edge as a browser finds it (see `resolver_rules`); and under a name that it has no links for.
        self.edge, self.other = "http://" + HOST, "http://elsewhere.example.com"
        self.environment = {**os.environ, **{
            "CAROM_EDGE__LISTEN": "127.0.0.1:%d" % edge,
            "CAROM_CONTROL__LISTEN": "127.0.0.1:%d" % control,
            "CAROM_CONTROL__INTERNAL_LISTEN": "127.0.0.1:%d" % internal,
            "CAROM_EDGE__ADMIN_LISTEN": "127.0.0.1:%d" % edge_admin,
            "CAROM_CONTROL__ADMIN_LISTEN": "127.0.0.1:%d" % control_admin,
            "CAROM_PUBLIC_URL": self.edge, "CAROM_CONTROL__PUBLIC_URL": self.url,
            # Visitors say where they are from.
            "CAROM_EDGE__TRUSTED_PROXIES": "['127.0.0.1']", "CAROM_EDGE__EXEMPT": "[]",
            "CAROM_EDGE__ENRICH__GEO_PATH": os.path.join(folder, "places.mmdb"),
            "CAROM_EDGE__ENRICH__REFERRER_PATH": "true",
            # All who sign in here have one address.
            "CAROM_LIMITS__ADDRESS_PER_MINUTE": "0", "CAROM_LIMITS__KEY_PER_MINUTE": "0",
            "CAROM_LIMITS__WORKSPACE_PER_MINUTE": "0",
            **dict(settings),
        }}
        self.log = open(os.path.join(folder, "carom.log"), "wb")
        self.process = subprocess.Popen([program, "serve"], cwd=folder, stdout=self.log, stderr=self.log,
                                        env=self.environment)
        self.setup_url = until(self.find_setup_url, "carom's start, see %s/carom.log" % folder)

    def resolver_rules(self):
        """Leads Chromium to the edge under the names of `edge` and `other`."""
        at = "127.0.0.1:%d" % self.edge_port
        return "--host-resolver-rules=MAP %s:80 %s,MAP elsewhere.example.com:80 %s" % (HOST, at, at)

    def find_setup_url(self):
        if self.process.poll() is not None:
            raise RuntimeError("carom ended: see %s/carom.log" % self.folder)
        with open(self.log.name, errors="replace") as file:
            found = re.search(r"http\S+/setup#\S+", file.read())
        return found and found[0]

    def close(self):
        """Stops it. What it did badly is in its log."""
        self.process.terminate()
        code = self.process.wait(60)
        with open(self.log.name, errors="replace") as file:
            bad = [line.strip() for line in file if " ERROR " in line or "panicked" in line]
        return ([] if code == 0 else ["carom ended with code %d" % code]) + bad

    def run(self, *words):
        """A command beside it: what it prints."""
        made = subprocess.run([self.program, *words], cwd=self.folder, env=self.environment,
                              capture_output=True, check=False)
        if made.returncode:
            raise RuntimeError("carom %s: %s" % (" ".join(words), made.stderr.decode()))
        return made.stdout.decode()

    def import_clicks(self, rows):
        path = os.path.join(self.folder, "clicks.jsonl")
        with open(path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        self.run("import", "--clicks", path)

    def visit(self, path, address="198.51.100.7", agent=FIREFOX, referrer=None, language="de", accept="text/html"):
        """What the edge answers to a visitor: status and target."""
        headers = {"User-Agent": agent, "Accept": accept, "Accept-Language": language, "X-Forwarded-For": address}
        if referrer is not None:
            headers["Referer"] = referrer
        # Bytes, as they are: visitors may send what is no Latin-1.
        headers = {name: text.encode() for name, text in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.edge_port, timeout=10)
        connection.request("GET", path, headers={"Host": HOST, **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.getheader("Location")


class Api:
    """The API with a key that may do everything."""

    def __init__(self, carom):
        self.carom, self.key = carom, json.loads(carom.run("key", "create", "--name", "browser", "--json"))["key"]

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.carom.url).netloc, timeout=PATIENCE)
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Authorization": "Bearer " + self.key, "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError("%s %s: %d %s" % (method, path, answer.status, text.decode()))
        return json.loads(text) if text else None

    def link(self, **what):
        return self.call("POST", "/api/v1/links", {"url": "https://example.com/", **what})
