"""What kill.py and faults.py are made of: an engine, a `carom` that stores its clicks there, visitors, a verdict.

PYTHONPATH has to lead to chdb, as deploy/services sets it.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
FAKETIME = "/usr/lib/%s-linux-gnu/faketime/libfaketimeMT.so.1" % os.uname().machine
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
# Seconds that anything may take that should come soon.
PATIENCE = 120


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(ask, what, patience=PATIENCE, every=0.1):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(every)
    raise TimeoutError("%s: not within %d s" % (what, patience))


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Engine:
    """The engine behind front.py, on a folder that outlives it; with killer.c preloaded."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.order = os.path.join(folder, "kill-at")
        self.log = open(os.path.join(folder, "engine.log"), "ab")
        killer = os.path.join(folder, "killer.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", killer, os.path.join(HERE, "killer.c")], check=True)
        self.environment = {**os.environ, "LD_PRELOAD": killer, "CAROM_KILL_AT": self.order}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "front.py"), "--data", os.path.join(self.folder, "engine"),
             "--listen", "127.0.0.1:%d" % self.port], env=self.environment, stdout=subprocess.DEVNULL,
            stderr=self.log)
        until(lambda: accepts(self.port) or self.process.poll() is not None, "the engine")
        if self.process.poll() is not None:
            raise RuntimeError("the engine ended: see %s/engine.log" % self.folder)

    def ask(self, sql):
        url = "http://127.0.0.1:%d/?%s" % (self.port, urllib.parse.urlencode({"query": sql}))
        try:
            with urllib.request.urlopen(url, data=b"", timeout=PATIENCE) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error

    def number(self, sql):
        return int(self.ask(sql))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def die_at(self, when, number):
        """Lets it die before or after the number-th time from now that it puts a part in place."""
        with open(self.order + ".new", "w") as file:
            file.write("%s %d" % (when, number))
        os.rename(self.order + ".new", self.order)

    def has_died(self, patience):
        """Whether it died as it was told; it is started again. If not, the order is taken back."""
        try:
            self.process.wait(patience)
            died = not os.path.exists(self.order)
        except subprocess.TimeoutExpired:
            os.unlink(self.order)
            died = False
        if self.process.poll() is not None:
            self.start()
        return died

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Carom:
    """`carom` on a folder, which stores clicks at a port."""

    def __init__(self, folder, program, port, settings=()):
        self.folder, self.program = folder, os.path.abspath(program)
        self.edge, self.control, self.edge_admin, self.control_admin = (free_port() for _ in range(4))
        self.environment = {
            "CAROM_CLICKS__URL": "http://127.0.0.1:%d/default" % port,
            "CAROM_EDGE__LISTEN": "127.0.0.1:%d" % self.edge,
            "CAROM_CONTROL__LISTEN": "127.0.0.1:%d" % self.control,
            "CAROM_EDGE__ADMIN_LISTEN": "127.0.0.1:%d" % self.edge_admin,
            "CAROM_CONTROL__ADMIN_LISTEN": "127.0.0.1:%d" % self.control_admin,
            "CAROM_PUBLIC_URL": "http://localhost:%d" % self.edge,
            "CAROM_CONTROL__PUBLIC_URL": "http://localhost:%d" % self.control,
            # Each request has a referrer of its own: that is its number.
            "CAROM_EDGE__ENRICH__BOUND_NAMES": "false",
            # Many small batches: so that faults meet inserts.
            "CAROM_SPOOL__FLUSH_MS": "100",
            **dict(settings),
        }
        self.log = open(os.path.join(folder, "carom.log"), "ab")
        self.start()

    def start(self, more=()):
        self.process = subprocess.Popen([self.program, "serve"], cwd=self.folder, stdout=self.log,
                                        stderr=self.log, env={**self.environment, **dict(more)})
        until(lambda: accepts(self.edge) or self.process.poll() is not None, "carom", every=0.02)
        if self.process.poll() is not None:
            raise RuntimeError("carom ended: see %s/carom.log" % self.folder)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)

    def rss_mib(self):
        with open("/proc/%d/status" % self.process.pid) as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) // 1024

    def metrics(self):
        """What edge and control measure, summed over labels."""
        found = {}
        for port in (self.edge_admin, self.control_admin):
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=10) as answer:
                for line in answer.read().decode().splitlines():
                    name, _, value = line.rpartition(" ")
                    if name and not line.startswith("#"):
                        name = name.partition("{")[0]
                        found[name] = found.get(name, 0) + float(value)
        return found

    def key(self):
        made = subprocess.run([self.program, "key", "create", "--name", "kill", "--json"], cwd=self.folder,
                              env=self.environment, capture_output=True, check=True)
        return json.loads(made.stdout)["key"]

    def call(self, key, path, body=None):
        """Status and JSON of the API."""
        request = urllib.request.Request(
            "http://127.0.0.1:%d%s" % (self.control, path), json.dumps(body).encode() if body else None,
            {"Authorization": "Bearer " + key, "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def links(self, key, n):
        """Codes and ids of so many new links."""
        made = [self.call(key, "/api/v1/links", {"url": "https://example.com/"})[1] for _ in range(n)]
        return [(link["code"], int(link["id"])) for link in made]


class Visitors:
    """Connections that ask, one request in flight on each, each for a link of its own or all for one.

    With `numbered`, requests have numbers, which are stored, behind a `tag` that no others have; without, they
    are counted by link. `rate`: requests a second of each connection, at most.
    """

    def __init__(self, carom, codes, connections, numbered=True, rate=None, tag="n"):
        self.carom, self.codes, self.numbered, self.rate, self.tag = carom, codes, numbered, rate, tag
        self.is_over = False
        self.sent = [0] * connections
        self.cut = [0] * connections
        self.counts = [0] * connections
        self.others = [0] * connections
        self.answered = [set() for _ in range(connections)]
        self.took = [[] for _ in range(connections)]
        self.threads = []

    def start(self):
        self.threads = [threading.Thread(target=self.run, args=(of,), daemon=True)
                        for of in range(len(self.sent))]
        for thread in self.threads:
            thread.start()
        return self

    def ask(self, of, connection=None):
        """Asks once; gives back the connection, if it can be used again."""
        number, self.sent[of] = self.sent[of], self.sent[of] + 1
        name = "%s%d-%d.test" % (self.tag, of, number)
        headers = {"User-Agent": AGENT}
        if self.numbered:
            headers["Referer"] = "https://%s/" % name
        is_connected = connection is not None
        try:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.carom.edge, timeout=10)
                connection.connect()
                is_connected = True
            begun = time.monotonic()
            connection.request("GET", "/" + self.codes[of % len(self.codes)], headers=headers)
            answer = connection.getresponse()
            answer.read()
            self.took[of].append(time.monotonic() - begun)
            if answer.status == 302:
                self.counts[of] += 1
                if self.numbered:
                    self.answered[of].add(name)
            else:
                self.others[of] += 1
            return connection
        except (OSError, http.client.HTTPException):
            # Where it was connected, the request may have been recorded.
            self.cut[of] += is_connected
            time.sleep(0.01)
            return None

    def run(self, of):
        connection, next_at = None, time.monotonic()
        while not self.is_over:
            connection = self.ask(of, connection)
            if self.rate:
                next_at = max(next_at + 1 / self.rate, time.monotonic() - 1)
                time.sleep(max(0, next_at - time.monotonic()))

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def count(self):
        return sum(self.counts)

    def p99_ms(self, since=0):
        """Of the requests after so many of each connection, in milliseconds."""
        took = sorted(one for of in self.took for one in of[since:])
        return round(took[len(took) * 99 // 100] * 1000, 2) if took else None


def settled(engine, groups, patience):
    """Compares numbers of requests, once all that were answered are stored or time is up."""
    answered = set().union(*(names for visitors in groups for names in visitors.answered))
    sent = {"%s%d" % (visitors.tag, of): n for visitors in groups for of, n in enumerate(visitors.sent)}
    read = lambda: dict(line.rsplit("\t", 1) for line in engine.ask(
        "SELECT referrer, toString(sum(n)) FROM click GROUP BY referrer").splitlines())
    begun = time.monotonic()
    while answered - (stored := read()).keys() and time.monotonic() < begun + patience:
        time.sleep(1)

    def was_sent(name):
        found = re.fullmatch(r"([a-z]\d+)-(\d+)\.test", name)
        return found and int(found[2]) < sent.get(found[1], 0)

    return {
        "answered": len(answered), "stored": len(stored), "lost": len(answered - stored.keys()),
        "twice": sum(n != "1" for n in stored.values()),
        "never_sent": sum(not was_sent(name) for name in stored),
        "cut_and_stored": len(stored.keys() - answered), "drained_s": round(time.monotonic() - begun, 1),
    }


def settled_by_link(engine, visitors, links, patience):
    """Compares the clicks of each link, once none is missing or time is up."""
    ids = [links[of % len(links)][1] for of in range(len(visitors.counts))]
    answered, most = {}, {}
    for of, link in enumerate(ids):
        answered[link] = answered.get(link, 0) + visitors.counts[of]
        most[link] = most.get(link, 0) + visitors.counts[of] + visitors.cut[of]
    read = lambda: {int(link): int(n) for link, n in (line.split("\t") for line in engine.ask(
        "SELECT link, sum(n) FROM click WHERE link IN (%s) GROUP BY link" % ",".join(map(str, answered))
    ).splitlines())}
    begun = time.monotonic()
    while any((stored := read()).get(link, 0) < n for link, n in answered.items()) \
            and time.monotonic() < begun + patience:
        time.sleep(1)
    return {
        "answered": sum(answered.values()), "stored": sum(stored.values()), "cut": sum(visitors.cut),
        "lost": sum(max(0, n - stored.get(link, 0)) for link, n in answered.items()),
        "too_many": sum(max(0, n - most.get(link, 0)) for link, n in stored.items()),
        "drained_s": round(time.monotonic() - begun, 1),
    }


def audited(engine, carom):
    """Rows and rollup after one audit. `carom` makes one at a start, of what has settled: so its clock is put
    an hour ahead."""
    sums = lambda: [engine.number(sql) for sql in (
        "SELECT sum(n) FROM click", "SELECT sum(n) FROM click_quarter")]
    _, before = sums()
    carom.stop()
    carom.start({"LD_PRELOAD": FAKETIME, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}.items())
    end = time.monotonic() + 10
    while len(set(found := sums())) > 1 and time.monotonic() < end:
        time.sleep(0.5)
    rows, rollup = found
    return {"rows": rows, "rollup_before_audit": before, "rollup": rollup,
            "batches": engine.number("SELECT uniqExact(batch) FROM click")}


def is_kept(report):
    """Whether every promise was kept."""
    return not (report.get("lost") or report.get("twice") or report.get("never_sent") or report.get("too_many")
                or report["rows"] != report["rollup"])


def require_faketime(parser):
    if not os.path.exists(FAKETIME):
        parser.error("libfaketime is missing: apt-get install libfaketime")
