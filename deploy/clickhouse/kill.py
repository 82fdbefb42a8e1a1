#!/usr/bin/env python3
"""Kills `carom` and its ClickHouse at random moments, and compares what is stored with what was answered.

    kill.py --carom PROGRAM [--kills 20] [--renames 6] [--connections 8] [--life-max 2] [--drain 300] [--seed 1]

Each request has a number, which is stored as the host of its referrer. Then SIGKILL meets `carom`, the
engine (front.py), or both, and each is started again on what it left. With --renames the engine is also killed
by strace exactly when it renames: the first rename of an insert puts the rows in place, the second the
rollup. At last, by queries of the engine: no answered click is missing, none is there twice, none that was not
asked for; and after one audit, which `carom` makes at a start (with a clock an hour ahead, by libfaketime, as
it audits what has settled), the rollup has what rows have.

PYTHONPATH has to lead to chdb, as deploy/services sets it. Prints JSON; exit code 1 if a promise was broken,
2 if nothing was put to the test.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
FAKETIME = "/usr/lib/%s-linux-gnu/faketime/libfaketimeMT.so.1" % os.uname().machine
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
PATIENCE = 120


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(ask, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.2)
    raise TimeoutError("%s: not within %d s" % (what, patience))


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Engine:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "front.py"), "--data", os.path.join(self.folder, "engine"),
             "--listen", "127.0.0.1:%d" % self.port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: accepts(self.port), "the engine")

    def ask(self, sql):
        url = "http://127.0.0.1:%d/?%s" % (self.port, urllib.parse.urlencode({"query": sql}))
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Carom:
    def __init__(self, folder, program, engine):
        self.folder, self.program = folder, program
        self.edge, control, edge_admin, control_admin = (free_port() for _ in range(4))
        self.control = control
        self.environment = {
            "CAROM_CLICKS__URL": "http://127.0.0.1:%d/default" % engine.port,
            "CAROM_EDGE__LISTEN": "127.0.0.1:%d" % self.edge,
            "CAROM_CONTROL__LISTEN": "127.0.0.1:%d" % control,
            "CAROM_EDGE__ADMIN_LISTEN": "127.0.0.1:%d" % edge_admin,
            "CAROM_CONTROL__ADMIN_LISTEN": "127.0.0.1:%d" % control_admin,
            "CAROM_PUBLIC_URL": "http://localhost:%d" % self.edge,
            "CAROM_CONTROL__PUBLIC_URL": "http://localhost:%d" % control,
            # Each request has a referrer of its own: that is its number.
            "CAROM_EDGE__ENRICH__BOUND_NAMES": "false",
            # Many small batches: so that kills meet inserts.
            "CAROM_SPOOL__FLUSH_MS": "250",
        }
        self.log = open(os.path.join(folder, "carom.log"), "ab")
        self.start()

    def start(self, more=()):
        self.process = subprocess.Popen([self.program, "serve"], cwd=self.folder, stdout=self.log,
                                        stderr=self.log, env={**self.environment, **dict(more)})
        until(lambda: accepts(self.edge) or self.process.poll() is not None, "carom")
        if self.process.poll() is not None:
            raise RuntimeError("carom ended: see %s/carom.log" % self.folder)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)

    def link(self):
        made = subprocess.run([self.program, "key", "create", "--name", "kill", "--json"], cwd=self.folder,
                              env=self.environment, capture_output=True, check=True)
        key = json.loads(made.stdout)["key"]
        request = urllib.request.Request(
            "http://127.0.0.1:%d/shorten" % self.control, json.dumps({"url": "https://example.com/"}).encode(),
            {"Authorization": "Bearer " + key, "Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["code"]


class Visitors:
    """Connections that ask, one request in flight on each."""

    def __init__(self, carom, code, connections):
        self.carom, self.code, self.is_over = carom, code, False
        self.sent = [0] * connections
        self.answered = [set() for _ in range(connections)]
        self.threads = [threading.Thread(target=self.run, args=(of,)) for of in range(connections)]
        for thread in self.threads:
            thread.start()

    def run(self, of):
        connection = None
        while not self.is_over:
            number, self.sent[of] = self.sent[of], self.sent[of] + 1
            name = "n%d-%d.test" % (of, number)
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.carom.edge, timeout=10)
                connection.request("GET", "/" + self.code, headers={
                    "Referer": "https://%s/" % name, "User-Agent": AGENT})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 302:
                    self.answered[of].add(name)
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(0.01)

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def count(self):
        return sum(map(len, self.answered))


def kill_at_rename(engine, carom, code, number):
    """Whether the engine died when it renamed for the number-th time."""
    trace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2", "-e",
         "inject=rename,renameat,renameat2:signal=SIGKILL:when=%d" % number, "-p", str(engine.process.pid)])
    try:
        engine.process.wait(10)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        trace.terminate()
        trace.wait()
        if engine.process.poll() is not None:
            engine.start()


def verdict(engine, visitors, drain):
    answered = set().union(*visitors.answered)
    read = lambda: dict(line.rsplit("\t", 1) for line in engine.ask(
        "SELECT referrer, toString(sum(n)) FROM click GROUP BY referrer").splitlines())
    end = time.monotonic() + drain
    while answered - (stored := read()).keys() and time.monotonic() < end:
        time.sleep(1)

    def was_sent(name):
        found = re.fullmatch(r"n(\d+)-(\d+)\.test", name)
        return found and int(found[2]) < visitors.sent[int(found[1])]

    return {
        "answered": len(answered), "stored": len(stored), "lost": len(answered - stored.keys()),
        "twice": sum(n != "1" for n in stored.values()),
        "never_sent": sum(not was_sent(name) for name in stored),
        "cut_and_stored": len(stored.keys() - answered),
    }


def main():
    parser = argparse.ArgumentParser(description="Kills carom and its ClickHouse")
    parser.add_argument("--carom", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--renames", type=int, default=6)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--life-max", type=float, default=2, help="seconds between two kills, at most")
    parser.add_argument("--drain", type=int, default=300, help="seconds until all clicks are stored, at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not os.path.exists(FAKETIME):
        parser.error("libfaketime is missing: apt-get install libfaketime")
    chance = random.Random(args.seed)
    folder = tempfile.mkdtemp(prefix="carom-kill-")
    engine = Engine(folder)
    carom = Carom(folder, os.path.abspath(args.carom), engine)
    visitors = Visitors(carom, carom.link(), args.connections)
    killed, begun = {"carom": 0, "engine": 0, "both": 0, "rename": 0}, time.monotonic()
    try:
        for number in range(1, args.renames + 1):
            killed["rename"] += kill_at_rename(engine, carom, visitors.code, number)
        for _ in range(args.kills):
            time.sleep(chance.uniform(0.05, args.life_max))
            which = chance.choice(["carom", "engine", "both"])
            killed[which] += 1
            if which != "engine":
                carom.kill()
            if which != "carom":
                engine.kill()
                engine.start()
            if which != "engine":
                carom.start()
        time.sleep(1)
        visitors.stop()
        seconds = time.monotonic() - begun
        report = verdict(engine, visitors, args.drain)
        sums = lambda: [int(engine.ask(sql)) for sql in (
            "SELECT sum(n) FROM click", "SELECT sum(n) FROM click_quarter")]
        raw, report["rollup_before_audit"] = sums()
        carom.stop()
        carom.start({"LD_PRELOAD": FAKETIME, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}.items())
        time.sleep(5)
        report["rows"], report["rollup"] = sums()
        report["batches"] = int(engine.ask("SELECT uniqExact(batch) FROM click"))
        report.update(killed=killed, seconds=round(seconds), seed=args.seed)
        print(json.dumps(report))
        if raw != report["rows"] or raw != report["rollup"] or report["lost"] or report["twice"] \
                or report["never_sent"]:
            sys.exit(1)
        if not report["answered"] or sum(killed.values()) < args.kills:
            sys.exit(2)
    finally:
        visitors.is_over = True
        carom.kill()
        engine.kill()


if __name__ == "__main__":
    main()
